// SPDX-License-Identifier: Apache-2.0
//! `fluentd`: lines in the forward protocol (version 1, its Forward mode), which fluentd and Fluent Bit take.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::address::{self, Address};
use super::parts::Part;
use super::transport::{Batch, Patience};
use crate::error::LoggingError;
use crate::options::{Options, bytes, invalid};
use crate::read::LogLine;

const PORT: u16 = 24224;

/// The driver's options.
#[derive(Debug, Clone)]
pub(super) struct Fluentd {
    pub(super) address: Address,
    /// How much may wait for the server, where that is bounded.
    pub(super) buffer_limit: Option<u64>,
    pub(super) patience: Patience,
    acknowledged: bool,
    precise: bool,
}

/// What is the same in all records of a container.
#[derive(Debug)]
pub(super) struct Format {
    tag: String,
    fields: BTreeMap<String, String>,
    acknowledged: bool,
    precise: bool,
}

impl Fluentd {
    pub(super) fn parse(options: &mut Options<'_>) -> Result<Fluentd, LoggingError> {
        let address = match options.take("fluentd-address").filter(|text| !text.is_empty()) {
            None => Address::Tcp { host: "127.0.0.1".into(), port: PORT, tls: false },
            Some(text) => {
                let text = if text.contains("://") { text.to_owned() } else { format!("tcp://{text}") };
                let schemes = ["tcp://HOST:PORT", "tls://HOST:PORT", "unix:///PATH"];
                address::parse(&text, &schemes, Some(PORT)).map_err(|why| invalid("fluentd-address", why))?
            }
        };
        // A server that is away delays no start, whatever is said.
        options.flag("fluentd-async")?;
        // Its name until Docker 28.
        options.flag("fluentd-async-connect")?;
        let patience = patience(options)?;
        let buffer_limit = options.take("fluentd-buffer-limit");
        Ok(Fluentd {
            address,
            patience,
            buffer_limit: buffer_limit.map(|text| bytes("fluentd-buffer-limit", text, 1024)).transpose()?,
            acknowledged: options.flag("fluentd-request-ack")?.unwrap_or(false),
            precise: options.flag("fluentd-sub-second-precision")?.unwrap_or(false),
        })
    }

    pub(super) fn format(&self, tag: &str, fields: BTreeMap<String, String>) -> Format {
        Format { tag: tag.to_owned(), fields, acknowledged: self.acknowledged, precise: self.precise }
    }
}

/// The options that say how long the server is waited for, and how long a connection is good.
fn patience(options: &mut Options<'_>) -> Result<Patience, LoggingError> {
    let usual = Patience::default();
    let renew = "fluentd-async-reconnect-interval";
    let connection = options.time(renew)?;
    // Docker's bounds.
    if connection.is_some_and(|span| !(Duration::from_millis(100)..=Duration::from_secs(10)).contains(&span)) {
        return Err(invalid(renew, "it must be 0, or between 100ms and 10s"));
    }
    Ok(Patience {
        write: options.time("fluentd-write-timeout")?.unwrap_or(usual.write),
        answer: options.time("fluentd-read-timeout")?.unwrap_or(usual.answer),
        connection,
    })
}

impl Format {
    /// `parts`: what each line is a part of. `chunk`: what the server acknowledges it by, of 24 characters.
    pub(super) fn encode(&self, lines: &[LogLine], parts: &[Option<Part>], chunk: &str) -> Batch {
        let mut batch = Batch::default();
        let out = &mut batch.bytes;
        // [tag, [[time, record], …]] or [tag, […], {"chunk": …}]
        array(out, if self.acknowledged { 3 } else { 2 });
        text(out, &self.tag);
        array(out, lines.len());
        for (line, part) in lines.iter().zip(parts) {
            array(out, 2);
            self.time(out, line);
            self.record(out, line, part.as_ref());
        }
        if self.acknowledged {
            map(out, 1);
            text(out, "chunk");
            text(out, chunk);
            batch.answer = Some(answers(chunk));
        }
        batch.end_message();
        batch
    }

    fn time(&self, out: &mut Vec<u8>, line: &LogLine) {
        let time: Timestamp = line.time.parse().unwrap_or_else(|_| Timestamp::now());
        let seconds = u32::try_from(time.as_second()).unwrap_or(0).to_be_bytes();
        if self.precise {
            // EventTime: an extension of eight bytes with the type 0.
            out.extend_from_slice(&[0xd7, 0x00]);
            out.extend_from_slice(&seconds);
            out.extend_from_slice(&u32::try_from(time.subsec_nanosecond()).unwrap_or(0).to_be_bytes());
        } else {
            out.push(0xce);
            out.extend_from_slice(&seconds);
        }
    }

    fn record(&self, out: &mut Vec<u8>, line: &LogLine, part: Option<&Part>) {
        map(out, self.fields.len() + 2 + if part.is_some() { 4 } else { 0 });
        for (name, value) in &self.fields {
            text(out, name);
            text(out, value);
        }
        text(out, "source");
        text(out, if line.stream == 2 { "stderr" } else { "stdout" });
        text(out, "log");
        text(out, line.text.strip_suffix('\n').unwrap_or(&line.text));
        if let Some(part) = part {
            for (name, value) in [
                ("partial_message", "true"),
                ("partial_id", &part.id),
                ("partial_ordinal", &part.ordinal.to_string()),
                ("partial_last", if part.is_last { "true" } else { "false" }),
            ] {
                text(out, name);
                text(out, value);
            }
        }
    }
}

