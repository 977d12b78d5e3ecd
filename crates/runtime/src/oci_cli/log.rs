// SPDX-License-Identifier: Apache-2.0
//! Where errors go: standard error, and the file that `--log` names, in runc's two formats.

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
}

impl Log {
    pub(super) fn open(path: Option<PathBuf>, format: Option<String>) -> Result<Log, CliError> {
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
        Ok(Log { file: path.map(open).transpose()?, json })
    }

    pub(super) fn error(&mut self, report: &Report) {
        let hint = report.hint.as_ref().map(|hint| format!("\n  {hint}")).unwrap_or_default();
        self.write("error", &report.message, &format!("corten oci: {}{hint}\n", report.message));
    }

    pub(super) fn warning(&mut self, text: &str) {
        self.write("warning", text, &format!("corten oci: warning: {text}\n"));
    }

    /// Nobody is left to tell when neither can be written.
    fn write(&mut self, level: &str, message: &str, shown: &str) {
        std::io::stderr().write_all(shown.as_bytes()).unwrap_or_default();
        if let Some(file) = &mut self.file {
            let time = rfc3339_now();
            let line = if self.json {
                format!("{}\n", serde_json::json!({ "level": level, "msg": message, "time": time }))
            } else {
                format!("time={time:?} level={level} msg={message:?}\n")
            };
            file.write_all(line.as_bytes()).unwrap_or_default();
        }
    }
}
