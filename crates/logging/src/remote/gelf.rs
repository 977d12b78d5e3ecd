// SPDX-License-Identifier: Apache-2.0
//! `gelf`: lines as Graylog's messages, version 1.1: compressed and in chunks over UDP, ended by a NUL over TCP.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::{Map, Value, json};

use super::address::{self, Address};
use super::transport::Batch;
use crate::error::LoggingError;
use crate::options::{Options, invalid};
use crate::read::LogLine;

/// A chunk fits a datagram that no network cuts: 1420 bytes, 12 of which are its header.
const CHUNK: usize = 1420 - 12;
/// So many chunks a message may have.
const CHUNKS: usize = 128;
/// Severities of syslog: informational, error.
const LEVEL: [u8; 2] = [6, 3];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Gzip(Compression),
    Zlib(Compression),
    None,
}

/// The driver's options.
#[derive(Debug, Clone)]
pub(super) struct Gelf {
    pub(super) address: Address,
    packing: Packing,
}

/// What is the same in all messages of a container.
#[derive(Debug)]
pub(super) struct Format {
    fields: Map<String, Value>,
    packing: Packing,
    stream: bool,
    next_id: AtomicU64,
}

impl Gelf {
    pub(super) fn parse(options: &mut Options<'_>) -> Result<Gelf, LoggingError> {
        let text =
            options.take("gelf-address").ok_or_else(|| invalid("gelf-address", "is needed by the gelf log driver"))?;
        let address = address::parse(text, &["udp://HOST:PORT", "tcp://HOST:PORT"], None)
            .map_err(|why| invalid("gelf-address", why))?;
        let level = options.take("gelf-compression-level");
        let kind = options.take("gelf-compression-type");
        if matches!(address, Address::Tcp { .. }) {
            if level.is_some() || kind.is_some_and(|kind| kind != "none") {
                return Err(invalid("gelf-compression-type", "messages are compressed over UDP only"));
            }
            return Ok(Gelf { address, packing: Packing::None });
        }
        let level =
            match level {
                None => Compression::fast(),
                Some("-1") => Compression::default(),
                Some(text) => Compression::new(text.parse().ok().filter(|level| *level <= 9).ok_or_else(|| {
                    invalid("gelf-compression-level", format!("{text:?} is none: there are -1 to 9"))
                })?),
            };
        let packing = match kind {
            None | Some("gzip") => Packing::Gzip(level),
            Some("zlib") => Packing::Zlib(level),
            Some("none") => Packing::None,
            Some(other) => {
                let reason = format!("{other:?} is none: there are gzip, zlib and none");
                return Err(invalid("gelf-compression-type", reason));
            }
        };
        Ok(Gelf { address, packing })
    }

    /// `fields`: what is said of the container, with the underscore before each name. `first_id`: a random number.
    pub(super) fn format(&self, host: &str, mut fields: Map<String, Value>, first_id: u64) -> Format {
        fields.insert("version".into(), "1.1".into());
        fields.insert("host".into(), host.into());
        let stream = matches!(self.address, Address::Tcp { .. });
        Format { fields, packing: self.packing, stream, next_id: AtomicU64::new(first_id) }
    }
}

impl Format {
    pub(super) fn encode(&self, lines: &[LogLine]) -> Batch {
        let mut batch = Batch::default();
        for line in lines {
            let message = self.message(line);
            if self.stream {
                batch.bytes.extend_from_slice(&message);
                batch.bytes.push(0);
                batch.end_message();
            } else {
                self.chunks(&pack(self.packing, message), &mut batch);
            }
        }
        batch
    }

    fn message(&self, line: &LogLine) -> Vec<u8> {
        let mut message = self.fields.clone();
        let text = line.text.strip_suffix('\n').unwrap_or(&line.text);
        message.insert("short_message".into(), text.into());
        message.insert("level".into(), LEVEL[usize::from(line.stream == 2)].into());
        let time = line.time.parse().unwrap_or_else(|_| jiff::Timestamp::now());
        // Seconds, with milliseconds behind the point.
        message.insert("timestamp".into(), json!(time.as_millisecond() as f64 / 1000.0));
        Value::Object(message).to_string().into_bytes()
    }

