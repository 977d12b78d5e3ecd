// SPDX-License-Identifier: Apache-2.0
//! Rules about files: how they open, how long they are, what they are called, and what may not stand in them.

use super::source::{code_only, lines_with_word};
use super::{Finding, SourceFile};

/// Above this many lines without its tests, a file is a room that wants a wall.
const LONGEST: usize = 800;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc"];

/// Crates whose functions take text or bytes and give values: no file, socket, process or clock.
const WITHOUT_IO: &[&str] = &[
    "crates/api-types/",
    "crates/cdi/",
    "crates/errors/",
    "crates/metrics/",
    "crates/oci/",
    "crates/seccomp/",
    "crates/spki/",
    "crates/trust/",
];

/// Every rule, over every file.
pub(crate) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = changelog(files);
    for file in files {
        findings.extend(empty_name(file));
        if file.path.ends_with(".rs") {
            findings.extend(opening(file));
            findings.extend(length(file));
            findings.extend(forbidden_code(file));
            findings.extend(input_and_output(file));
        }
    }
    findings
}

/// A user must be able to read what changed: the changelog has a place for it.
fn changelog(files: &[SourceFile]) -> Vec<Finding> {
    let unreleased = |text: &str| text.lines().any(|line| line.starts_with("## ") && line.contains("Unreleased"));
    match files.iter().find(|file| file.path == "CHANGELOG.md") {
        Some(file) if unreleased(&file.text) => Vec::new(),
        Some(_) => vec![Finding::new("CHANGELOG.md", "has no section \"Unreleased\"")],
        None => vec![Finding::new("CHANGELOG.md", "is missing")],
    }
}

/// The licence in one line, then what the file is for.
fn opening(file: &SourceFile) -> Vec<Finding> {
    let mut lines = file.text.lines();
    let mut findings = Vec::new();
    if lines.next() != Some("// SPDX-License-Identifier: Apache-2.0") {
        findings.push(Finding::new(&file.path, "does not begin with the SPDX line"));
    }
    let named_tests = file.path.ends_with("/tests.rs");
    if !named_tests && !lines.find(|line| !line.is_empty()).is_some_and(|line| line.starts_with("//! ")) {
        findings.push(Finding::new(&file.path, "does not say at its top, with //!, what it is for"));
    }
    findings
}

/// Tables and tests may be long; rooms may not.
fn length(file: &SourceFile) -> Option<Finding> {
    let stem = file.path.rsplit('/').next().unwrap_or_default();
    if is_test(&file.path) || stem.contains("table") {
        return None;
    }
    let lines = file.text.lines().take_while(|line| *line != "#[cfg(test)]").count();
    (lines > LONGEST)
        .then(|| Finding::new(&file.path, format!("has {lines} lines without its tests; the limit is {LONGEST}")))
}

fn empty_name(file: &SourceFile) -> Option<Finding> {
    let empty = file.path.split('/').map(|part| part.split('.').next().unwrap_or(part)).find(|part| {
        let part = part.to_ascii_lowercase();
        EMPTY_NAMES.contains(&part.as_str())
    })?;
    Some(Finding::new(&file.path, format!("{empty:?} says nothing about what is inside")))
}

/// `unsafe` lives in `sys`; no test is ignored; nothing is left to do.
fn forbidden_code(file: &SourceFile) -> Vec<Finding> {
    let code = code_only(&file.text);
    let mut findings = Vec::new();
    let mut forbid = |word: &str, why: &str| {
        for line in lines_with_word(&code, word) {
            findings.push(Finding::new(format!("{}:{line}", file.path), why));
        }
    };
    if !file.path.starts_with("crates/sys/") {
        forbid("unsafe", "unsafe code outside crates/sys");
    }
    forbid("#[ignore", "an ignored test proves nothing");
    forbid("todo!", "todo! in landed code");
    forbid("unimplemented!", "unimplemented! in landed code");
    findings
}

