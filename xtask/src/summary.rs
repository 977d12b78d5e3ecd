// SPDX-License-Identifier: Apache-2.0
//! What a test run did, one line per stage.

use std::time::{Duration, Instant};

use crate::Outcome;

/// The stages of a run, in order, with their outcome and time.
#[derive(Default)]
pub(crate) struct Summary {
    stages: Vec<Stage>,
}

struct Stage {
    name: &'static str,
    took: Duration,
    failure: Option<String>,
}

impl Summary {
    /// Runs one stage and notes how it went. Says whether it succeeded.
    pub(crate) fn stage(&mut self, name: &'static str, work: impl FnOnce() -> Outcome) -> bool {
        println!("\n==== {name}");
        let begun = Instant::now();
        let failure = work().err().map(|error| error.to_string());
        if let Some(failure) = &failure {
            println!("==== {name} FAILED: {failure}");
        }
        let succeeded = failure.is_none();
        self.stages.push(Stage { name, took: begun.elapsed(), failure });
        succeeded
    }

    /// Prints the table; an error when any stage failed.
    pub(crate) fn close(self) -> Outcome {
        print!("{}", self.table());
        let failed: Vec<&str> = self.stages.iter().filter(|s| s.failure.is_some()).map(|s| s.name).collect();
        if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", ")).into()) }
    }

    fn table(&self) -> String {
        let mut text = String::from("\n==== summary\n");
        for stage in &self.stages {
            let verdict = stage.failure.as_deref().map_or("ok".to_owned(), |why| format!("FAILED: {why}"));
            text.push_str(&format!("{:<12} {:>7.1} s  {verdict}\n", stage.name, stage.took.as_secs_f64()));
        }
        let total: Duration = self.stages.iter().map(|s| s.took).sum();
        text.push_str(&format!("{:<12} {:>7.1} s\n", "total", total.as_secs_f64()));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_stage_fails_the_run_and_is_named() {
        let mut summary = Summary::default();
        assert!(summary.stage("good", || Ok(())));
        assert!(!summary.stage("bad", || Err("broken".into())));
        let table = summary.table();
        assert!(table.contains("bad") && table.contains("FAILED: broken"), "{table}");
        assert_eq!(summary.close().unwrap_err().to_string(), "failed: bad");
    }

    #[test]
    fn a_run_whose_stages_all_succeed_succeeds() {
        let mut summary = Summary::default();
        summary.stage("good", || Ok(()));
        assert!(summary.close().is_ok());
    }
}
