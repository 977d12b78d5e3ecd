// SPDX-License-Identifier: Apache-2.0
//! `WWW-Authenticate` (RFC 9110, section 11.6.1): which ways of logging in a registry offers.

/// One way of logging in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// The scheme, in lower case: `bearer`, `basic`, ….
    pub(crate) scheme: String,
    /// Its parameters, names in lower case, in the order they came.
    pub(crate) parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The first parameter called `name`.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// The challenges of one header's value. What breaks the grammar ends the list; what came before it counts.
pub(crate) fn parse(header: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (word, after) = split_token(rest);
        if word.is_empty() {
            return challenges;
        }
        let after_space = after.trim_start_matches([' ', '\t']);
        match (after_space.strip_prefix('='), challenges.last_mut()) {
            (Some(value), Some(challenge)) => {
                let value = value.trim_start_matches([' ', '\t']);
                // `abc==` after a scheme is a token68, which no scheme used here carries.
                if value.is_empty() || value.starts_with(['=', ',']) {
                    rest = value.trim_start_matches('=');
                    continue;
                }
                let Some((value, after)) = split_value(value) else { return challenges };
                challenge.parameters.push((word.to_ascii_lowercase(), value));
                rest = after;
            }
            (Some(_), None) => return challenges,
            (None, _) => {
                challenges.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: Vec::new() });
                rest = after;
            }
        }
    }
}

/// A token (RFC 9110, section 5.6.2), and what follows it.
fn split_token(text: &str) -> (&str, &str) {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    text.split_at(text.find(|c| !is_token(c)).unwrap_or(text.len()))
}

/// A token or a quoted string, and what follows it. Unquoted values may hold more than tokens may: some registries
/// leave the quotes off a URL.
fn split_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(scheme: &str, parameters: &[(&str, &str)]) -> Challenge {
        let parameters = parameters.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Challenge { scheme: scheme.to_owned(), parameters }
    }

    #[test]
    fn a_registrys_challenge_is_read() {
        let header =
            r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push""#;
        let expected = [
            ("realm", "https://auth.example/token"),
            ("service", "registry.example"),
            ("scope", "repository:a/b:pull,push"),
        ];
        assert_eq!(parse(header), [challenge("bearer", &expected)]);
    }

    #[test]
    fn several_challenges_in_one_header_stay_apart() {
        let header = r#"Negotiate abc==, basic realm = "a \"b\", c" , Bearer realm=https://x/y,SERVICE=z"#;
        assert_eq!(
            parse(header),
            [
                challenge("negotiate", &[]),
                challenge("basic", &[("realm", "a \"b\", c")]),
                challenge("bearer", &[("realm", "https://x/y"), ("service", "z")]),
            ]
        );
    }

    #[test]
    fn what_breaks_the_grammar_ends_the_list() {
        assert_eq!(parse(""), []);
        assert_eq!(parse("="), []);
        assert_eq!(parse("realm=\"x\""), [], "a parameter without a scheme");
        assert_eq!(parse("Bearer realm=\"open"), [challenge("bearer", &[])]);
        assert_eq!(parse("Basic, \u{fc}ber"), [challenge("basic", &[])]);
    }

    fn quoted(value: &str) -> String {
        format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
    }

    proptest::proptest! {
        #[test]
        fn any_header_is_read_without_a_panic(header in ".{0,300}") {
            for challenge in parse(&header) {
                assert!(!challenge.scheme.is_empty());
            }
        }

        #[test]
        fn what_is_written_by_the_grammar_reads_back(
            challenges in proptest::collection::vec(
                ("[a-z]{1,8}", proptest::collection::vec(("[a-z]{1,8}", "[ -~]{0,20}"), 1..4)), 0..4)
        ) {
            let header = challenges.iter().map(|(scheme, parameters)| {
                let list: Vec<_> = parameters.iter().map(|(key, value)| format!("{key}={}", quoted(value))).collect();
                format!("{scheme} {}", list.join(", "))
            }).collect::<Vec<_>>().join(", ");
            let expected: Vec<_> = challenges.into_iter()
                .map(|(scheme, parameters)| Challenge { scheme, parameters }).collect();
            assert_eq!(parse(&header), expected);
        }
    }
}
