// SPDX-License-Identifier: Apache-2.0
//! How long requests take, by what they ask for. The classes are a fixed list: no path a client chooses becomes one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use metrics::{Histogram, Kind, Text};

/// The upper bounds of the buckets, in seconds.
const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// What requests ask for.
const CLASSES: [&str; 22] = [
    "attach", "auth", "create", "events", "exec", "images", "info", "inspect", "kill", "list", "logs", "metrics",
    "networks", "other", "pull", "push", "remove", "restart", "run", "start", "stats", "stop",
];

/// What a request asks for.
pub(super) fn class(method: &Method, path: &str) -> &'static str {
    let path = path.strip_prefix("/corten/v1").unwrap_or(path);
    let mut segments = path.split('/').skip(1);
    let (first, last) = (segments.next().unwrap_or(""), path.rsplit('/').next().unwrap_or(""));
    match (first, last) {
        ("run", _) => "run",
        ("exec", _) => "exec",
        ("containers", "create") => "create",
        ("containers", "start") => "start",
        ("containers", "stop") => "stop",
        ("containers", "restart") => "restart",
        ("containers", "kill") => "kill",
        ("containers", "exec") => "exec",
        ("containers", "attach" | "ws") => "attach",
        ("containers", "logs") => "logs",
        ("containers", "stats") => "stats",
        ("containers", "json") if path == "/containers/json" => "list",
        ("containers", "json" | "explain" | "top" | "changes") => "inspect",
        ("containers", _) if method == Method::DELETE => "remove",
        ("images", "create") => "pull",
        ("images", "push") => "push",
        ("images", _) => "images",
        ("networks", _) => "networks",
        ("events", _) => "events",
        ("metrics", _) => "metrics",
        ("auth", _) => "auth",
        ("info" | "version" | "_ping", _) => "info",
        _ => "other",
    }
}

/// The requests of one class.
#[derive(Debug)]
struct Class {
    durations: Histogram<{ BOUNDS.len() }>,
    /// Answers that say that the daemon failed.
    failed: AtomicU64,
    /// Answers that say that the request cannot be served.
    refused: AtomicU64,
}

/// All durations.
#[derive(Debug)]
pub(super) struct Latencies {
    classes: [Class; CLASSES.len()],
}

impl Class {
    const fn new() -> Class {
        Class { durations: Histogram::new(&BOUNDS), failed: AtomicU64::new(0), refused: AtomicU64::new(0) }
    }
}

impl Latencies {
    /// Nothing has been noted yet.
    pub(super) const fn new() -> Latencies {
        Latencies { classes: [const { Class::new() }; CLASSES.len()] }
    }

    /// Notes one request.
    pub(super) fn note(&self, class: &str, status: StatusCode, took: Duration) {
        let Some(class) = CLASSES.iter().position(|one| *one == class).and_then(|at| self.classes.get(at)) else {
            return;
        };
        class.durations.note(took);
        if status.is_server_error() {
            class.failed.fetch_add(1, Ordering::Relaxed);
        } else if status.is_client_error() {
            class.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes the classes that were asked for.
    pub(super) fn write(&self, text: &mut Text) {
        let asked = || CLASSES.iter().zip(&self.classes).filter(|(_, class)| !class.durations.is_empty());
        let name = "corten_api_request_duration_seconds";
        text.family(name, Kind::Histogram, "From a request to the head of its answer, by what was asked for.");
        for (route, class) in asked() {
            text.durations(name, &[("route", route)], &class.durations);
        }
        let name = "corten_api_errors_total";
        text.family(name, Kind::Counter, "Answers that are errors, by what was asked for and whose error it is.");
        for (route, class) in asked() {
            for (whose, counter) in [("client", &class.refused), ("daemon", &class.failed)] {
                let value = counter.load(Ordering::Relaxed) as f64;
                text.sample(name, &[("route", route), ("whose", whose)], value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart_and_unknown_ones_are_others() {
        for (method, path, expected) in [
            (Method::POST, "/containers/create", "create"),
            (Method::POST, "/containers/a/start", "start"),
            (Method::POST, "/exec/a/start", "exec"),
            (Method::POST, "/corten/v1/containers/a/exec", "exec"),
            (Method::POST, "/corten/v1/run", "run"),
            (Method::GET, "/containers/json", "list"),
            (Method::GET, "/containers/a/json", "inspect"),
            (Method::DELETE, "/containers/a", "remove"),
            (Method::POST, "/images/a/b/push", "push"),
            (Method::GET, "/images/a/b/json", "images"),
            (Method::GET, "/nowhere/at/all", "other"),
        ] {
            let class = class(&method, path);
            assert_eq!(class, expected, "{path}");
            assert!(CLASSES.contains(&class), "{class}");
        }
        assert!(CLASSES.is_sorted());
    }

    #[test]
    fn buckets_add_up() {
        let latencies = Latencies::new();
        for millis in [0, 4, 200, 60_000] {
            latencies.note("start", StatusCode::NO_CONTENT, Duration::from_millis(millis));
        }
        latencies.note("start", StatusCode::NOT_FOUND, Duration::ZERO);
        latencies.note("start", StatusCode::INTERNAL_SERVER_ERROR, Duration::ZERO);
        let mut text = Text::default();
        latencies.write(&mut text);
        let text = text.finish();
        for line in [
            "corten_api_request_duration_seconds_bucket{route=\"start\",le=\"0.001\"} 3",
            "corten_api_request_duration_seconds_bucket{route=\"start\",le=\"0.005\"} 4",
            "corten_api_request_duration_seconds_bucket{route=\"start\",le=\"30\"} 5",
            "corten_api_request_duration_seconds_bucket{route=\"start\",le=\"+Inf\"} 6",
            "corten_api_request_duration_seconds_count{route=\"start\"} 6",
            "corten_api_errors_total{route=\"start\",whose=\"client\"} 1",
            "corten_api_errors_total{route=\"start\",whose=\"daemon\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("route=\"stop\""), "{text}");
    }
}
