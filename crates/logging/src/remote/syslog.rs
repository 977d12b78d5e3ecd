// SPDX-License-Identifier: Apache-2.0
//! `syslog`: lines as syslog messages. RFC 3164 and RFC 5424 for the messages, RFC 5425 and RFC 6587 for their framing.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::address::{self, Address};
use super::transport::Batch;
use crate::error::LoggingError;
use crate::options::{Options, invalid};
use crate::read::LogLine;

const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "security", "console", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
/// RFC 3164's and RFC 5426's port; and that of RFC 5425.
const PORT: u16 = 514;
/// Severities: informational, error.
const SEVERITY: [u8; 2] = [6, 3];

/// How a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// As local daemons are used to: RFC 3164's without the host's name.
    Local,
    Rfc3164,
    Rfc5424 {
        micros: bool,
    },
}

/// The driver's options.
#[derive(Debug, Clone)]
pub(super) struct Syslog {
    pub(super) address: Address,
    facility: u8,
    style: Style,
}

/// What is the same in all messages of a container.
#[derive(Debug)]
pub(super) struct Format {
    facility: u8,
    style: Style,
    stream: bool,
    tls: bool,
    host: String,
    tag: String,
    pid: u32,
    zone: TimeZone,
}

impl Syslog {
    pub(super) fn parse(options: &mut Options<'_>) -> Result<Syslog, LoggingError> {
        let schemes = ["udp://HOST:PORT", "tcp://HOST:PORT", "tcp+tls://HOST:PORT", "unix:///PATH", "unixgram:///PATH"];
        let address = match options.take("syslog-address").filter(|text| !text.is_empty()) {
            None => Address::Unix { path: "/dev/log".into(), datagrams: false },
            Some(text) => address::parse(text, &schemes, Some(PORT)).map_err(|why| invalid("syslog-address", why))?,
        };
        let facility = match options.take("syslog-facility") {
            None | Some("") => 3,
            Some(text) => facility(text).ok_or_else(|| {
                invalid("syslog-facility", format!("{text:?} is none: there are {} and 0 to 23", FACILITIES.join(", ")))
            })?,
        };
        let style = match options.take("syslog-format") {
            None | Some("") => Style::Local,
            Some("rfc3164") => Style::Rfc3164,
            Some("rfc5424") => Style::Rfc5424 { micros: false },
            Some("rfc5424micro") => Style::Rfc5424 { micros: true },
            Some(other) => {
                let reason = format!("{other:?} is none: there are rfc3164, rfc5424 and rfc5424micro");
                return Err(invalid("syslog-format", reason));
            }
        };
        Ok(Syslog { address, facility, style })
    }

    pub(super) fn format(&self, host: &str, tag: &str) -> Format {
        let (stream, tls) = match self.address {
            Address::Tcp { tls, .. } => (true, tls),
            Address::Udp { .. } => (false, false),
            // It may be one; and a newline at the end of a datagram is left away by whoever writes lines.
            Address::Unix { datagrams, .. } => (!datagrams, false),
        };
        Format {
            facility: self.facility,
            style: self.style,
            stream,
            tls,
            host: printable(host, 255),
            tag: one_line(tag),
            pid: std::process::id(),
            zone: TimeZone::system(),
        }
    }
}

fn facility(text: &str) -> Option<u8> {
    let named = FACILITIES.iter().position(|name| *name == text);
    named.or_else(|| text.parse().ok().filter(|number| *number < 24)).and_then(|number| u8::try_from(number).ok())
}

/// A text that ends no message and begins none.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, "_")
}

/// A field of a header: visible ASCII, cut off; `-` for nothing (RFC 5424, section 6).
fn printable(text: &str, most: usize) -> String {
    let visible = text.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).take(most).collect::<String>();
    if visible.is_empty() { "-".to_owned() } else { visible }
}

impl Format {
    pub(super) fn encode(&self, lines: &[LogLine]) -> Batch {
        let mut batch = Batch::default();
        for line in lines {
            let message = self.message(line);
            // RFC 5425, section 4.3: over TLS the length comes first. Over TCP a newline ends a message (RFC 6587, 3.4.2).
            if self.tls && matches!(self.style, Style::Rfc5424 { .. }) {
                batch.bytes.extend_from_slice(format!("{} ", message.len()).as_bytes());
                batch.bytes.extend_from_slice(message.as_bytes());
            } else {
                batch.bytes.extend_from_slice(message.as_bytes());
                if self.stream {
                    batch.bytes.push(b'\n');
                }
            }
            batch.end_message();
        }
        batch
    }

