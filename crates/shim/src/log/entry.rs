// SPDX-License-Identifier: Apache-2.0
//! One entry of the log, as bytes.

use super::LogStream;
use crate::clock::Stamp;

/// How many bytes at the end are the beginning of a UTF-8 character whose rest is still to come.
pub(super) fn incomplete_tail(bytes: &[u8]) -> usize {
    let last = bytes.len().saturating_sub(4);
    match std::str::from_utf8(&bytes[last..]).map_err(|e| (e.error_len(), e.valid_up_to())) {
        Err((None, valid)) => bytes.len() - last - valid,
        // The window may begin inside a character: look again behind it.
        Err((Some(_), _)) => (1..=3.min(bytes.len()))
            .find(|&n| matches!(std::str::from_utf8(&bytes[bytes.len() - n..]), Err(e) if e.error_len().is_none() && e.valid_up_to() == 0))
            .unwrap_or(0),
        Ok(_) => 0,
    }
}

/// What stands between a line and its time. `attrs`: a JSON object, or nothing.
pub(super) fn middle(stream: LogStream, attrs: &str) -> Vec<u8> {
    let attrs = if attrs.is_empty() { String::new() } else { format!("\"attrs\":{attrs},") };
    format!("\",\"stream\":\"{}\",{attrs}\"time\":\"", stream.name()).into_bytes()
}

/// Appends one entry to `out`. `middle`: see there.
pub(super) fn write_entry(out: &mut Vec<u8>, line: &[u8], middle: &[u8], time: &Stamp) {
    out.extend_from_slice(b"{\"log\":\"");
    write_text(out, line);
    out.extend_from_slice(middle);
    out.extend_from_slice(time.text());
    out.extend_from_slice(b"\"}\n");
}

/// Whether a byte stands for itself inside a JSON string: visible ASCII but quotation mark and backslash.
const fn is_plain(byte: u8) -> bool {
    // No short circuits: eight comparisons or sixteen are then one instruction.
    (byte.wrapping_sub(b' ') < 0x7f - b' ') & (byte != b'"') & (byte != b'\\')
}

/// How many bytes at the beginning are plain.
fn plain_length(bytes: &[u8]) -> usize {
    const BLOCK: usize = 16;
    let blocks = bytes.chunks_exact(BLOCK);
    let whole = blocks.take_while(|block| block.iter().fold(true, |plain, &byte| plain & is_plain(byte))).count();
    let rest = &bytes[whole * BLOCK..];
    whole * BLOCK + rest.iter().take_while(|&&byte| is_plain(byte)).count()
}

/// Appends bytes as the inside of a JSON string (RFC 8259, section 7). What is not UTF-8 becomes U+FFFD.
fn write_text(out: &mut Vec<u8>, mut rest: &[u8]) {
    loop {
        let (plain, special) = rest.split_at(plain_length(rest));
        out.extend_from_slice(plain);
        let Some(&byte) = special.first() else { return };
        let length = if byte.is_ascii() {
            write_escape(out, byte);
            1
        } else {
            // All bytes of a character that is not ASCII are above it.
            let length = special.iter().take_while(|byte| !byte.is_ascii()).count();
            for chunk in special[..length].utf8_chunks() {
                out.extend_from_slice(chunk.valid().as_bytes());
                if !chunk.invalid().is_empty() {
                    out.extend_from_slice("\u{fffd}".as_bytes());
                }
            }
            length
        };
        rest = &special[length..];
    }
}

/// Appends an ASCII character that does not stand for itself.
fn write_escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'\n' => b'n',
        b'"' | b'\\' => byte,
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            let digit = |n: u8| if n < 10 { b'0' + n } else { b'a' + n - 10 };
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_is_escaped_in_every_place_as_json_has_it() {
        for character in (0..0x180).filter_map(char::from_u32) {
            for place in 0..20 {
                let text = format!("{}{character}{}", "a".repeat(place), "\u{e9}b".repeat(5));
                let mut out = vec![b'"'];
                write_text(&mut out, text.as_bytes());
                out.push(b'"');
                assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
                assert!(!out.iter().any(|byte| *byte < 0x20 || *byte == 0x7f));
            }
        }
    }
}
