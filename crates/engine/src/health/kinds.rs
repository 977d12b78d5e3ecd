// SPDX-License-Identifier: Apache-2.0
//! The questions that checks answer, told apart: whether a container has started, whether it is alive, whether it is
//! ready. Docker's one check answers all of them, where no other does. Pure.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::check::HealthCheck;
use super::state::{Health, HealthStatus};
use crate::container::Record;
use crate::error::EngineError;
use crate::request::ContainerSpec;

/// How often it is looked whether a container has started, and how often in vain.
const STARTUP_INTERVAL: Duration = Duration::from_secs(2);
const STARTUP_RETRIES: u32 = 60;
/// How often it is looked whether it is alive or ready, and how long.
const INTERVAL: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(10);
/// Until it is ready for the first time it is looked at least so often.
const NOT_YET_READY: Duration = Duration::from_secs(1);

/// A question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckKind {
    /// How well it is: Docker's check.
    Health,
    /// Whether it has started. The others are not asked before.
    Startup,
    /// Whether it is alive. If not it is started again.
    Liveness,
    /// Whether it is ready. Only then what it publishes leads to it.
    Readiness,
}

/// The checks of a container that answer one question each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Checks {
    /// Whether it has started.
    pub startup: Option<HealthCheck>,
    /// Whether it is alive.
    pub liveness: Option<HealthCheck>,
    /// Whether it is ready.
    pub readiness: Option<HealthCheck>,
}

/// Why a container was started again by what a check has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revived {
    /// When that was found.
    pub at: Timestamp,
    /// Which check failed how often, and what it said last.
    pub reason: String,
}

/// What has become of them in a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckStates {
    /// Of the startup check.
    pub startup: Option<Health>,
    /// Of the liveness check.
    pub liveness: Option<Health>,
    /// Of the readiness check.
    pub readiness: Option<Health>,
}

impl CheckKind {
    /// All of them, in the order in which they are told.
    pub const ALL: [CheckKind; 4] = [CheckKind::Health, CheckKind::Startup, CheckKind::Liveness, CheckKind::Readiness];

    /// Its name in events and in reasons.
    pub fn as_str(self) -> &'static str {
        match self {
            CheckKind::Health => "health",
            CheckKind::Startup => "startup",
            CheckKind::Liveness => "liveness",
            CheckKind::Readiness => "readiness",
        }
    }
}

impl Checks {
    /// The wish for one of them.
    pub fn get(&self, kind: CheckKind) -> Option<&HealthCheck> {
        match kind {
            CheckKind::Health => None,
            CheckKind::Startup => self.startup.as_ref(),
            CheckKind::Liveness => self.liveness.as_ref(),
            CheckKind::Readiness => self.readiness.as_ref(),
        }
    }

    /// Refuses a check that says nothing to try, or what means nothing for it.
    pub(crate) fn validate(&self) -> Result<(), EngineError> {
        for (flag, check) in
            [("--startup", &self.startup), ("--liveness", &self.liveness), ("--readiness", &self.readiness)]
        {
            let Some(check) = check else { continue };
            if check.probe().is_none() {
                return Err(EngineError::invalid(flag, "says nothing to try: http, tcp, file or cmd"));
            }
            if check.start_period.is_some() || check.start_interval.is_some() {
                return Err(EngineError::invalid(flag, "has a start period: a startup check takes its place"));
            }
        }
        Ok(())
    }

    /// At the start of a run, after one that left `before`.
    fn at_start(&self, before: Option<&CheckStates>) -> CheckStates {
        let state = |kind: CheckKind| {
            self.get(kind)?;
            Some(Health::at_start(before.and_then(|before| before.get(kind))))
        };
        CheckStates {
            startup: state(CheckKind::Startup),
            liveness: state(CheckKind::Liveness),
            readiness: state(CheckKind::Readiness),
        }
    }
}

impl CheckStates {
    /// What has become of one of them.
    pub fn get(&self, kind: CheckKind) -> Option<&Health> {
        match kind {
            CheckKind::Health => None,
            CheckKind::Startup => self.startup.as_ref(),
            CheckKind::Liveness => self.liveness.as_ref(),
            CheckKind::Readiness => self.readiness.as_ref(),
        }
    }

