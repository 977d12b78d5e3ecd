// SPDX-License-Identifier: Apache-2.0
//! Environment variables and labels: `KEY=VALUE`, `KEY` alone, and files of them.

use std::collections::HashMap;
use std::path::Path;

use super::FlagError;

/// The variables of the files, then those of the flags. `KEY` alone takes the value from the caller's environment, and
/// is left out where it has none.
pub(crate) fn collect(
    files: &[impl AsRef<Path>],
    flags: &[String],
    caller: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<String>, FlagError> {
    let mut variables = Vec::new();
    for file in files {
        let path = file.as_ref();
        let text = std::fs::read_to_string(path).map_err(|source| FlagError::File {
            what: "environment file",
            path: path.to_owned(),
            source,
        })?;
        variables.extend(parse_file(path, &text, caller)?);
    }
    for flag in flags {
        match flag.split_once('=') {
            Some(("", _)) => return Err(FlagError::invalid(flag, "has no variable's name before the =")),
            Some(_) => variables.push(flag.clone()),
            None if flag.is_empty() => return Err(FlagError::invalid(flag, "is no variable: write KEY=VALUE")),
            None => variables.extend(caller(flag).map(|value| format!("{flag}={value}"))),
        }
    }
    Ok(variables)
}

fn parse_file(path: &Path, text: &str, caller: &dyn Fn(&str) -> Option<String>) -> Result<Vec<String>, FlagError> {
    let mut variables = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let problem = |problem| FlagError::Line { path: path.to_owned(), line: index + 1, problem };
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (line.trim_end(), None),
        };
        if name.is_empty() {
            return Err(problem("no name before the ="));
        }
        if name.contains(char::is_whitespace) {
            return Err(problem("a name has no blanks"));
        }
        // What is no text file may be anything: nothing of it is shown.
        if line.contains('\0') {
            return Err(problem("a variable has no NUL byte: is this a text file?"));
        }
        match value {
            Some(value) => variables.push(format!("{name}={value}")),
            None => variables.extend(caller(name).map(|value| format!("{name}={value}"))),
        }
    }
    Ok(variables)
}

/// The labels of the files, then those of the flags; `KEY` alone has an empty value.
pub(crate) fn labels_and_files(
    files: &[impl AsRef<Path>],
    flags: &[String],
) -> Result<HashMap<String, String>, FlagError> {
    let mut all = Vec::new();
    for file in files {
        let path = file.as_ref();
        let text = std::fs::read_to_string(path).map_err(|source| FlagError::File {
            what: "label file",
            path: path.to_owned(),
            source,
        })?;
        all.extend(parse_file(path, &text, &|_| Some(String::new()))?);
    }
    all.extend_from_slice(flags);
    labels(&all)
}

/// Labels; `KEY` alone has an empty value.
pub(crate) fn labels(flags: &[String]) -> Result<HashMap<String, String>, FlagError> {
    flags
        .iter()
        .map(|flag| match flag.split_once('=').unwrap_or((flag, "")) {
            ("", _) => Err(FlagError::invalid(flag, "is no label: write KEY=VALUE")),
            (key, value) => Ok((key.to_owned(), value.to_owned())),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: &str) -> Option<String> {
        (name == "HOME").then(|| "/root".to_owned())
    }

    #[test]
    fn a_name_alone_takes_the_callers_value() {
        let flags = ["A=1=2".to_owned(), "HOME".to_owned(), "UNSET".to_owned(), "EMPTY=".to_owned()];
        assert_eq!(collect(&[] as &[&Path], &flags, &caller).unwrap(), ["A=1=2", "HOME=/root", "EMPTY="]);
        assert!(collect(&[] as &[&Path], &["=x".to_owned()], &caller).is_err());
    }

    #[test]
    fn a_file_has_comments_and_keeps_quotes_and_trailing_blanks() {
        let text = "\u{feff}# comment\n\n  A=\"q\" \nHOME\nUNSET\nB=#no comment\r\n";
        assert_eq!(parse_file(Path::new("f"), text, &caller).unwrap(), ["A=\"q\" ", "HOME=/root", "B=#no comment"]);
    }

    #[test]
    fn a_wrong_line_is_named() {
        let error = parse_file(Path::new("f"), "A=1\nB C=2\n", &caller).unwrap_err();
        assert_eq!(error.to_string(), "f, line 2: a name has no blanks");
        let error = parse_file(Path::new("f"), "A=secret\0B=2\0", &caller).unwrap_err().to_string();
        assert!(error.starts_with("f, line 1: ") && !error.contains("secret"), "{error}");
        assert!(collect(&["/does/not/exist"], &[], &caller).is_err());
    }

    #[test]
    fn labels_may_be_empty() {
        let labels = labels(&["a=b".into(), "c".into()]).unwrap();
        assert_eq!((labels["a"].as_str(), labels["c"].as_str()), ("b", ""));
    }
}
