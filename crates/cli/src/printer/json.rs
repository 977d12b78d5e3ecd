// SPDX-License-Identifier: Apache-2.0
//! JSON for people: the daemon's own text, in its own order, with line breaks.

/// `text`, which must be JSON, with four blanks per level; nothing is reordered or rounded.
pub(crate) fn indent(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0_usize;
    let mut characters = text.chars().peekable();
    let newline = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("    ", depth));
    };
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                out.push('"');
                while let Some(inside) = characters.next() {
                    out.push(inside);
                    match inside {
                        '"' => break,
                        '\\' => out.extend(characters.next()),
                        _ => {}
                    }
                }
            }
            '{' | '[' => {
                out.push(character);
                while characters.next_if(|next| next.is_ascii_whitespace()).is_some() {}
                if let Some(close) = characters.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(close);
                } else {
                    depth += 1;
                    newline(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                newline(&mut out, depth);
                out.push(character);
            }
            ',' => {
                out.push(',');
                newline(&mut out, depth);
            }
            ':' => out.push_str(": "),
            blank if blank.is_ascii_whitespace() => {}
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_strings_and_numbers_stay_as_they_are() {
        let text = r#"{"b":[1.50, {"a:,{":"x\"]"}],"a":{},"c":[ ]}"#;
        let expected = "{\n    \"b\": [\n        1.50,\n        {\n            \"a:,{\": \"x\\\"]\"\n        }\n    ],\n    \"a\": {},\n    \"c\": []\n}";
        assert_eq!(indent(text), expected);
        let again: serde_json::Value = serde_json::from_str(&indent(text)).unwrap();
        assert_eq!(again, serde_json::from_str::<serde_json::Value>(text).unwrap());
    }
}
