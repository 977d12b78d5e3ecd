// SPDX-License-Identifier: Apache-2.0
//! The repository's own rules, as a check.
//!
//! Each rule is a pure function from the files (or from cargo's metadata) to findings, with a test that shows it fail.

mod arrows;
mod files;
mod source;

use std::fmt;
use std::path::Path;

use crate::{Outcome, cargo};

/// A file of the repository. The path is relative to its root.
pub(crate) struct SourceFile {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// One breach of a rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) place: String,
    pub(crate) why: String,
}

impl Finding {
    fn new(place: impl Into<String>, why: impl Into<String>) -> Finding {
        Finding { place: place.into(), why: why.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.why)
    }
}

/// Checks everything and prints what it finds.
pub(crate) fn run() -> Outcome {
    let mut sources = Vec::new();
    collect(cargo::root(), "", &mut sources)?;
    let mut findings = files::check(&sources);
    let metadata =
        cargo::capture(&["metadata", "--format-version=1", "--locked", "--filter-platform=x86_64-unknown-linux-gnu"])?;
    findings.extend(arrows::check(&serde_json::from_slice(&metadata)?));
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => {
            println!("tidy: {} files, nothing to say", sources.len());
            Ok(())
        }
        count => Err(format!("tidy has {count} findings").into()),
    }
}

/// Every text file of ours below `directory`: no build output, no hidden directories except the one with the CI script.
fn collect(root: &Path, below: &str, into: &mut Vec<SourceFile>) -> Outcome {
    for entry in std::fs::read_dir(root.join(below))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        let hidden = name.starts_with('.') && name != ".ci" && name != ".cargo";
        if hidden || path == "target" {
            continue;
        }
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(root, &path, into)?;
        } else if kind.is_file() {
            let bytes = std::fs::read(entry.path())?;
            if let Ok(text) = String::from_utf8(bytes) {
                into.push(SourceFile { path, text });
            }
        }
    }
    Ok(())
}
