// SPDX-License-Identifier: Apache-2.0
//! The measurements as a page of Markdown.

use std::error::Error;
use std::fmt::Write;

use testkit::process::command;

use super::sample::Row;

/// What was measured on, and what was measured.
pub(super) struct Machine {
    facts: Vec<(&'static str, String)>,
}

impl Machine {
    /// This machine and the versions on it.
    pub(super) fn here() -> Result<Machine, Box<dyn Error>> {
        let cpu = std::fs::read_to_string("/proc/cpuinfo")?;
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
        let memory = std::fs::read_to_string("/proc/meminfo")?;
        let kib: u64 = memory.split_whitespace().nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let roots = testkit::leftovers::cgroup_roots();
        let version = |program: &str, argument: &str| -> Result<String, Box<dyn Error>> {
            let output = command(program).arg(argument).output()?;
            Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
        };
        Ok(Machine {
            facts: vec![
                ("Processor", model.trim_start_matches([' ', '\t', ':']).to_owned()),
                ("Processors", std::thread::available_parallelism()?.to_string()),
                ("Memory", format!("{:.0} GiB", kib as f64 / 1024.0 / 1024.0)),
                ("Kernel", kernel.trim().to_owned()),
                ("cgroups", if roots.len() == 1 { "v2" } else { "v1, hybrid" }.to_owned()),
                ("Run directories", "in memory, as `/run` is on hosts".to_owned()),
                ("Corten", version(&testkit::corten::binary().to_string_lossy(), "--version")?),
                ("Docker", version("dockerd", "--version")?),
                ("runc", version("runc", "--version")?),
            ],
        })
    }
}

/// One group's page.
pub(super) struct Page {
    pub(super) group: &'static str,
    pub(super) rows: Vec<Row>,
    /// Markdown that follows the table.
    pub(super) notes: String,
}

impl Page {
    /// The page as text.
    pub(super) fn markdown(&self, machine: &Machine) -> String {
        markdown(self.group, machine, &self.rows) + &self.notes
    }
}

fn markdown(group: &str, machine: &Machine, rows: &[Row]) -> String {
    let mut text = format!(
        "# Benchmarks: {group}\n\nWritten by `cargo xtask bench {group}`. All sides are measured in one call and take turns; \
         a virtual machine's times are\nnoisy, so read the ratios. Times are wall time of the whole command, as a user waits \
         for it: median (least–most).\nMemory is the proportional set size (PSS) where nothing else is said.\n\n| | |\n|---|---|\n",
    );
    for (name, value) in &machine.facts {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    text.push_str("\n| job | Corten | peer | | ratio | goal | samples |\n|---|---|---|---|---|---|---|\n");
    for row in rows {
        let goal = row.goal.map_or_else(String::new, |goal| {
            let verdict = if row.ratio() <= goal { "reached" } else { "**missed**" };
            format!("≤ {goal:.3} {verdict}")
        });
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {:.3} | {goal} | {} |",
            row.job,
            row.ours.show(row.unit),
            row.theirs.show(row.unit),
            row.peer,
            row.ratio(),
            row.ours.count(),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::sample::{Samples, Unit};
    use super::*;

    fn row(ours: f64, goal: f64) -> Row {
        let (ours, theirs) = (Samples::one(ours), Samples::one(0.1));
        Row { job: "run".into(), unit: Unit::Time, peer: "Docker", ours, theirs, goal: Some(goal) }
    }

    #[test]
    fn a_goal_that_was_missed_is_said_so() {
        let machine = Machine { facts: vec![("Kernel", "6.18".into())] };
        assert!(markdown("run", &machine, &[row(0.02, 0.1)]).contains("| 0.200 | ≤ 0.100 **missed** |"));
        assert!(markdown("run", &machine, &[row(0.002, 0.1)]).contains("| 0.020 | ≤ 0.100 reached |"));
    }
}
