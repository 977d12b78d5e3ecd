// SPDX-License-Identifier: Apache-2.0
//! `--trace`: each step of a run with its time since the client's `main` began.

use std::fmt::Write;

use api_types::TracedStep;

/// `CLOCK_MONOTONIC`, in nanoseconds.
pub(crate) fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // The clock counts from the machine's start: never negative, and 584 years fit.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
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
        self.steps.push(TracedStep { name: format!("client: {name}"), at_ns: now_ns() });
    }

    /// Steps that others finished. The exit may repeat those of the start.
    pub(crate) fn extend(&mut self, steps: Vec<TracedStep>) {
        for step in steps {
            if !self.steps.contains(&step) {
                self.steps.push(step);
            }
        }
    }

    /// The table: time since the start, time since the step before, the step; in the order of time.
    pub(crate) fn render(&self) -> String {
        let mut steps: Vec<&TracedStep> = self.steps.iter().collect();
        steps.sort_by_key(|step| step.at_ns);
        let mut text = format!("{:>12} {:>12}  STEP\n", "TIME", "DELTA");
        let mut before = self.start_ns;
        for step in steps {
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
        assert_eq!(trace.render(), expected);
    }
}
