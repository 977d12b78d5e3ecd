// SPDX-License-Identifier: Apache-2.0
//! What the registry counts, for Prometheus. Labels are few and ours: no name a client chooses becomes one.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use metrics::{Histogram, Kind, Text};

use crate::storage::held;

/// The upper bounds of the histogram's buckets, in seconds.
const BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0];

/// What the registry counts.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, &'static str, u16), u64>>,
    durations: Mutex<BTreeMap<&'static str, Histogram<{ BUCKETS.len() }>>>,
    /// Bytes of requests' bodies.
    pub(crate) received: AtomicU64,
    /// Bytes of answers' bodies.
    pub(crate) sent: AtomicU64,
    /// Connections that are open.
    pub(crate) connections: AtomicU64,
}

/// What is looked up when it is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stored {
    pub(crate) blobs: u64,
    pub(crate) bytes: u64,
    pub(crate) repositories: u64,
    pub(crate) uploads: u64,
}

impl Metrics {
    /// Counts a request that was answered.
    pub(crate) fn count(&self, route: &'static str, method: &Method, status: StatusCode, took: Duration) {
        let method = match method.as_str() {
            "GET" => "GET",
            "HEAD" => "HEAD",
            "POST" => "POST",
            "PUT" => "PUT",
            "PATCH" => "PATCH",
            "DELETE" => "DELETE",
            _ => "other",
        };
        *held(&self.requests).entry((route, method, status.as_u16())).or_default() += 1;
        held(&self.durations).entry(route).or_insert_with(|| Histogram::new(&BUCKETS)).note(took);
    }

    /// All of it as text.
    pub(crate) fn render(&self, stored: Stored) -> String {
        let mut text = Text::default();
        let name = "corten_registry_requests_total";
        text.family(name, Kind::Counter, "Requests answered.");
        for ((route, method, status), count) in held(&self.requests).iter() {
            let labels = [("route", *route), ("method", *method), ("status", &status.to_string())];
            text.sample(name, &labels, *count as f64);
        }
        let name = "corten_registry_request_duration_seconds";
        text.family(name, Kind::Histogram, "Time until the head of the answer.");
        for (route, histogram) in held(&self.durations).iter() {
            text.durations(name, &[("route", route)], histogram);
        }
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        for (name, kind, help, value) in [
            ("received_bytes_total", Kind::Counter, "Bytes of requests' bodies.", load(&self.received)),
            ("sent_bytes_total", Kind::Counter, "Bytes of answers' bodies.", load(&self.sent)),
            ("connections", Kind::Gauge, "Connections that are open.", load(&self.connections)),
            ("uploads", Kind::Gauge, "Uploads that are not finished.", stored.uploads),
            ("repositories", Kind::Gauge, "Repositories.", stored.repositories),
            ("blobs", Kind::Gauge, "Blobs and manifests stored.", stored.blobs),
            ("blob_bytes", Kind::Gauge, "Their bytes.", stored.bytes),
        ] {
            let name = format!("corten_registry_{name}");
            text.family(&name, kind, help);
            text.sample(&name, &[], value as f64);
        }
        text.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_add_up() {
        let metrics = Metrics::default();
        for millis in [0, 4, 200, 60_000] {
            metrics.count("blob", &Method::GET, StatusCode::OK, Duration::from_millis(millis));
        }
        metrics.count("blob", &"BREW".parse().unwrap(), StatusCode::METHOD_NOT_ALLOWED, Duration::ZERO);
        let text = metrics.render(Stored { blobs: 3, ..Stored::default() });
        for line in [
            "corten_registry_requests_total{route=\"blob\",method=\"GET\",status=\"200\"} 4",
            "corten_registry_requests_total{route=\"blob\",method=\"other\",status=\"405\"} 1",
            "corten_registry_request_duration_seconds_bucket{route=\"blob\",le=\"0.005\"} 3",
            "corten_registry_request_duration_seconds_bucket{route=\"blob\",le=\"30\"} 4",
            "corten_registry_request_duration_seconds_bucket{route=\"blob\",le=\"+Inf\"} 5",
            "corten_registry_blobs 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
