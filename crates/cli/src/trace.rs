// SPDX-License-Identifier: Apache-2.0
//! `--trace`: each step of a run with its time since the client's `main` began.

use std::fmt::Write;

use api_types::TracedStep;
use serde_json::{Value, json};

/// `CLOCK_MONOTONIC`, in nanoseconds.
pub(crate) fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // The clock counts from the machine's start: never negative, and 584 years fit.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// How a trace is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// A table.
    Text,
    /// One object on one line.
    Json,
}

/// The steps so far.
#[derive(Debug)]
pub(crate) struct Trace {
    start_ns: u64,
    steps: Vec<TracedStep>,
}

impl Trace {
    /// No steps yet; `start_ns` is when `main` began.
    pub(crate) fn new(start_ns: u64) -> Trace {
        Trace { start_ns, steps: Vec::new() }
    }

    /// A step of the client's own was finished now.
    pub(crate) fn step(&mut self, name: &str) {
        self.step_at(name, now_ns());
    }

    /// A step of the client's own was finished at `at_ns`.
    pub(crate) fn step_at(&mut self, name: &str, at_ns: u64) {
        self.steps.push(TracedStep { name: format!("client: {name}"), at_ns });
    }

    /// Steps that others finished. The exit may repeat those of the start.
    pub(crate) fn extend(&mut self, steps: Vec<TracedStep>) {
        for step in steps {
            if !self.steps.contains(&step) {
                self.steps.push(step);
            }
        }
    }

    /// The trace as `format` has it.
    pub(crate) fn print(&self, format: Format) -> String {
        match format {
            Format::Text => self.render(),
            Format::Json => self.json(),
        }
    }

    /// `{"Steps":[{"Name":…,"Milliseconds":…,"Delta":…},…]}`, in the order of time.
    fn json(&self) -> String {
        let mut before = self.start_ns;
        let steps: Vec<Value> = self
            .in_order()
            .map(|step| {
                let milliseconds = |from: u64| (step.at_ns as f64 - from as f64) / 1e6;
                let (at, delta) = (milliseconds(self.start_ns), milliseconds(before));
                before = step.at_ns;
                json!({ "Name": step.name, "Milliseconds": at, "Delta": delta })
            })
            .collect();
        format!("{}\n", json!({ "Steps": steps }))
    }

    fn in_order(&self) -> impl Iterator<Item = &TracedStep> {
        let mut steps: Vec<&TracedStep> = self.steps.iter().collect();
        steps.sort_by_key(|step| step.at_ns);
        steps.into_iter()
    }

    /// The table: time since the start, time since the step before, the step; in the order of time.
    fn render(&self) -> String {
        let mut text = format!("{:>12} {:>12}  STEP\n", "TIME", "DELTA");
        let mut before = self.start_ns;
        for step in self.in_order() {
            let milliseconds = |from: u64| (step.at_ns as f64 - from as f64) / 1e6;
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{:>9.3} ms {:>+9.3} ms  {}",
                milliseconds(self.start_ns),
                milliseconds(before),
                step.name
            );
            before = step.at_ns;
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_stand_in_the_order_of_time_and_once() {
        let mut trace = Trace::new(1_000_000);
        let step = |name: &str, at_ns| TracedStep { name: name.into(), at_ns };
        trace.extend(vec![step("execve", 3_500_000), step("image", 2_000_000)]);
        trace.extend(vec![step("image", 2_000_000), step("exit", 5_000_000)]);
        let expected = "        TIME        DELTA  STEP\n    1.000 ms    +1.000 ms  image\n    2.500 ms    +1.500 ms  execve\n    4.000 ms    +1.500 ms  exit\n";
        assert_eq!(trace.print(Format::Text), expected);
        let document: Value = serde_json::from_str(&trace.print(Format::Json)).unwrap();
        assert_eq!(document["Steps"][1], json!({ "Name": "execve", "Milliseconds": 2.5, "Delta": 1.5 }));
    }
}
