// SPDX-License-Identifier: Apache-2.0
//! How well a container is, and how that is found out, as Docker's clients read it.

use std::time::Duration;

use api_types::docker::{
    ContainerSummaryHealth, ContainerSummaryHealthStatusEnum, Health, HealthConfig, HealthStatusEnum, HealthcheckResult,
};
use engine::{HealthCheck, HealthStatus, Record, State};

/// What `inspect` says.
pub(super) fn state(record: &Record) -> Option<Health> {
    let (health, status) = (record.health.as_ref()?, record.health_status()?);
    Some(Health {
        status: Some(match status {
            HealthStatus::Starting => HealthStatusEnum::STARTING,
            HealthStatus::Healthy => HealthStatusEnum::HEALTHY,
            HealthStatus::Unhealthy => HealthStatusEnum::UNHEALTHY,
        }),
        failing_streak: Some(health.failing_streak.into()),
        log: Some(
            health
                .log
                .iter()
                .map(|probe| HealthcheckResult {
                    start: Some(probe.start.to_string()),
                    end: Some(probe.end.to_string()),
                    exit_code: Some(probe.exit_code.into()),
                    output: Some(probe.output.clone()),
                })
                .collect(),
        ),
    })
}

/// What a list says since the API's version 1.52, of containers that are not checked as well.
pub(super) fn summary(record: &Record) -> ContainerSummaryHealth {
    ContainerSummaryHealth {
        status: Some(match record.health_status() {
            None => ContainerSummaryHealthStatusEnum::NONE,
            Some(HealthStatus::Starting) => ContainerSummaryHealthStatusEnum::STARTING,
            Some(HealthStatus::Healthy) => ContainerSummaryHealthStatusEnum::HEALTHY,
            Some(HealthStatus::Unhealthy) => ContainerSummaryHealthStatusEnum::UNHEALTHY,
        }),
        failing_streak: Some(record.health.as_ref().map_or(0, |health| health.failing_streak.into())),
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
