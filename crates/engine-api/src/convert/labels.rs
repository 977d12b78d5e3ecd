// SPDX-License-Identifier: Apache-2.0
//! Checks by labels, for clients that know Docker's bodies alone: `corten.health`, `corten.startup`, `corten.liveness`,
//! `corten.readiness` and `corten.publish-when` say what the flags of these names say. Only labels of the request count, not
//! those of the image: whose container it is decides how it is treated.

use api_types::docker::HealthConfig;
use api_types::notation;
use engine::{ContainerSpec, HealthCheck};

use super::to_spec::health_check;
use crate::error::ApiError;

/// What the labels begin with.
const PREFIX: &str = "corten.";
/// Says that the start of the client is measured; of the embedded image.
const CLIENT_START: &str = "corten.client-start";
/// By what a check is read.
type Notation = fn(&str) -> Result<HealthConfig, notation::NotationError>;

/// The same container, with what its labels say. What the body says itself counts more: of a health check each field, of the
/// others the whole.
///
/// # Errors
/// A label that cannot be read, or that is none of these.
pub(super) fn apply(mut spec: ContainerSpec) -> Result<ContainerSpec, ApiError> {
    let labels = &spec.labels;
    if let Some(name) = labels.keys().find(|name| is_unknown(name)) {
        let problem =
            "there are corten.health, corten.startup, corten.liveness, corten.readiness and corten.publish-when";
        return Err(ApiError::label(name, problem));
    }
    let read = |name: &str, notation: Notation| -> Result<Option<HealthCheck>, ApiError> {
        let Some(text) = labels.get(name) else { return Ok(None) };
        let check = notation(text).map_err(|error| ApiError::label(name, error.to_string()))?;
        health_check(check).map(Some).map_err(|error| ApiError::label(name, error.to_string()))
    };
    let publish_when_ready = match labels.get("corten.publish-when").map(String::as_str) {
        None | Some("always") => false,
        Some("ready") => true,
        Some(other) => {
            return Err(ApiError::label("corten.publish-when", format!("{other:?} is neither always nor ready")));
        }
    };
    spec.publish_when_ready |= publish_when_ready;
    if let Some(health) = read("corten.health", notation::health)? {
        spec.health = Some(spec.health.take().unwrap_or_default().over(Some(health)));
    }
    let checks = &mut spec.checks;
    for (name, check) in [
        ("corten.startup", &mut checks.startup),
        ("corten.liveness", &mut checks.liveness),
        ("corten.readiness", &mut checks.readiness),
    ] {
        // Read even where it does not count: what cannot be is refused.
        let by_label = read(name, notation::check)?;
        *check = check.take().or(by_label);
    }
    Ok(spec)
}

/// Whether it is written like one of the labels, and is none: a slip of the pen must not go unnoticed. A name with more parts, as of a
/// domain, is somebody's own.
fn is_unknown(name: &str) -> bool {
    const KNOWN: [&str; 6] =
        ["corten.health", "corten.startup", "corten.liveness", "corten.readiness", "corten.publish-when", CLIENT_START];
    let is_word = |word: &str| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    name.strip_prefix(PREFIX).is_some_and(is_word) && !KNOWN.contains(&name)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use engine::HealthTest;

    use super::*;

    /// `spec` with these labels, and what they say.
    fn with(labels: &[(&str, &str)], mut spec: ContainerSpec) -> Result<ContainerSpec, ApiError> {
        spec.labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        apply(spec)
    }

    #[test]
    fn labels_say_what_the_flags_say() {
        let labels = [
            ("corten.health", "tcp=80,interval=5s,start-period=1m"),
            ("corten.startup", "file=/up"),
            ("corten.liveness", "http://:8080/health,interval=5s,retries=3"),
            ("corten.readiness", "cmd=test 1, = 1"),
            ("corten.publish-when", "ready"),
            ("corten.example/own", "anything"),
            ("corten.example.own", "anything"),
        ];
        let spec = with(&labels, ContainerSpec::default()).unwrap();
        let liveness = spec.checks.liveness.unwrap();
        assert_eq!(liveness.test, Some(HealthTest::Http("http://:8080/health".into())));
        assert_eq!((liveness.interval, liveness.retries), (Some(Duration::from_secs(5)), Some(3)));
        assert_eq!(spec.checks.startup.unwrap().test, Some(HealthTest::File("/up".into())));
        assert_eq!(spec.checks.readiness.unwrap().test, Some(HealthTest::Shell(vec!["test 1, = 1".into()])));
        let health = spec.health.unwrap();
        assert_eq!((health.test, health.start_period), (Some(HealthTest::Tcp(80)), Some(Duration::from_secs(60))));
        assert!(spec.publish_when_ready);
    }

    #[test]
    fn the_body_counts_more_than_its_labels() {
        let tcp = |port| HealthCheck { test: Some(HealthTest::Tcp(port)), ..HealthCheck::default() };
        let mut spec = ContainerSpec {
            health: Some(HealthCheck { retries: Some(9), ..HealthCheck::default() }),
            ..ContainerSpec::default()
        };
        spec.checks.liveness = Some(tcp(1));
        let labels = [("corten.health", "tcp=80,retries=2"), ("corten.liveness", "tcp=2,retries=2")];
        let spec = with(&labels, spec).unwrap();
        assert_eq!(
            spec.health,
            Some(HealthCheck { retries: Some(9), ..tcp(80) }),
            "field by field, as over the image's"
        );
        assert_eq!(spec.checks.liveness, Some(tcp(1)), "the whole");
        let none = HealthCheck { test: Some(HealthTest::None), ..HealthCheck::default() };
        let spec = ContainerSpec { health: Some(none), ..ContainerSpec::default() };
        let spec = with(&[("corten.health", "tcp=80")], spec).unwrap();
        assert_eq!(spec.health.unwrap().test, Some(HealthTest::None));
    }

    #[test]
    fn what_cannot_be_is_refused_by_the_labels_name() {
        for (name, value) in [
            ("corten.liveness", "tcp=x"),
            ("corten.liveness", "every=1s"),
            ("corten.readiness", "tcp=80,start-period=1s"),
            ("corten.startup", ""),
            ("corten.health", "tcp=80,interval=1us"),
            ("corten.publish-when", "never"),
            ("corten.livenes", "tcp=80"),
        ] {
            let error = with(&[(name, value)], ContainerSpec::default()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("the label {name}")), "{error}");
        }
        // Also where the body says it better.
        let mut spec = ContainerSpec::default();
        spec.checks.liveness = Some(HealthCheck::default());
        assert!(with(&[("corten.liveness", "tcp=x")], spec).is_err());
    }
}