    fn get_mut(&mut self, kind: CheckKind) -> Option<&mut Health> {
        match kind {
            CheckKind::Health => None,
            CheckKind::Startup => self.startup.as_mut(),
            CheckKind::Liveness => self.liveness.as_mut(),
            CheckKind::Readiness => self.readiness.as_mut(),
        }
    }
}

/// A check with what its kind says where it says nothing.
fn effective(kind: CheckKind, wish: &HealthCheck) -> HealthCheck {
    let (interval, retries) = match kind {
        CheckKind::Startup => (STARTUP_INTERVAL, Some(STARTUP_RETRIES)),
        _ => (INTERVAL, None),
    };
    let mut check = wish.clone();
    let interval = *check.interval.get_or_insert(interval);
    check.timeout = check.timeout.or(Some(TIMEOUT));
    check.retries = check.retries.or(retries);
    if kind == CheckKind::Readiness {
        // However long that takes, it is not yet ready rather than no longer.
        check.start_period = Some(Duration::MAX);
        check.start_interval = Some(interval.min(NOT_YET_READY));
    }
    check
}

impl Record {
    /// One of its checks, if it has it.
    pub(crate) fn check(&self, kind: CheckKind) -> Option<HealthCheck> {
        match kind {
            CheckKind::Health => self.process.health.clone(),
            kind => self.spec.checks.get(kind).map(|wish| effective(kind, wish)),
        }
    }

    /// What has become of one of its checks.
    pub fn health_of(&self, kind: CheckKind) -> Option<&Health> {
        match kind {
            CheckKind::Health => self.health.as_deref(),
            kind => self.checks.as_ref()?.get(kind),
        }
    }

    pub(super) fn health_of_mut(&mut self, kind: CheckKind) -> Option<&mut Health> {
        match kind {
            CheckKind::Health => self.health.as_mut().map(Arc::make_mut),
            kind => Arc::make_mut(self.checks.as_mut()?).get_mut(kind),
        }
    }

    /// A run begins: what its checks have found out of it is nothing yet.
    pub(crate) fn begin_checks(&mut self) {
        self.health = self.health_at_start();
        let begun = self.spec.checks.at_start(self.checks.as_deref());
        self.checks = Some(Arc::new(begun)).filter(|begun| **begun != CheckStates::default());
    }

    /// A run goes on, whose checks an earlier daemon may not have known.
    pub(crate) fn resume_checks(&mut self) {
        self.health = self.health.take().or_else(|| self.health_at_start());
        if self.checks.is_none() {
            let begun = self.spec.checks.at_start(None);
            self.checks = Some(Arc::new(begun)).filter(|begun| **begun != CheckStates::default());
        }
    }

    fn health_at_start(&self) -> Option<Arc<Health>> {
        self.process.health.as_ref()?.probe()?;
        Some(Arc::new(Health::at_start(self.health.as_deref())))
    }

    /// Whether any probe has succeeded in this run, or in the last one; of a container without checks there is nothing to say
    /// against it.
    pub(crate) fn was_well(&self) -> bool {
        let mut known = CheckKind::ALL.into_iter().filter_map(|kind| self.health_of(kind)).peekable();
        known.peek().is_none() || known.any(|health| health.was_healthy)
    }

    /// Whether a check is made now: that of the startup until it succeeds, the others after it.
    pub(super) fn is_asked(&self, kind: CheckKind) -> bool {
        let has_started = self.health_of(CheckKind::Startup).is_none_or(|health| health.was_healthy);
        (kind == CheckKind::Startup) != has_started
    }

    /// How well it is: the worst that one of its checks says. What has ended is unhealthy, as Docker has it.
    pub fn health_status(&self) -> Option<HealthStatus> {
        let known = || CheckKind::ALL.into_iter().filter_map(|kind| Some((kind, self.health_of(kind)?.status)));
        let several = known().count() > 1;
        // That it is alive is taken for granted where another check says how far it is.
        let says = |(kind, status): &(CheckKind, HealthStatus)| {
            !(several && *kind == CheckKind::Liveness && *status == HealthStatus::Starting)
        };
        let badness = |status: &HealthStatus| match status {
            HealthStatus::Healthy => 0,
            HealthStatus::Starting => 1,
            HealthStatus::Unhealthy => 2,
        };
        let worst = known().filter(says).map(|(_, status)| status).max_by_key(badness)?;
        Some(if self.state.running().is_some() { worst } else { HealthStatus::Unhealthy })
    }

