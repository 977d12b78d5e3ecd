// SPDX-License-Identifier: Apache-2.0
//! What a client and the daemon say to each other: Docker's models, re-exported, and the requests of Corten's own
//! routes, which exist where Docker's need several round trips for one thing a user asked for.
//!
//! A streaming route answers `101 Switching Protocols` with [`PROTOCOL`]; from then on both sides send the shim's
//! frames (`shim::frame`).
//!
//! **Architecture Invariant:** pure. Values and their JSON; no I/O.

mod checks;
pub mod detach_keys;
mod events;
pub mod explain;
mod lease;
mod mounts;
mod path_stat;
mod ports;
mod store;
mod trust;
mod usage;
mod wish;

use errors::{Kind, Report};
use serde::{Deserialize, Serialize};

pub use bollard_stubs::models as docker;
pub use checks::{CheckFindings, CheckReports, CheckRequest, CheckRestart, notation};
pub use events::{EventActor, EventMessage};
pub use lease::{DEFAULT_LEASE, LEASES_ROUTE, Lease, LeaseRequest, LeaseResource};
pub use mounts::MountChangeRequest;
pub use path_stat::{PATH_STAT_HEADER, PathStat};
pub use ports::PortChangeRequest;
pub use store::{
    CheckReport, DiskUsage, StoreProblem, StoreUsage, WasteFinding, WasteReport, WastedFile, WastefulLayer,
};
pub use trust::{RegistrySignatures, RuleKey, SignatureText, TrustRule, TrustRuleRequest};
pub use usage::{ContainerUsage, USAGE_ROUTE, Usage};
pub use wish::Wish;

/// The newest version of the Docker Engine API that is spoken, as it stands in the path: `/v1.55/…`.
pub const API_VERSION: &str = "1.55";
/// The first release of Docker's that speaks it: what whoever asks for a version of Docker's is told.
pub const DOCKER_RELEASE: &str = "29.6.0";
/// The oldest version of the Docker Engine API that is spoken.
pub const MIN_API_VERSION: &str = "1.24";
/// The protocol name in `Upgrade:` of the streaming routes.
pub const PROTOCOL: &str = "corten-frames";
/// The header of a streaming answer that carries the container's id.
pub const CONTAINER_HEADER: &str = "corten-container";
/// The header of a streaming answer that carries one warning; there may be several.
pub const WARNING_HEADER: &str = "corten-warning";

/// Create and start a container in one go.
pub const RUN_ROUTE: &str = "/corten/v1/run";

/// The size of a terminal, in character cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters per line.
    pub cols: u16,
}

/// Which of the three standard streams a session carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Streams {
    /// What the client types reaches the container.
    #[serde(default)]
    pub stdin: bool,
    /// The container's output reaches the client.
    #[serde(default)]
    pub stdout: bool,
    /// The container's error output reaches the client.
    #[serde(default)]
    pub stderr: bool,
}

/// The body of `POST /corten/v1/run`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRequest {
    /// The container's name; the daemon makes one up without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `os/arch[/variant]` that the image must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// What to run and how, as in Docker's `POST /containers/create`.
    pub config: Wish<docker::ContainerCreateBody>,
    /// Answer with JSON ([`RunResponse`]) once the command runs, instead of streaming.
    #[serde(default)]
    pub detach: bool,
    /// The streams of a session that is not detached.
    #[serde(default)]
    pub attach: Streams,
    /// The client's terminal, when the container gets one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// Record each step of the start with its time.
    #[serde(default)]
    pub trace: bool,
    /// When the client's `main` began: `CLOCK_MONOTONIC`, nanoseconds.
    #[serde(default)]
    pub client_start_ns: u64,
}

/// The answer to a detached [`RunRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RunResponse {
    /// The container's full id.
    pub id: String,
    /// What the user should know although it worked.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The steps of the start, when they were asked for.
    #[serde(default)]
    pub steps: Vec<TracedStep>,
}

/// One step of a container's start or end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedStep {
    /// What was finished.
    pub name: String,
    /// When: `CLOCK_MONOTONIC`, nanoseconds.
    pub at_ns: u64,
}

/// The body of `POST /corten/v1/containers/{id}/exec`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecRequest {
    /// What to run, as in Docker's `POST /containers/{id}/exec`.
    pub config: docker::ExecConfig,
    /// Answer with JSON (an [`ExecResponse`]) once the command runs, instead of streaming.
    #[serde(default)]
    pub detach: bool,
    /// The client's terminal, when the command gets one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
}

