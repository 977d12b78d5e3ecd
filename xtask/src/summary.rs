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
    tally: Tally,
    failure: Option<String>,
}

/// Lines of a failed test that the end of the run repeats: its message is among the first.
const TOLD: usize = 24;

/// How many tests a stage has run, and what those that failed said.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
    pub(crate) failures: Vec<Failure>,
    /// Whether the lines being read are those of the last failure.
    telling: bool,
}

/// A failed test: its name, and what it printed first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) test: String,
    pub(crate) said: Vec<String>,
}

impl Tally {
    /// Reads a line that a test program printed.
    pub(crate) fn read(&mut self, line: &str) {
        self.count(line);
        if let Some(test) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            self.failures.push(Failure { test: test.to_owned(), said: Vec::new() });
            self.telling = true;
        } else if line == "failures:" || line.starts_with("test result: ") {
            self.telling = false;
        } else if let Some(last) = self.failures.last_mut()
            && self.telling
            && !line.trim().is_empty()
            && last.said.len() < TOLD
        {
            last.said.push(line.to_owned());
        }
    }

    /// Adds what a line says, if it is the closing line of a test program:
    /// `test result: ok. 3 passed; 0 failed; 0 ignored; …`.
    fn count(&mut self, line: &str) {
        let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")) else {
            return;
        };
        for count in counts.split("; ") {
            match count.split_once(' ').map(|(number, what)| (number.parse::<u64>(), what)) {
                Some((Ok(number), "passed")) => self.passed += number,
                Some((Ok(number), "failed")) => self.failed += number,
                Some((Ok(number), "ignored")) => self.ignored += number,
                _ => {}
            }
        }
    }

    /// Adds tests that were counted elsewhere.
    pub(crate) fn add(&mut self, others: &Tally) {
        self.passed += others.passed;
        self.failed += others.failed;
        self.ignored += others.ignored;
        self.failures.extend(others.failures.iter().cloned());
    }

    /// How many have run.
    pub(crate) fn tests(&self) -> u64 {
        self.passed + self.failed + self.ignored
    }
}

impl Summary {
    /// Runs one stage and notes how it went. Says whether it succeeded.
    pub(crate) fn stage(&mut self, name: &'static str, work: impl FnOnce(&mut Tally) -> Outcome) -> bool {
        println!("\n==== {name}");
        let begun = Instant::now();
        let mut tally = Tally::default();
        let failure = work(&mut tally).err().map(|error| error.to_string());
        if let Some(failure) = &failure {
            println!("==== {name} FAILED: {failure}");
        }
        let succeeded = failure.is_none();
        self.stages.push(Stage { name, took: begun.elapsed(), tally, failure });
        succeeded
    }

    /// Prints the table; an error when any stage failed.
    pub(crate) fn close(self) -> Outcome {
        print!("{}", self.table());
        let failed: Vec<&str> = self.stages.iter().filter(|s| s.failure.is_some()).map(|s| s.name).collect();
        if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", ")).into()) }
    }

    fn table(&self) -> String {
        let mut text = String::new();
        // Here once more, because what follows a failure may be thousands of lines.
        for Failure { test, said } in self.stages.iter().flat_map(|stage| &stage.tally.failures) {
            text.push_str(&format!("\n==== failed: {test}\n{}\n", said.join("\n")));
        }
        text.push_str("\n==== summary\n");
        let mut total = Tally::default();
        for stage in &self.stages {
            let verdict = stage.failure.as_deref().map_or("ok".to_owned(), |why| format!("FAILED: {why}"));
            let tests = if stage.tally.tests() == 0 { String::new() } else { format!("{} tests", stage.tally.passed) };
            text.push_str(&format!("{:<12} {:>7.1} s  {tests:>10}  {verdict}\n", stage.name, stage.took.as_secs_f64()));
            total.add(&stage.tally);
        }
        let took: Duration = self.stages.iter().map(|s| s.took).sum();
        text.push_str(&format!("{:<12} {:>7.1} s\n", "total", took.as_secs_f64()));
        let failed = self.stages.iter().any(|stage| stage.failure.is_some());
        let verdict = if failed { "FAILED" } else { "ok" };
        let Tally { passed, failed, ignored, .. } = total;
        text.push_str(&format!("test result: {verdict}. {passed} passed; {failed} failed; {ignored} ignored\n"));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_stage_fails_the_run_and_is_named() {
        let mut summary = Summary::default();
        assert!(summary.stage("good", |_| Ok(())));
        assert!(!summary.stage("bad", |_| Err("broken".into())));
        let table = summary.table();
        assert!(table.contains("bad") && table.contains("FAILED: broken"), "{table}");
        assert_eq!(summary.close().unwrap_err().to_string(), "failed: bad");
    }

    #[test]
    fn tests_are_counted_from_the_lines_of_test_programs() {
        let mut tally = Tally::default();
        tally.read("test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out; finished in 0.00s");
        tally.read("test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s");
        tally.read("test result_parser ... ok");
        assert_eq!(tally, Tally { passed: 5, failed: 1, ..Tally::default() });
    }

    #[test]
    fn what_a_failed_test_said_is_told_again_at_the_end() {
        let mut summary = Summary::default();
        summary.stage("bad", |tally| {
            let printed = "test one ... FAILED\n\nfailures:\n\n---- one stdout ----\n\nthread 'one' panicked at x.rs:1:1:\nleft\n\n\n\
                failures:\n    one\n\ntest result: FAILED. 2 passed; 1 failed; 0 ignored\nafterwards";
            printed.lines().for_each(|line| tally.read(line));
            Err("broken".into())
        });
        let table = summary.table();
        let told = "\n==== failed: one\nthread 'one' panicked at x.rs:1:1:\nleft\n\n==== summary\n";
        assert!(table.starts_with(told), "{table}");
        assert!(!table.contains("afterwards"), "{table}");
    }

    #[test]
    fn a_failed_test_that_says_much_does_not_fill_the_end() {
        let mut tally = Tally::default();
        tally.read("---- one stdout ----");
        (0..1000).for_each(|number| tally.read(&number.to_string()));
        assert_eq!(tally.failures[0].said.len(), TOLD);
    }

    #[test]
    fn a_run_whose_stages_all_succeed_succeeds() {
        let mut summary = Summary::default();
        summary.stage("good", |_| Ok(()));
        assert!(summary.close().is_ok());
    }
}
