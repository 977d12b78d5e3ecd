// SPDX-License-Identifier: Apache-2.0
//! Keys as text (RFC 7468): base64 between two lines that say what it is.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// The longest key that is read, in bytes of text: an RSA key of 8192 bits takes a tenth.
pub(crate) const LONGEST: usize = 64 << 10;
/// Characters of base64 in a line.
const WIDTH: usize = 64;

/// The first block of a text: its label and its bytes. `None` when there is none, or it is malformed.
pub(crate) fn parse(text: &str) -> Option<(&str, Vec<u8>)> {
    if text.len() > LONGEST {
        return None;
    }
    let mut lines = text.lines().map(str::trim);
    let label = lines.find_map(|line| line.strip_prefix("-----BEGIN ")?.strip_suffix("-----"))?;
    let mut body = String::new();
    for line in lines {
        if let Some(end) = line.strip_prefix("-----END ") {
            let bytes = (end.strip_suffix("-----")? == label).then(|| BASE64_STANDARD.decode(&body).ok())??;
            return Some((label, bytes));
        }
        body.push_str(line);
    }
    None
}

/// The block that says `label` and holds `bytes`.
pub(crate) fn write(label: &str, bytes: &[u8]) -> String {
    let body = BASE64_STANDARD.encode(bytes);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII: every place is a boundary of characters.
        let (line, next) = rest.split_at(rest.len().min(WIDTH));
        text.push_str(line);
        text.push('\n');
        rest = next;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_block_is_none() {
        let good = write("KEY", b"some bytes");
        assert_eq!(parse(&format!("a comment\n{good}more")), Some(("KEY", b"some bytes".to_vec())));
        for bad in
            ["", "KEY", "-----BEGIN KEY-----\nAAAA\n", &good.replace("END KEY", "END X"), &good.replace("c29", "*")]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(parse(&write("KEY", &vec![0; LONGEST])), None, "too long");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let text = write("A LABEL", &bytes);
            prop_assert_eq!(parse(&text), Some(("A LABEL", bytes)));
        }

        #[test]
        fn any_text_parses_or_not_and_never_panics(text in "(-----(BEGIN|END) [A-Z]{0,3}-----|\n|[A-Za-z0-9+/=é -]{0,9}){0,12}") {
            parse(&text);
        }
    }
}
