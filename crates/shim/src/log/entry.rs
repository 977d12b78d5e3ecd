// SPDX-License-Identifier: Apache-2.0
//! One entry of the log, as bytes.

use super::LogStream;

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

/// Appends one entry to `out`. `attrs`: a JSON object, or nothing.
pub(super) fn write_entry(out: &mut Vec<u8>, stream: LogStream, line: &[u8], attrs: &str, time: &str) {
    out.extend_from_slice(b"{\"log\":\"");
    // Nearly all lines are UTF-8, and the check of a whole one is the faster way.
    match std::str::from_utf8(line) {
        Ok(text) => escape(out, text),
        Err(_) => {
            for chunk in line.utf8_chunks() {
                escape(out, chunk.valid());
                if !chunk.invalid().is_empty() {
                    out.extend_from_slice("\u{fffd}".as_bytes());
                }
            }
        }
    }
    out.extend_from_slice(b"\",\"stream\":\"");
    out.extend_from_slice(stream.name().as_bytes());
    if attrs.is_empty() {
        out.extend_from_slice(b"\",\"time\":\"");
    } else {
        out.extend_from_slice(b"\",\"attrs\":");
        out.extend_from_slice(attrs.as_bytes());
        out.extend_from_slice(b",\"time\":\"");
    }
    out.extend_from_slice(time.as_bytes());
    out.extend_from_slice(b"\"}\n");
}

/// Whether one of eight bytes is a control character, a quotation mark, a backslash or DEL. The subtraction of n from all
/// bytes at once borrows into a highest bit, which was clear, where a byte is below n.
fn any_is_escaped(eight: [u8; 8]) -> bool {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHEST: u64 = EACH << 7;
    let word = u64::from_ne_bytes(eight);
    let below = |word: u64, n: u64| word.wrapping_sub(EACH * n) & !word;
    let is = |byte: u8| below(word ^ (EACH * u64::from(byte)), 1);
    (below(word, 0x20) | is(b'"') | is(b'\\') | is(0x7f)) & HIGHEST != 0
}

/// Appends `text` as the inside of a JSON string (RFC 8259, section 7).
fn escape(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let (mut plain, mut next) = (0, 0);
    while let Some(&byte) = bytes.get(next) {
        if let Some(Ok(eight)) = bytes.get(next..next + 8).map(<[u8; 8]>::try_from)
            && !any_is_escaped(eight)
        {
            next += 8;
            continue;
        }
        let at = next;
        next += 1;
        let short = match byte {
            b'"' => Some(b'"'),
            b'\\' => Some(b'\\'),
            b'\n' => Some(b'n'),
            b'\r' => Some(b'r'),
            b'\t' => Some(b't'),
            0..0x20 | 0x7f => None,
            _ => continue,
        };
        out.extend_from_slice(&bytes[plain..at]);
        plain = at + 1;
        match short {
            Some(letter) => out.extend_from_slice(&[b'\\', letter]),
            None => {
                let digit = |n: u8| if n < 10 { b'0' + n } else { b'a' + n - 10 };
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
    out.extend_from_slice(&bytes[plain..]);
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
                escape(&mut out, &text);
                out.push(b'"');
                assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
                assert!(!out.iter().any(|byte| *byte < 0x20 || *byte == 0x7f));
            }
        }
    }
}
