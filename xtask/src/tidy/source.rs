// SPDX-License-Identifier: Apache-2.0
//! Rust source with its comments and literals blanked, so that rules look at code only.

/// The same text with every comment, string and character literal replaced by spaces. Lines keep their numbers.
pub(crate) fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => line_end(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => block_comment_end(bytes, at),
            b'"' => string_end(bytes, at + 1),
            b'r' if !part_of_word(bytes, at) => match raw_string_end(bytes, at) {
                Some(end) => end,
                None => {
                    at += 1;
                    continue;
                }
            },
            b'\'' => match character_end(bytes, at) {
                Some(end) => end,
                None => {
                    at += 1;
                    continue;
                }
            },
            _ => {
                at += 1;
                continue;
            }
        };
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The numbers, from 1, of the lines in which `word` stands as a word of its own.
pub(crate) fn lines_with_word(code: &str, word: &str) -> Vec<usize> {
    let of_word = |c: char| c.is_alphanumeric() || c == '_';
    code.lines()
        .enumerate()
        .filter(|(_, line)| {
            line.match_indices(word).any(|(at, _)| {
                !line[..at].chars().next_back().is_some_and(of_word)
                    && !line[at + word.len()..].chars().next().is_some_and(of_word)
            })
        })
        .map(|(index, _)| index + 1)
        .collect()
}

fn line_end(bytes: &[u8], from: usize) -> usize {
    bytes[from..].iter().position(|&b| b == b'\n').map_or(bytes.len(), |n| from + n)
}

fn block_comment_end(bytes: &[u8], from: usize) -> usize {
    let mut depth = 0;
    let mut at = from;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn part_of_word(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_') && bytes[at - 1] != b'b'
}

fn raw_string_end(bytes: &[u8], from: usize) -> Option<usize> {
    let hashes = bytes[from + 1..].iter().take_while(|&&b| b == b'#').count();
    let open = from + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return None;
    }
    let mut closing = vec![b'"'];
    closing.resize(hashes + 1, b'#');
    let length = bytes[open + 1..].windows(closing.len()).position(|window| window == closing);
    Some(length.map_or(bytes.len(), |n| open + 1 + n + closing.len()))
}

/// The end of a character literal; `None` for a lifetime.
fn character_end(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = &bytes[from + 1..];
    let length = match rest.first()? {
        b'\\' => 2 + rest.get(2..)?.iter().take(12).position(|&b| b == b'\'')?,
        _ => rest.iter().take(5).position(|&b| b == b'\'')?,
    };
    let literal = std::str::from_utf8(rest.get(..length)?).ok()?;
    (literal.starts_with('\\') || literal.chars().count() == 1).then_some(from + length + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_code_stays() {
        let text = "let a = \"unsafe \\\" x\"; // unsafe\nlet b = 'u'; /* unsafe /* nested */ */ fn c<'a>() {}\n";
        let code = code_only(text);
        assert!(!code.contains("unsafe"), "{code}");
        assert!(code.contains("fn c<'a>() {}"), "{code}");
        assert_eq!(code.lines().count(), text.lines().count());
    }

    #[test]
    fn raw_strings_and_escaped_characters_are_literals() {
        let code = code_only("let a = r#\"todo!(\"x\")\"#; let b = '\\''; let c = b'\"'; keep");
        assert!(!code.contains("todo"), "{code}");
        assert!(code.contains("keep"), "{code}");
    }

    #[test]
    fn a_word_is_found_only_as_a_word() {
        assert_eq!(lines_with_word("a\nunsafe_code\nunsafe {", "unsafe"), [3]);
    }
}
