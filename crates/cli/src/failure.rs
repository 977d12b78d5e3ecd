// SPDX-License-Identifier: Apache-2.0
//! How a command fails: what is printed, and the exit code.

use errors::{Classify, Kind, Report};

/// A command that did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What to tell the user; nothing when it was told already.
    pub(crate) report: Option<Report>,
    /// The exit code.
    pub(crate) code: u8,
}

impl Failure {
    /// A failure that says `message`.
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Failure {
        Failure { report: Some(Report::new(kind, message)), code: 1 }
    }

    /// The same, with what to do next.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Failure {
        self.report = self.report.map(|report| report.with_hint(hint));
        self
    }

    /// The end of a command whose errors were printed as they came.
    pub(crate) fn told() -> Failure {
        Failure { report: None, code: 1 }
    }

    /// The same failure of a command that runs something in a container: 125, 126 or 127.
    pub(crate) fn of_run(mut self) -> Failure {
        if let Some(report) = &self.report {
            self.code = report.kind.run_exit_code();
        }
        self
    }

    /// The same failure of `exec`: 126 or 127 where the command is the reason, 1 where it was never tried, as Docker's.
    pub(crate) fn of_exec(mut self) -> Failure {
        if let Some(report) = &self.report {
            self.code = match report.kind {
                kind @ (Kind::CommandNotFound | Kind::NotExecutable) => kind.run_exit_code(),
                _ => 1,
            };
        }
        self
    }
}

impl<E: Classify> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure { report: Some(Report::from(&error)), code: 1 }
    }
}
