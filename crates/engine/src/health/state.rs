// SPDX-License-Identifier: Apache-2.0
//! How well a container is: what its probes have made of it, by Docker's rules. Pure.
//!
//! ```text
//!  start ──▶ Starting ──a probe succeeds──▶ Healthy
//!               │                            │ ▲
//!               └──too many failures──▶ Unhealthy ──a probe succeeds──▶ (Healthy)
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::check::HealthCheck;

/// So many probes are remembered; Docker's number.
const REMEMBERED: usize = 5;

/// How well it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// No probe has succeeded since its start, and not too many have failed.
    Starting,
    /// The last probe succeeded, or not too many have failed since one did.
    Healthy,
    /// Too many probes failed in a row; or it does not run.
    Unhealthy,
}

impl HealthStatus {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            HealthStatus::Starting => "starting",
            HealthStatus::Healthy => "healthy",
            HealthStatus::Unhealthy => "unhealthy",
        }
    }
}

/// One probe, as it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// 0 for a success; -1 where it could not be made, or took too long.
    pub exit_code: i32,
    /// What it wrote, its beginning only; or why it failed.
    pub output: String,
}

/// How well a container is, and why it is thought so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// How well.
    pub status: HealthStatus,
    /// How many probes in a row have failed, as far as failures counted.
    pub failing_streak: u32,
    /// Whether the last probe since its start succeeded.
    #[serde(default)]
    pub ready: bool,
    /// Whether a probe has succeeded since its start.
    #[serde(default)]
    pub was_healthy: bool,
    /// The last probes, the oldest first.
    pub log: VecDeque<Probe>,
}

impl Health {
    /// At the start of a run, after one that left `before`: what it said last stays to be read.
    pub(crate) fn at_start(before: Option<&Health>) -> Health {
        let log = before.map(|before| before.log.clone()).unwrap_or_default();
        Health { status: HealthStatus::Starting, failing_streak: 0, ready: false, was_healthy: false, log }
    }

    /// Takes one more probe into account, of a container that had run for `ran` when it began. Says whether the status is
    /// another one now.
    pub(crate) fn note(&mut self, probe: Probe, check: &HealthCheck, ran: Duration) -> bool {
        let before = self.status;
        self.ready = probe.exit_code == 0;
        if probe.exit_code == 0 {
            (self.status, self.failing_streak, self.was_healthy) = (HealthStatus::Healthy, 0, true);
        } else if self.status != HealthStatus::Starting || check.counts_failures(ran) {
            self.failing_streak = self.failing_streak.saturating_add(1);
            if self.failing_streak >= check.retries() {
                self.status = HealthStatus::Unhealthy;
            }
        }
        while self.log.len() >= REMEMBERED {
            self.log.pop_front();
        }
        self.log.push_back(probe);
        self.status != before
    }
}

#[cfg(test)]
mod tests {
    use super::HealthStatus::{Healthy, Starting, Unhealthy};
    use super::*;

    fn probe(exit_code: i32) -> Probe {
        Probe { start: Timestamp::UNIX_EPOCH, end: Timestamp::UNIX_EPOCH, exit_code, output: exit_code.to_string() }
    }

    #[test]
    fn one_success_heals_and_only_failures_in_a_row_count() {
        let check = HealthCheck { retries: Some(2), ..HealthCheck::default() };
        let mut health = Health::at_start(None);
        for (code, status, streak, changed) in [
            (1, Starting, 1, false),
            (0, Healthy, 0, true),
            (1, Healthy, 1, false),
            (0, Healthy, 0, false),
            (-1, Healthy, 1, false),
            (7, Unhealthy, 2, true),
            (7, Unhealthy, 3, false),
            (0, Healthy, 0, true),
        ] {
            assert_eq!(health.note(probe(code), &check, Duration::ZERO), changed, "{code}");
            assert_eq!((health.status, health.failing_streak), (status, streak), "{code}");
            assert_eq!(health.ready, code == 0, "{code}");
        }
        let outputs: Vec<&str> = health.log.iter().map(|probe| probe.output.as_str()).collect();
        assert_eq!(outputs, ["0", "-1", "7", "7", "0"]);
    }

    #[test]
    fn failures_within_the_start_period_do_not_count_unless_it_was_well_before() {
        let check =
            HealthCheck { retries: Some(1), start_period: Some(Duration::from_secs(10)), ..HealthCheck::default() };
        let (early, late) = (Duration::from_secs(9), Duration::from_secs(10));
        let mut health = Health::at_start(None);
        assert!(!health.note(probe(1), &check, early));
        assert_eq!((health.status, health.failing_streak), (Starting, 0));
        let mut other = health.clone();
        assert!(other.note(probe(1), &check, late) && other.status == Unhealthy);
        health.note(probe(0), &check, early);
        assert!(health.note(probe(1), &check, early) && health.status == Unhealthy);
        let again = Health::at_start(Some(&health));
        assert_eq!((again.status, again.failing_streak, again.log.len()), (Starting, 0, 3));
    }
}
