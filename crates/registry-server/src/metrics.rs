// SPDX-License-Identifier: Apache-2.0
//! Counters, as Prometheus reads them (its text format, version 0.0.4). Labels are few and ours: no name a client
//! chooses becomes one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};

use crate::storage::held;

/// The upper bounds of the histogram's buckets, in seconds.
const BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0];

/// What the registry counts.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, &'static str, u16), u64>>,
    durations: Mutex<BTreeMap<&'static str, Histogram>>,
    /// Bytes of requests' bodies.
    pub(crate) received: AtomicU64,
    /// Bytes of answers' bodies.
    pub(crate) sent: AtomicU64,
    /// Connections that are open.
    pub(crate) connections: AtomicU64,
}

#[derive(Debug, Default, Clone)]
struct Histogram {
    /// Each with those of the smaller ones.
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
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
        let seconds = took.as_secs_f64();
        let mut durations = held(&self.durations);
        let histogram = durations.entry(route).or_default();
        histogram.count += 1;
        histogram.sum += seconds;
        for (bucket, bound) in histogram.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(seconds <= bound);
        }
    }

    /// All of it as text.
    pub(crate) fn render(&self, stored: Stored) -> String {
        let mut text = String::new();
        let head = |text: &mut String, name: &str, kind: &str, help: &str| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        };
        head(&mut text, "corten_registry_requests_total", "counter", "Requests answered.");
        for ((route, method, status), count) in held(&self.requests).iter() {
            let labels = format!("route=\"{route}\",method=\"{method}\",status=\"{status}\"");
            let _ = writeln!(text, "corten_registry_requests_total{{{labels}}} {count}");
        }
        let name = "corten_registry_request_duration_seconds";
        head(&mut text, name, "histogram", "Time until the head of the answer.");
        for (route, histogram) in held(&self.durations).iter() {
            for (bucket, bound) in histogram.buckets.iter().zip(BUCKETS) {
                let _ = writeln!(text, "{name}_bucket{{route=\"{route}\",le=\"{bound}\"}} {bucket}");
            }
            let (count, sum) = (histogram.count, histogram.sum);
            let _ = writeln!(text, "{name}_bucket{{route=\"{route}\",le=\"+Inf\"}} {count}");
            let _ = writeln!(text, "{name}_sum{{route=\"{route}\"}} {sum}\n{name}_count{{route=\"{route}\"}} {count}");
        }
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        for (name, kind, help, value) in [
            ("received_bytes_total", "counter", "Bytes of requests' bodies.", load(&self.received)),
            ("sent_bytes_total", "counter", "Bytes of answers' bodies.", load(&self.sent)),
            ("connections", "gauge", "Connections that are open.", load(&self.connections)),
            ("uploads", "gauge", "Uploads that are not finished.", stored.uploads),
            ("repositories", "gauge", "Repositories.", stored.repositories),
            ("blobs", "gauge", "Blobs and manifests stored.", stored.blobs),
            ("blob_bytes", "gauge", "Their bytes.", stored.bytes),
        ] {
            let name = format!("corten_registry_{name}");
            head(&mut text, &name, kind, help);
            let _ = writeln!(text, "{name} {value}");
        }
        text
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
