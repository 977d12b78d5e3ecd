// SPDX-License-Identifier: Apache-2.0
//! Checks that answer one question each: `HostConfig.CortenChecks` of a container, and what `inspect` says of them.

pub mod notation;

use serde::{Deserialize, Serialize};

use crate::docker::{Health, HealthConfig};

/// Whether a container has started, is alive, is ready: how that is found out, in the form of Docker's `Healthcheck`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct CheckRequest {
    /// Whether it has started. The others wait for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub startup: Option<HealthConfig>,
    /// Whether it is alive. If not it is started again, by its restart policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub liveness: Option<HealthConfig>,
    /// Whether it is ready. Only then its published ports lead to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readiness: Option<HealthConfig>,
}

/// What `inspect` says of checks beyond Docker's `State.Health`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckFindings {
    /// What each has found.
    #[serde(rename = "CortenChecks", skip_serializing_if = "Option::is_none")]
    pub checks: Option<CheckReports>,
    /// Why one had the container started again, if it did since a user started it.
    #[serde(rename = "CortenRestart", skip_serializing_if = "Option::is_none")]
    pub restart: Option<CheckRestart>,
}

/// What has become of them in a container's run, in the form of Docker's `State.Health`: `State.CortenChecks`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CheckReports {
    /// Of the startup check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub startup: Option<Health>,
    /// Of the liveness check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub liveness: Option<Health>,
    /// Of the readiness check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readiness: Option<Health>,
}

/// Why a container was started again by what a check has found: `State.CortenRestart`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CheckRestart {
    /// When that was found.
    pub at: String,
    /// Which check failed how often, and what it said last.
    pub reason: String,
}