    fn message(&self, line: &LogLine) -> String {
        let severity = SEVERITY[usize::from(line.stream == 2)];
        let priority = u32::from(self.facility) * 8 + u32::from(severity);
        let text = line.text.strip_suffix('\n').unwrap_or(&line.text);
        let time: Timestamp = line.time.parse().unwrap_or_else(|_| Timestamp::now());
        let Format { host, tag, pid, .. } = self;
        let local = || time.to_zoned(self.zone.clone()).strftime("%b %e %H:%M:%S").to_string();
        match self.style {
            Style::Local => format!("<{priority}>{} {tag}[{pid}]: {text}", local()),
            Style::Rfc3164 => format!("<{priority}>{} {host} {tag}[{pid}]: {text}", local()),
            Style::Rfc5424 { micros } => {
                let time = time.strftime(if micros { "%Y-%m-%dT%H:%M:%S.%6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" });
                // APP-NAME has at most 48 characters, MSGID at most 32; there is no structured data.
                let (app, id) = (printable(tag, 48), printable(tag, 32));
                format!("<{priority}>1 {time} {host} {app} {pid} {id} - {text}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(stream: u8, text: &str) -> LogLine {
        let time = "2026-01-02T03:04:05.678901234Z".to_owned();
        LogLine { time, stream, text: text.to_owned(), attributes: Default::default() }
    }

    fn format(style: Style, stream: bool, tls: bool) -> Format {
        let (host, tag) = ("box".to_owned(), "a tag\u{e9}".to_owned());
        Format { facility: 16, style, stream, tls, host, tag, pid: 7, zone: TimeZone::UTC }
    }

    fn encoded(style: Style, stream: bool, tls: bool) -> String {
        let lines = [line(1, "out\n"), line(2, "err \"x\"\r\n")];
        String::from_utf8(format(style, stream, tls).encode(&lines).bytes).unwrap()
    }

    #[test]
    fn every_style_is_as_its_document_has_it() {
        assert_eq!(
            encoded(Style::Local, true, false),
            "<134>Jan  2 03:04:05 a tag\u{e9}[7]: out\n<131>Jan  2 03:04:05 a tag\u{e9}[7]: err \"x\"\r\n"
        );
        assert!(encoded(Style::Rfc3164, true, false).starts_with("<134>Jan  2 03:04:05 box a tag\u{e9}[7]: out\n"));
        assert_eq!(
            encoded(Style::Rfc5424 { micros: false }, true, false),
            "<134>1 2026-01-02T03:04:05Z box a_tag_ 7 a_tag_ - out\n<131>1 2026-01-02T03:04:05Z box a_tag_ 7 a_tag_ - err \"x\"\r\n"
        );
        let datagrams =
            format(Style::Rfc5424 { micros: true }, false, false).encode(&[line(1, "out\n"), line(1, "\n")]);
        let first = b"<134>1 2026-01-02T03:04:05.678901Z box a_tag_ 7 a_tag_ - out".len();
        assert_eq!(datagrams.ends, [first, 2 * first - 3]);
        assert!(encoded(Style::Rfc5424 { micros: false }, true, true).starts_with("53 <134>1 2026-"));
    }

    #[test]
    fn a_field_of_the_header_cannot_end_it() {
        assert_eq!(printable("a b\n]", 48), "a_b_]");
        assert_eq!(one_line("a b\n<0>c\u{e9}"), "a b_<0>c\u{e9}");
        assert_eq!((printable("", 48).as_str(), printable(&"x".repeat(99), 48).len()), ("-", 48));
    }

    #[test]
    fn facilities_have_names_and_numbers() {
        assert_eq!(
            (facility("daemon"), facility("local7"), facility("23"), facility("0")),
            (Some(3), Some(23), Some(23), Some(0))
        );
        assert_eq!((facility("24"), facility("locals")), (None, None));
    }
}
