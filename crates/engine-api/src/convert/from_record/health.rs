// SPDX-License-Identifier: Apache-2.0
//! How well a container is, and how that is found out, as Docker's clients read it.

use std::time::Duration;

use api_types::docker::{
    ContainerSummaryHealth, ContainerSummaryHealthStatusEnum, Health, HealthConfig, HealthStatusEnum, HealthcheckResult,
};
use api_types::{CheckFindings, CheckReports, CheckRequest, CheckRestart};
use engine::{CheckKind, HealthCheck, HealthStatus, Probe, Record, State};

/// So many probes Docker tells of.
const PROBES: usize = 5;

/// What `inspect` says: of one check what that found, of several the worst, and the last probes of all.
pub(super) fn state(record: &Record) -> Option<Health> {
    let status = record.health_status()?;
    let all: Vec<&engine::Health> = CheckKind::ALL.iter().filter_map(|kind| record.health_of(*kind)).collect();
    let mut log: Vec<&Probe> = all.iter().flat_map(|health| &health.log).collect();
    log.sort_by_key(|probe| probe.start);
    let last = log.len().saturating_sub(PROBES);
    let streak = all.iter().map(|health| health.failing_streak).max().unwrap_or_default();
    Some(told(status, streak, log.into_iter().skip(last)))
}

fn told<'p>(status: HealthStatus, streak: u32, log: impl Iterator<Item = &'p Probe>) -> Health {
    Health {
        status: Some(match status {
            HealthStatus::Starting => HealthStatusEnum::STARTING,
            HealthStatus::Healthy => HealthStatusEnum::HEALTHY,
            HealthStatus::Unhealthy => HealthStatusEnum::UNHEALTHY,
        }),
        failing_streak: Some(streak.into()),
        log: Some(
            log.map(|probe| HealthcheckResult {
                start: Some(probe.start.to_string()),
                end: Some(probe.end.to_string()),
                exit_code: Some(probe.exit_code.into()),
                output: Some(probe.output.clone()),
            })
            .collect(),
        ),
    }
}

/// What the checks that answer one question each have found, and why that had the container started again.
pub(crate) fn findings(record: &Record) -> CheckFindings {
    let report = |kind| {
        let health = record.health_of(kind)?;
        Some(told(health.status, health.failing_streak, health.log.iter()))
    };
    let checks = CheckReports {
        startup: report(CheckKind::Startup),
        liveness: report(CheckKind::Liveness),
        readiness: report(CheckKind::Readiness),
    };
    let revived = record.revived.as_ref();
    CheckFindings {
        checks: Some(checks).filter(|checks| *checks != CheckReports::default()),
        restart: revived.map(|why| CheckRestart { at: why.at.to_string(), reason: why.reason.clone() }),
    }
}

/// The checks that answer one question each, as they were asked for.
pub(crate) fn wishes(record: &Record) -> CheckRequest {
    let wish = |kind| record.spec.checks.get(kind).map(check);
    CheckRequest {
        startup: wish(CheckKind::Startup),
        liveness: wish(CheckKind::Liveness),
        readiness: wish(CheckKind::Readiness),
    }
}

/// What a list says since the API's version 1.52, of containers that are not checked as well.
pub(super) fn summary(record: &Record) -> ContainerSummaryHealth {
    let streaks = CheckKind::ALL.iter().filter_map(|kind| Some(record.health_of(*kind)?.failing_streak));
    ContainerSummaryHealth {
        status: Some(match record.health_status() {
            None => ContainerSummaryHealthStatusEnum::NONE,
            Some(HealthStatus::Starting) => ContainerSummaryHealthStatusEnum::STARTING,
            Some(HealthStatus::Healthy) => ContainerSummaryHealthStatusEnum::HEALTHY,
            Some(HealthStatus::Unhealthy) => ContainerSummaryHealthStatusEnum::UNHEALTHY,
        }),
        failing_streak: Some(streaks.max().unwrap_or_default().into()),
    }
}

/// A status as `ps` has it, of a container that is checked: `Up 5 minutes (healthy)`, `Up 3 seconds (health: starting)`.
pub(super) fn status(text: String, record: &Record) -> String {
    match (&record.state, record.health_status()) {
        (State::Running(running), Some(status)) if !running.paused => match status {
            HealthStatus::Starting => format!("{text} (health: starting)"),
            other => format!("{text} ({})", other.as_str()),
        },
        _ => text,
    }
}

/// The check, as it was asked for.
pub(super) fn check(check: &HealthCheck) -> HealthConfig {
    let nanos = |time: Option<Duration>| time.and_then(|time| i64::try_from(time.as_nanos()).ok());
    HealthConfig {
        test: check.test.as_ref().map(engine::HealthTest::words),
        interval: nanos(check.interval),
        timeout: nanos(check.timeout),
        start_period: nanos(check.start_period),
        start_interval: nanos(check.start_interval),
        retries: check.retries.map(i64::from),
    }
}
