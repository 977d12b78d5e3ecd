// SPDX-License-Identifier: Apache-2.0
//! Which of a container's labels, or of its variables, are told with its lines: `labels` and `labels-regex`, `env` and
//! `env-regex`.

use regex::{Regex, RegexBuilder};

/// How much a compiled pattern may take, in bytes: it stays as long as its container's log is sent.
const LIMIT: usize = 1 << 20;

/// Those that are named, and those whose names match.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pick {
    names: Vec<String>,
    pattern: Option<Regex>,
}

impl Pick {
    /// `names`: with commas in between. `pattern`: matches anywhere in a name, as in Docker.
    ///
    /// # Errors
    /// What is wrong with the pattern.
    pub(crate) fn new(names: &str, pattern: &str) -> Result<Pick, String> {
        let names = names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let build = || RegexBuilder::new(pattern).size_limit(LIMIT).build().map_err(|error| error.to_string());
        let pattern = if pattern.is_empty() { None } else { Some(build()?) };
        Ok(Pick { names, pattern })
    }

    pub(crate) fn takes(&self, name: &str) -> bool {
        self.names.iter().any(|one| one == name) || self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_ones_and_matching_ones_are_taken() {
        let pick = Pick::new("team,tier", "^com\\.example\\.(a|b)").unwrap();
        let taken = |name| pick.takes(name);
        assert!(taken("team") && taken("tier") && taken("com.example.a") && taken("com.example.bc"));
        assert!(!taken("tea") && !taken("com.example.c") && !taken("x.com.example.a") && !taken(""));
        assert!(Pick::new("", "STAGE").unwrap().takes("MY_STAGE_2"));
        assert!(!Pick::default().takes("x"));
        assert!(Pick::new("", "a(b").unwrap_err().contains("unclosed group"));
        assert!(Pick::new("", "(a{1000}){1000}").is_err());
    }
}