/// The server's acknowledgement, `{"ack": chunk}`, in the ways in which the text may be written.
fn answers(chunk: &str) -> Vec<Vec<u8>> {
    let mut start = Vec::new();
    map(&mut start, 1);
    text(&mut start, "ack");
    let length = chunk.len() as u8;
    let headers: [&[u8]; 3] = [&[0xa0 | length], &[0xd9, length], &[0xda, 0, length]];
    headers.map(|header| [&start, header, chunk.as_bytes()].concat()).into()
}

/// The head of an array (MessagePack's specification, "array format family").
fn array(out: &mut Vec<u8>, length: usize) {
    match length {
        0..16 => out.push(0x90 | length as u8),
        16..0x1_0000 => sized(out, 0xdc, &(length as u16).to_be_bytes()),
        _ => sized(out, 0xdd, &(length as u32).to_be_bytes()),
    }
}

fn map(out: &mut Vec<u8>, length: usize) {
    match length {
        0..16 => out.push(0x80 | length as u8),
        16..0x1_0000 => sized(out, 0xde, &(length as u16).to_be_bytes()),
        _ => sized(out, 0xdf, &(length as u32).to_be_bytes()),
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    match text.len() {
        length @ 0..32 => out.push(0xa0 | length as u8),
        length @ 32..0x100 => sized(out, 0xd9, &[length as u8]),
        length @ 0x100..0x1_0000 => sized(out, 0xda, &(length as u16).to_be_bytes()),
        length => sized(out, 0xdb, &(length as u32).to_be_bytes()),
    }
    out.extend_from_slice(text.as_bytes());
}

fn sized(out: &mut Vec<u8>, kind: u8, length: &[u8]) {
    out.push(kind);
    out.extend_from_slice(length);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(stream: u8, text: &str) -> LogLine {
        let time = "2026-01-02T03:04:05.000000007Z".to_owned();
        LogLine { time, stream, text: text.to_owned(), attributes: Default::default() }
    }

    fn format(acknowledged: bool, precise: bool) -> Format {
        Format { tag: "t".into(), fields: BTreeMap::from([("k".into(), "v".into())]), acknowledged, precise }
    }

    #[test]
    fn records_are_in_the_forward_mode_byte_by_byte() {
        let batch = format(false, false).encode(&[line(1, "hi\n")], &[None], "");
        let mut expected = vec![0x92, 0xa1, b't', 0x91, 0x92, 0xce, 0x69, 0x57, 0x35, 0xa5, 0x83];
        for word in ["k", "v", "source", "stdout", "log", "hi"] {
            expected.push(0xa0 | word.len() as u8);
            expected.extend_from_slice(word.as_bytes());
        }
        assert_eq!(batch.bytes, expected);
        assert_eq!((batch.ends, batch.answer), (vec![expected.len()], None));
        let precise = format(false, true).encode(&[line(2, "hi\n")], &[None], "").bytes;
        assert_eq!(precise[5..15], [0xd7, 0x00, 0x69, 0x57, 0x35, 0xa5, 0, 0, 0, 7]);
    }

    #[test]
    fn an_acknowledgement_is_of_this_chunk() {
        let chunk = "0123456789abcdef01234567";
        let batch = format(true, false).encode(&[line(1, "x")], &[None], chunk);
        assert_eq!(batch.bytes[0], 0x93);
        assert!(batch.bytes.ends_with(&[&[0x81, 0xa5][..], b"chunk", &[0xb8], chunk.as_bytes()].concat()));
        let answer = [&[0x81, 0xa3][..], b"ack", &[0xb8], chunk.as_bytes()].concat();
        assert!(batch.answer.unwrap().contains(&answer));
    }

    #[test]
    fn lengths_have_their_own_forms() {
        let head = |length: usize| {
            let mut out = Vec::new();
            text(&mut out, &"x".repeat(length));
            out.truncate(out.len() - length);
            out
        };
        assert_eq!((head(31), head(32), head(255)), (vec![0xbf], vec![0xd9, 32], vec![0xd9, 255]));
        assert_eq!((head(256), head(70_000)), (vec![0xda, 1, 0], vec![0xdb, 0, 1, 0x11, 0x70]));
        let mut heads = Vec::new();
        array(&mut heads, 15);
        array(&mut heads, 512);
        map(&mut heads, 16);
        assert_eq!(heads, [0x9f, 0xdc, 2, 0, 0xde, 0, 16]);
    }

    #[test]
    fn a_part_of_a_long_line_says_so() {
        let part = Part { id: "i".into(), ordinal: 2, is_last: true };
        let bytes = format(false, false).encode(&[line(1, "x")], &[Some(part)], "").bytes;
        let mut end = Vec::new();
        for word in ["partial_message", "true", "partial_id", "i", "partial_ordinal", "2", "partial_last", "true"] {
            text(&mut end, word);
        }
        assert!(bytes[10] == 0x87 && bytes.ends_with(&end));
    }
}