    /// Whether what it publishes leads to it only while it is ready.
    pub(crate) fn waits_for_ready(&self) -> bool {
        self.spec.publish_when_ready || self.spec.checks.readiness.is_some()
    }

    /// Whether what it publishes does not lead to it: that waits for its being ready, and it is not.
    pub(crate) fn holds_ports_back(&self) -> bool {
        if !self.waits_for_ready() {
            return false;
        }
        let is_ready = match self.health_of(CheckKind::Readiness) {
            Some(readiness) => readiness.status == HealthStatus::Healthy,
            None => self.health.as_ref().is_none_or(|health| health.ready),
        };
        !is_ready || self.is_asked(CheckKind::Startup)
    }
}

/// Refuses what waits for what nobody finds out, and a check whose answer nothing would come of.
pub(crate) fn is_possible(spec: &ContainerSpec, check: Option<&HealthCheck>) -> Result<(), EngineError> {
    use crate::request::RestartPolicy;
    spec.checks.validate()?;
    let Checks { startup, liveness, readiness } = &spec.checks;
    let is_checked = check.and_then(HealthCheck::probe).is_some() || startup.is_some();
    let needs = |what, other| {
        format!("{what} needs a health check, and neither the image nor a --health flag nor {other} says of one")
    };
    if matches!(spec.restart, RestartPolicy::Unhealthy { .. }) && !is_checked && liveness.is_none() {
        return Err(EngineError::invalid("--restart", needs("unhealthy", "--liveness")));
    }
    if spec.publish_when_ready && !is_checked && readiness.is_none() {
        return Err(EngineError::invalid("--publish-when", needs("ready", "--readiness")));
    }
    if liveness.is_some() && spec.restart == RestartPolicy::No {
        let reason = "what is not alive is started again by the restart policy, and that is no: add --restart";
        return Err(EngineError::invalid("--liveness", reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::HealthTest;
    use crate::request::RestartPolicy;

    fn tcp() -> HealthCheck {
        HealthCheck { test: Some(HealthTest::Tcp(1)), ..HealthCheck::default() }
    }

    #[test]
    fn each_kind_has_its_times() {
        let startup = effective(CheckKind::Startup, &tcp());
        assert_eq!((startup.interval, startup.retries()), (Some(STARTUP_INTERVAL), 60));
        let liveness = effective(CheckKind::Liveness, &HealthCheck { interval: Some(TIMEOUT * 2), ..tcp() });
        assert_eq!((liveness.interval, liveness.timeout(), liveness.retries()), (Some(TIMEOUT * 2), TIMEOUT, 3));
        let readiness = effective(CheckKind::Readiness, &tcp());
        assert_eq!(readiness.wait(true, Duration::from_secs(9999)), NOT_YET_READY);
        assert_eq!(readiness.wait(false, Duration::ZERO), INTERVAL);
        assert!(!readiness.counts_failures(Duration::from_secs(1 << 40)));
    }

    #[test]
    fn what_nothing_comes_of_is_refused() {
        let refused = |change: fn(&mut ContainerSpec)| {
            let mut spec = ContainerSpec::default();
            change(&mut spec);
            is_possible(&spec, None).err().map(|error| error.to_string())
        };
        assert_eq!(refused(|_| ()), None);
        assert_eq!(refused(|spec| spec.checks.readiness = Some(tcp())), None);
        let alive = refused(|spec| {
            (spec.checks.liveness, spec.restart) = (Some(tcp()), RestartPolicy::Always);
        });
        assert_eq!(alive, None);
        assert!(refused(|spec| spec.checks.liveness = Some(tcp())).unwrap().contains("--restart"));
        assert!(refused(|spec| spec.publish_when_ready = true).unwrap().starts_with("--publish-when"));
        assert!(
            refused(|spec| spec.restart = RestartPolicy::Unhealthy { most: None }).unwrap().starts_with("--restart")
        );
        assert!(refused(|spec| spec.checks.startup = Some(HealthCheck::default())).unwrap().contains("nothing to try"));
        let late = refused(|spec| spec.checks.readiness = Some(HealthCheck { start_period: Some(INTERVAL), ..tcp() }));
        assert!(late.unwrap().contains("start period"));
    }
}
