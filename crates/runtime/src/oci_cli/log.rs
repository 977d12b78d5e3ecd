// SPDX-License-Identifier: Apache-2.0
//! Where errors go: standard error, and the file that `--log` names, in runc's two formats.
//!
//! Everything else goes to that file alone when there is one: an engine makes our standard error the container's, so what
//! is no error would stand in the container's log.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use errors::Report;

use super::error::CliError;
use super::time::rfc3339_now;

/// The log; by default there is no file.
#[derive(Debug, Default)]
pub(super) struct Log {
    file: Option<File>,
    json: bool,
    debug: bool,
}

impl Log {
    pub(super) fn open(path: Option<PathBuf>, format: Option<String>, debug: bool) -> Result<Log, CliError> {
        let json = match format.as_deref() {
            None | Some("" | "text") => false,
            Some("json") => true,
            Some(other) => {
                let value = other.to_owned();
                return Err(CliError::InvalidValue { flag: "log-format", value, expected: "text or json" });
            }
        };
        let open = |path: PathBuf| {
            OpenOptions::new().create(true).append(true).open(&path).map_err(CliError::file("open the log", path))
        };
        Ok(Log { file: path.map(open).transpose()?, json, debug })
    }

    /// Whether what is done step by step is to be told.
    pub(super) fn tells_steps(&self) -> bool {
        self.debug
    }

    pub(super) fn error(&self, report: &Report) {
        let hint = report.hint.as_ref().map(|hint| format!("\n  {hint}")).unwrap_or_default();
        show(&format!("corten oci: {}{hint}\n", report.message));
        self.write("error", &report.message);
    }

    pub(super) fn warning(&self, text: &str) {
        if self.file.is_none() {
            show(&format!("corten oci: warning: {text}\n"));
        }
        self.write("warning", text);
    }

    /// Told only with `--debug`.
    pub(super) fn step(&self, text: &str) {
        if !self.debug {
            return;
        }
        if self.file.is_none() {
            show(&self.line("debug", text));
        }
        self.write("debug", text);
    }

    fn line(&self, level: &str, message: &str) -> String {
        let time = rfc3339_now();
        if self.json {
            format!("{}\n", serde_json::json!({ "level": level, "msg": message, "time": time }))
        } else {
            format!("time={time:?} level={level} msg={message:?}\n")
        }
    }

    fn write(&self, level: &str, message: &str) {
        if let Some(mut file) = self.file.as_ref() {
            // Nobody is left to tell when the log cannot be written.
            file.write_all(self.line(level, message).as_bytes()).unwrap_or_default();
        }
    }
}

/// Writes to standard error. Nobody is left to tell when that cannot be written.
fn show(text: &str) {
    std::io::stderr().write_all(text.as_bytes()).unwrap_or_default();
}