/// The pure crates do no input or output.
fn input_and_output(file: &SourceFile) -> Vec<Finding> {
    if is_test(&file.path) || !WITHOUT_IO.iter().any(|room| file.path.starts_with(room)) {
        return Vec::new();
    }
    let code = code_only(&file.text);
    let product: String = code.lines().take_while(|line| *line != "#[cfg(test)]").map(|l| format!("{l}\n")).collect();
    ["std::fs", "std::process", "std::env", "TcpStream", "TcpListener", "UdpSocket", "UnixStream"]
        .iter()
        .flat_map(|module| {
            lines_with_word(&product, module).into_iter().map(move |line| {
                Finding::new(
                    format!("{}:{line}", file.path),
                    format!("{module} in a crate that does no input or output"),
                )
            })
        })
        .collect()
}

fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/") || path.starts_with("tests/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENING: &str = "// SPDX-License-Identifier: Apache-2.0\n//! What it is for.\n";

    fn file(path: &str, text: impl Into<String>) -> SourceFile {
        SourceFile { path: path.into(), text: text.into() }
    }

    /// What `check` says of one file beside a good changelog.
    fn findings(path: &str, body: &str) -> Vec<String> {
        let files = [file("CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n"), file(path, format!("{OPENING}{body}"))];
        check(&files).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_good_file_has_no_finding() {
        assert_eq!(findings("crates/engine/src/stop.rs", "fn stop() {}\n"), Vec::<String>::new());
    }

    #[test]
    fn the_changelog_must_exist_and_have_an_unreleased_section() {
        assert_eq!(check(&[])[0].why, "is missing");
        assert_eq!(check(&[file("CHANGELOG.md", "## 1.0\n")])[0].why, "has no section \"Unreleased\"");
    }

    #[test]
    fn a_file_without_licence_or_purpose_is_found() {
        let found = opening(&file("crates/a/src/b.rs", "fn f() {}\n"));
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn a_long_file_is_found_and_its_tests_do_not_count() {
        let long = "fn f() {}\n".repeat(LONGEST);
        assert_eq!(findings("crates/a/src/b.rs", &long).len(), 1);
        assert!(findings("crates/a/src/syscall_table.rs", &long).is_empty());
        assert!(findings("crates/a/src/b.rs", &format!("#[cfg(test)]\n{long}")).is_empty());
        assert!(findings("crates/a/src/b/tests.rs", &long).is_empty());
    }

    #[test]
    fn a_name_that_says_nothing_is_found() {
        assert_eq!(findings("crates/a/src/utils.rs", "").len(), 1);
        assert_eq!(findings("crates/a/src/common/net.rs", "").len(), 1);
    }

    #[test]
    fn unsafe_code_outside_sys_is_found_and_a_mention_is_not() {
        let found = findings("crates/a/src/b.rs", "// unsafe is a word\nfn f() { unsafe { g() } }\n");
        assert_eq!(found, ["crates/a/src/b.rs:4: unsafe code outside crates/sys"]);
        assert!(findings("crates/sys/src/b.rs", "fn f() { unsafe { g() } }\n").is_empty());
    }

    #[test]
    fn ignored_tests_and_things_left_to_do_are_found() {
        assert_eq!(findings("crates/a/src/b.rs", &format!("#[{}]\nfn f() {{}}\n", "ignore")).len(), 1);
        assert_eq!(findings("crates/a/src/b.rs", &format!("fn f() {{ {}!() }}\n", "todo")).len(), 1);
        assert_eq!(findings("crates/a/src/b.rs", &format!("fn f() {{ {}!() }}\n", "unimplemented")).len(), 1);
    }

    #[test]
    fn input_and_output_in_a_pure_crate_is_found_but_its_tests_may() {
        assert_eq!(findings("crates/oci/src/a.rs", "use std::fs;\n").len(), 1);
        assert!(findings("crates/oci/src/a.rs", "#[cfg(test)]\nuse std::fs;\n").is_empty());
        assert!(findings("crates/content/src/a.rs", "use std::fs;\n").is_empty());
    }
}