    /// One datagram, or numbered ones that the server puts together.
    fn chunks(&self, message: &[u8], batch: &mut Batch) {
        if message.len() <= CHUNK + 12 {
            batch.bytes.extend_from_slice(message);
            batch.end_message();
            return;
        }
        let count = message.len().div_ceil(CHUNK);
        if count > CHUNKS {
            tracing::warn!(bytes = message.len(), "a line of a log is too long for GELF over UDP, and was not sent");
            return;
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        for (number, chunk) in message.chunks(CHUNK).enumerate() {
            batch.bytes.extend_from_slice(&[0x1e, 0x0f]);
            batch.bytes.extend_from_slice(&id.to_be_bytes());
            // Both are at most 128.
            batch.bytes.extend_from_slice(&[number as u8, count as u8]);
            batch.bytes.extend_from_slice(chunk);
            batch.end_message();
        }
    }
}

fn pack(packing: Packing, message: Vec<u8>) -> Vec<u8> {
    let packed = match packing {
        Packing::None => return message,
        Packing::Gzip(level) => {
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(&message).and_then(|()| encoder.finish())
        }
        Packing::Zlib(level) => {
            let mut encoder = ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(&message).and_then(|()| encoder.finish())
        }
    };
    // Writing to memory cannot fail; and what is not compressed is understood as well.
    packed.unwrap_or(message)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn line(stream: u8, text: &str) -> LogLine {
        let time = "2026-01-02T03:04:05.678901234Z".to_owned();
        LogLine { time, stream, text: text.to_owned(), attributes: Default::default() }
    }

    fn gelf(options: &[(&str, &str)]) -> Result<Gelf, LoggingError> {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Gelf::parse(&mut Options::new("gelf", &options))
    }

    fn format(options: &[(&str, &str)]) -> Format {
        let fields = json!({"_container_name": "web"}).as_object().unwrap().clone();
        gelf(options).unwrap().format("box", fields, 0x0102_0304_0506_0708)
    }

    #[test]
    fn a_message_has_graylogs_fields() {
        let batch = format(&[("gelf-address", "tcp://h:12201")]).encode(&[line(1, "out\n"), line(2, "a \"b\"\n")]);
        assert_eq!(batch.ends.len(), 2);
        let messages: Vec<Value> = batch
            .bytes
            .split(|byte| *byte == 0)
            .filter(|m| !m.is_empty())
            .map(|m| serde_json::from_slice(m).unwrap())
            .collect();
        let expected = json!({
            "version": "1.1", "host": "box", "short_message": "out", "timestamp": 1_767_323_045.678, "level": 6,
            "_container_name": "web",
        });
        assert_eq!(messages[0], expected);
        assert_eq!((&messages[1]["short_message"], &messages[1]["level"]), (&json!("a \"b\""), &json!(3)));
        assert_eq!(batch.bytes.last(), Some(&0));
    }

    #[test]
    fn datagrams_are_compressed() {
        let address = ("gelf-address", "udp://h:12201");
        let encode = |kind| format(&[address, ("gelf-compression-type", kind)]).encode(&[line(1, "out\n")]).bytes;
        let plain = encode("none");
        let mut text = String::new();
        flate2::read::GzDecoder::new(&encode("gzip")[..]).read_to_string(&mut text).unwrap();
        assert_eq!(text.as_bytes(), plain);
        text.clear();
        flate2::read::ZlibDecoder::new(&encode("zlib")[..]).read_to_string(&mut text).unwrap();
        assert_eq!(text.as_bytes(), plain);
    }

    #[test]
    fn what_is_too_long_for_a_datagram_comes_in_chunks() {
        let format = format(&[("gelf-address", "udp://h:12201"), ("gelf-compression-type", "none")]);
        let batch = format.encode(&[line(1, &"x".repeat(4000)), line(1, "short")]);
        assert_eq!(batch.ends.len(), 4);
        let (first, second) = (&batch.bytes[..batch.ends[0]], &batch.bytes[batch.ends[0]..batch.ends[1]]);
        assert_eq!(first.len(), 1420);
        assert_eq!(first[..12], [0x1e, 0x0f, 1, 2, 3, 4, 5, 6, 7, 8, 0, 3]);
        assert_eq!(second[..12], [0x1e, 0x0f, 1, 2, 3, 4, 5, 6, 7, 8, 1, 3]);
        let whole: Vec<u8> = [0, batch.ends[0], batch.ends[1]]
            .iter()
            .zip(&batch.ends)
            .flat_map(|(start, end)| batch.bytes[start + 12..*end].to_vec())
            .collect();
        let message: Value = serde_json::from_slice(&whole).unwrap();
        assert_eq!(message["short_message"].as_str().map(str::len), Some(4000));
    }

    #[test]
    fn options_are_checked() {
        assert!(gelf(&[]).unwrap_err().to_string().contains("gelf-address"));
        for (name, value) in [("gelf-compression-level", "10"), ("gelf-compression-type", "zip")] {
            let error = gelf(&[("gelf-address", "udp://h:1"), (name, value)]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        assert!(gelf(&[("gelf-address", "tcp://h:1"), ("gelf-compression-type", "gzip")]).is_err());
        assert!(gelf(&[("gelf-address", "udp://h")]).is_err() && gelf(&[("gelf-address", "unix:///x")]).is_err());
    }
}