/// The answer to a detached [`ExecRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExecResponse {
    /// The exec's id.
    pub id: String,
}

/// The body of `POST /corten/v1/containers/{id}/attach`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachRequest {
    /// The streams of the session.
    #[serde(default)]
    pub streams: Streams,
    /// Start the (stopped or merely created) container, so that no output is missed.
    #[serde(default)]
    pub start: bool,
}

/// The body of every answer that is an error: Docker's `message`, and what Corten's own clients make use of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What happened.
    pub message: String,
    /// What a program should make of it; other daemons do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl From<Report> for ErrorBody {
    fn from(report: Report) -> ErrorBody {
        ErrorBody { message: report.message, kind: Some(report.kind), hint: report.hint }
    }
}

impl ErrorBody {
    /// The report that this was, its kind taken from the HTTP `status` where the daemon did not say it.
    pub fn into_report(self, status: u16) -> Report {
        let kind = self.kind.unwrap_or(match status {
            400 => Kind::InvalidArgument,
            401 => Kind::Unauthorized,
            403 => Kind::PermissionDenied,
            404 => Kind::NotFound,
            409 => Kind::Conflict,
            501 => Kind::Unsupported,
            503 => Kind::Unavailable,
            507 => Kind::NoSpace,
            _ => Kind::Internal,
        });
        Report { kind, message: self.message, hint: self.hint }
    }
}

/// One line of the progress of a pull, a push or an import, as Docker writes it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProgressLine {
    /// The short id of the layer it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What is being done, or was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Text to be shown as it is, where there is nothing else to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_detail: Option<ProgressDetail>,
    /// What a program may want to know of it: of a push its tag, digest and size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aux: Option<serde_json::Value>,
    /// That it failed: the text of `error_detail`, for old clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// That it failed, and how; the last line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_detail: Option<ErrorBody>,
}

/// A span of `seconds` in the words of Docker's statuses: `Less than a second`, `5 minutes`, `About an hour`.
pub fn human_duration(seconds: u64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        0 => "Less than a second".into(),
        1 => "1 second".into(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".into(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".into(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

/// Bytes with three digits and a decimal unit: `4.26kB`, `117MB`.
pub fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    let mut number = format!("{value:.decimals$}");
    if number.contains('.') {
        number.truncate(number.trim_end_matches('0').trim_end_matches('.').len());
    }
    format!("{number}{}", UNITS[unit])
}

/// How far a layer is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProgressDetail {
    /// Bytes done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<u64>,
    /// Bytes there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_request_needs_nothing_but_a_config() {
        let request: RunRequest = serde_json::from_str(r#"{"config":{"Image":"debian"}}"#).unwrap();
        assert_eq!(request.config.docker.image.as_deref(), Some("debian"));
        assert!(!request.detach);
        assert_eq!(request.attach, Streams::default());
    }

    #[test]
    fn detached_answers_look_like_dockers_create() {
        let response = RunResponse { id: "ab".into(), warnings: vec![], steps: vec![] };
        let json = serde_json::to_value(&response).unwrap();
        assert_eq!(json["Id"], "ab");
        assert_eq!(json["Warnings"], serde_json::json!([]));
    }

    #[test]
    fn an_error_keeps_its_kind_and_a_foreign_one_gets_it_from_the_status() {
        let report = Report::new(Kind::NoSpace, "disk full").with_hint("make room");
        assert_eq!(ErrorBody::from(report.clone()).into_report(500), report);
        let foreign: ErrorBody = serde_json::from_str(r#"{"message":"No such container: x"}"#).unwrap();
        assert_eq!(foreign.into_report(404).kind, Kind::NotFound);
    }

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (4_264, "4.26kB"),
            (117_000_000, "117MB"),
            (1_240_000_000, "1.24GB"),
            (12_000, "12kB"),
            (99_960, "100kB"),
        ] {
            assert_eq!(human_size(bytes), text);
        }
    }

    #[test]
    fn spans_are_dockers_words() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (90, "About a minute"),
            (300, "5 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (86_400 * 3, "3 days"),
            (86_400 * 21, "3 weeks"),
            (86_400 * 90, "3 months"),
            (86_400 * 800, "2 years"),
        ] {
            assert_eq!(human_duration(seconds), text);
        }
    }
}
