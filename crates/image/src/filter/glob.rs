// SPDX-License-Identifier: Apache-2.0
//! Patterns for names, as Go's `path.Match` has them: `*` and `?` stop at a slash, `[a-c]` and `[^a]` are classes, a
//! backslash takes the next character as it is. Pure.

use crate::error::ImageError;

/// A pattern that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glob(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Exactly(char),
    One,
    Many,
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Glob {
    pub(crate) fn new(text: &str) -> Result<Glob, ImageError> {
        parse(text).map(Glob).ok_or_else(|| ImageError::Pattern(text.chars().take(200).collect()))
    }

    /// Whether all of `text` matches. Takes time in proportion to the product of both lengths at most.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let (mut part, mut at) = (0, 0);
        // Where to go on when what follows the last `*` does not match: one character further.
        let mut retry = None;
        loop {
            match self.0.get(part) {
                None if at == text.len() => return true,
                Some(Part::Many) => {
                    retry = Some((part, at));
                    part += 1;
                    continue;
                }
                Some(single) if text.get(at).is_some_and(|c| single.is(*c)) => {
                    (part, at) = (part + 1, at + 1);
                    continue;
                }
                _ => {}
            }
            match retry {
                Some((star, from)) if text.get(from).is_some_and(|c| *c != '/') => {
                    retry = Some((star, from + 1));
                    (part, at) = (star + 1, from + 1);
                }
                _ => return false,
            }
        }
    }
}

impl Part {
    fn is(&self, c: char) -> bool {
        match self {
            Part::Exactly(wanted) => c == *wanted,
            Part::One => c != '/',
            Part::Many => false,
            Part::Class { negated, ranges } => ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated,
        }
    }
}

fn parse(text: &str) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        parts.push(match c {
            '*' => Part::Many,
            '?' => Part::One,
            '\\' => Part::Exactly(chars.next()?),
            '[' => {
                let negated = chars.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                while ranges.is_empty() || chars.peek() != Some(&']') {
                    let low = class_character(&mut chars)?;
                    let high = if chars.next_if_eq(&'-').is_some() { class_character(&mut chars)? } else { low };
                    ranges.push((low, high));
                }
                chars.next();
                Part::Class { negated, ranges }
            }
            c => Part::Exactly(c),
        });
    }
    Some(parts)
}

fn class_character(chars: &mut impl Iterator<Item = char>) -> Option<char> {
    match chars.next()? {
        '\\' => chars.next(),
        '-' | ']' => None,
        c => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_gos_do() {
        for (pattern, text, matches) in [
            ("debian", "debian", true),
            ("deb*", "debian:12", true),
            ("*:1?", "debian:12", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("127.0.0.1:5000/*", "127.0.0.1:5000/x:1", true),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbXb", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("", "", true),
            ("?", "/", false),
        ] {
            assert_eq!(Glob::new(pattern).unwrap().matches(text), matches, "{pattern} {text}");
        }
        for bad in ["[", "[a", "a\\", "[]", "[a-]", "[-a]"] {
            assert!(Glob::new(bad).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_pattern_ends(pattern in "[a*?\\[\\]^-]{0,30}", text in "[a/]{0,60}") {
            if let Ok(glob) = Glob::new(&pattern) {
                let _ = glob.matches(&text);
            }
        }
    }
}
