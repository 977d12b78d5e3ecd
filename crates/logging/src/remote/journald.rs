// SPDX-License-Identifier: Apache-2.0
//! `journald`: lines as entries of the journal, in its native protocol: datagrams of fields.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::address::Address;
use super::parts::Part;
use super::transport::Batch;
use crate::read::LogLine;

const SOCKET: &str = "/run/systemd/journal/socket";
/// Severities of syslog: informational, error.
const PRIORITY: [&str; 2] = ["6", "3"];

/// Where the journal is.
pub(super) fn address() -> Address {
    Address::Unix { path: PathBuf::from(SOCKET), datagrams: true }
}

/// What is the same in all entries of a container.
#[derive(Debug)]
pub(super) struct Format {
    fields: Vec<u8>,
}

impl Format {
    /// `fields`: names as the journal has them; see [`field_name`].
    pub(super) fn new(fields: &BTreeMap<String, String>) -> Format {
        let mut bytes = Vec::new();
        for (name, value) in fields.iter().filter(|(name, _)| !name.is_empty()) {
            field(&mut bytes, name, value);
        }
        Format { fields: bytes }
    }

    /// `parts`: what each line is a part of.
    pub(super) fn encode(&self, lines: &[LogLine], parts: &[Option<Part>]) -> Batch {
        let mut batch = Batch::default();
        for (line, part) in lines.iter().zip(parts) {
            let out = &mut batch.bytes;
            field(out, "MESSAGE", line.text.strip_suffix('\n').unwrap_or(&line.text));
            field(out, "PRIORITY", PRIORITY[usize::from(line.stream == 2)]);
            field(out, "SYSLOG_TIMESTAMP", &line.time);
            if let Some(part) = part {
                field(out, "CONTAINER_PARTIAL_ID", &part.id);
                field(out, "CONTAINER_PARTIAL_ORDINAL", &part.ordinal.to_string());
                field(out, "CONTAINER_PARTIAL_LAST", if part.is_last { "true" } else { "false" });
                if !part.is_last {
                    field(out, "CONTAINER_PARTIAL_MESSAGE", "true");
                }
            }
            out.extend_from_slice(&self.fields);
            batch.end_message();
        }
        batch
    }
}

/// A field: `NAME=value`; or, where the value has newlines, its length before it.
fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value.as_bytes());
    out.push(b'\n');
}

/// A name that the journal takes: capital letters, digits and underscores, of which none is the first.
pub(super) fn field_name(name: &str) -> String {
    let valid = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    // A digit may not come first either.
    valid.skip_while(|c| !c.is_ascii_uppercase()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_fields_byte_by_byte() {
        let fields =
            BTreeMap::from([("CONTAINER_NAME".to_owned(), "web".to_owned()), ("L".to_owned(), "a\nb".to_owned())]);
        let line = |stream, text: &str| LogLine {
            time: "T".into(),
            stream,
            text: text.into(),
            attributes: Default::default(),
        };
        let batch = Format::new(&fields).encode(&[line(1, "x=y\n"), line(2, "")], &[None, None]);
        let common = b"CONTAINER_NAME=web\nL\n\x03\0\0\0\0\0\0\0a\nb\n";
        let first = [&b"MESSAGE=x=y\nPRIORITY=6\nSYSLOG_TIMESTAMP=T\n"[..], common].concat();
        let second = [&b"MESSAGE=\nPRIORITY=3\nSYSLOG_TIMESTAMP=T\n"[..], common].concat();
        assert_eq!(batch.ends, [first.len(), first.len() + second.len()]);
        assert_eq!(batch.bytes, [first, second].concat());
    }

    #[test]
    fn names_of_labels_become_names_of_fields() {
        assert_eq!(field_name("com.example.some-label"), "COM_EXAMPLE_SOME_LABEL");
        assert_eq!(
            (field_name("_private").as_str(), field_name("1st").as_str(), field_name("__").as_str()),
            ("PRIVATE", "ST", "")
        );
    }
}
