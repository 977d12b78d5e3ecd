// SPDX-License-Identifier: Apache-2.0
//! `GET /metrics`: figures in Prometheus's text format (version 0.0.4), made when they are asked for.
//!
//! Names follow cAdvisor for what a container uses, and begin with `corten_` for what the engine does; `docs/metrics.md`
//! lists them. The only labels that grow are those of containers: id, name, image, and their devices and interfaces.

mod latency;
mod listener;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use engine::{Engine, HealthStatus, Measure};
use metrics::{Kind, Text};
use tokio::time::Instant;

use crate::error::ApiError;
use crate::routes::images::blocking;
use latency::Latencies;
pub use listener::serve_metrics;

/// The states that are counted, each also when no container is in it.
const STATES: [&str; 7] = ["created", "restarting", "running", "removing", "paused", "exited", "dead"];
/// The states of health, likewise.
const HEALTH: [(HealthStatus, &str); 3] =
    [(HealthStatus::Starting, "starting"), (HealthStatus::Healthy, "healthy"), (HealthStatus::Unhealthy, "unhealthy")];

/// What is counted while requests are served, by whichever listener they came: there is one for the process.
static LATENCIES: Latencies = Latencies::new();

/// Notes how long a request took, up to the head of its answer.
pub(crate) async fn note(request: Request<Body>, next: Next) -> Response {
    let class = latency::class(request.method(), request.uri().path());
    let begun = Instant::now();
    let response = next.run(request).await;
    LATENCIES.note(class, response.status(), begun.elapsed());
    response
}

/// `GET /metrics`.
pub(crate) async fn metrics(State(engine): State<Arc<Engine>>) -> Result<Response, ApiError> {
    let containers = engine.measure().await?;
    let images = engine.images().clone();
    let images = blocking("count images", move || images.list()).await?;
    let mut text = Text::default();
    build(&mut text);
    states(&mut text, &containers);
    text.family("corten_images", Kind::Gauge, "Images in the store.");
    text.sample("corten_images", &[], images.len() as f64);
    text.family("corten_image_bytes", Kind::Gauge, "Sizes of all images together; what images share counts for each.");
    text.sample("corten_image_bytes", &[], images.iter().map(|image| image.size as f64).sum());
    used(&mut text, &containers);
    LATENCIES.write(&mut text);
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text.finish()).into_response())
}

fn build(text: &mut Text) {
    text.family("corten_build_info", Kind::Gauge, "The daemon's version, as a label; always 1.");
    let labels = [("version", env!("CARGO_PKG_VERSION")), ("architecture", std::env::consts::ARCH)];
    text.sample("corten_build_info", &labels, 1.0);
}

fn states(text: &mut Text, containers: &[Measure]) {
    text.family("corten_containers", Kind::Gauge, "Containers, by state.");
    for state in STATES {
        let count = containers.iter().filter(|one| one.status == state).count();
        text.sample("corten_containers", &[("state", state)], count as f64);
    }
    text.family("corten_containers_health", Kind::Gauge, "Containers with a health check, by its state.");
    for (status, name) in HEALTH {
        let count = containers.iter().filter(|one| one.health == Some(status)).count();
        text.sample("corten_containers_health", &[("health", name)], count as f64);
    }
    let failed = containers.iter().filter(|one| one.failed).count();
    text.family("corten_unreadable_containers", Kind::Gauge, "Running containers whose counters could not be read.");
    text.sample("corten_unreadable_containers", &[], failed as f64);
}

/// A figure of a container: its name, its kind, what it is, and where it is read. `None` where the kernel does not count it.
type Figure = (&'static str, Kind, &'static str, fn(&Measure) -> Option<f64>);

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

fn cgroup(one: &Measure) -> Option<&engine::CgroupStats> {
    one.counted.as_ref().map(|counted| &counted.cgroup)
}

/// What is in use and not given back when memory is short: all but the page cache that has not been used lately.
fn working_set(one: &Measure) -> Option<f64> {
    let stats = cgroup(one)?;
    let inactive = stats.memory.get("total_inactive_file").or_else(|| stats.memory.get("inactive_file"));
    Some(stats.memory_usage?.saturating_sub(inactive.copied().unwrap_or(0)) as f64)
}

const FIGURES: [Figure; 18] = [
    ("container_start_time_seconds", Kind::Gauge, "When it was started, in seconds since the epoch.", |one| {
        one.started.map(|at| at.as_second() as f64)
    }),
    ("container_restarts_total", Kind::Counter, "Starts by its restart policy since a user's last.", |one| {
        Some(f64::from(one.restarts))
    }),
    (
        "container_health_status",
        Kind::Gauge,
        "1 when its health check passes, 0 when it does not or has not yet.",
        |one| one.health.map(|health| f64::from(u8::from(health == HealthStatus::Healthy))),
    ),
    ("container_cpu_usage_seconds_total", Kind::Counter, "Processor time.", |one| {
        Some(seconds(cgroup(one)?.cpu_usage_ns))
    }),
    ("container_cpu_user_seconds_total", Kind::Counter, "Of it, in user mode.", |one| {
        Some(seconds(cgroup(one)?.cpu_user_ns))
    }),
    ("container_cpu_system_seconds_total", Kind::Counter, "Of it, in the kernel.", |one| {
        Some(seconds(cgroup(one)?.cpu_system_ns))
    }),
    ("container_cpu_cfs_periods_total", Kind::Counter, "Quota periods that had something to run.", |one| {
        Some(cgroup(one)?.periods as f64)
    }),
    ("container_cpu_cfs_throttled_periods_total", Kind::Counter, "Of them, those in which the quota ran out.", |one| {
        Some(cgroup(one)?.throttled_periods as f64)
    }),
    ("container_cpu_cfs_throttled_seconds_total", Kind::Counter, "Time spent waiting for the next period.", |one| {
        Some(seconds(cgroup(one)?.throttled_ns))
    }),
    ("container_memory_usage_bytes", Kind::Gauge, "Memory in use, page cache included.", |one| {
        Some(cgroup(one)?.memory_usage? as f64)
    }),
    (
        "container_memory_working_set_bytes",
        Kind::Gauge,
        "Memory in use without the cache of files unused lately.",
        working_set,
    ),
    ("container_memory_max_usage_bytes", Kind::Gauge, "The most memory that was in use.", |one| {
        Some(cgroup(one)?.memory_peak? as f64)
    }),
    ("container_memory_swap", Kind::Gauge, "Bytes of swap in use.", |one| Some(cgroup(one)?.swap_usage? as f64)),
    ("container_spec_memory_limit_bytes", Kind::Gauge, "The limit of memory; 0 for none.", |one| {
        Some(cgroup(one)?.memory_limit.unwrap_or(0) as f64)
    }),
    ("container_oom_events_total", Kind::Counter, "Processes killed for want of memory.", |one| {
        Some(cgroup(one)?.oom_kills as f64)
    }),
    ("container_threads", Kind::Gauge, "Processes and threads.", |one| Some(cgroup(one)?.pids_current? as f64)),
    ("container_threads_max", Kind::Gauge, "The limit of processes and threads; 0 for none.", |one| {
        Some(cgroup(one)?.pids_limit.unwrap_or(0) as f64)
    }),
    ("container_last_seen", Kind::Gauge, "When this was read, in seconds since the epoch.", |one| {
        one.counted.as_ref().map(|_| jiff::Timestamp::now().as_second() as f64)
    }),
];

fn used(text: &mut Text, containers: &[Measure]) {
    for (name, kind, help, read) in FIGURES {
        text.family(name, kind, help);
        for one in containers {
            if let Some(value) = read(one) {
                text.sample(name, &labels(one), value);
            }
        }
    }
    traffic(text, containers);
    disks(text, containers);
}

fn labels(one: &Measure) -> [(&'static str, &str); 3] {
    [("id", one.id.as_str()), ("name", &one.name), ("image", &one.image)]
}

fn traffic(text: &mut Text, containers: &[Measure]) {
    type Read = fn(&engine::Traffic) -> u64;
    let figures: [(&str, &str, Read); 8] = [
        ("container_network_receive_bytes_total", "Bytes received.", |it| it.received.bytes),
        ("container_network_receive_packets_total", "Packets received.", |it| it.received.packets),
        ("container_network_receive_errors_total", "Errors of receiving.", |it| it.received.errors),
        ("container_network_receive_packets_dropped_total", "Received packets dropped.", |it| it.received.dropped),
        ("container_network_transmit_bytes_total", "Bytes sent.", |it| it.sent.bytes),
        ("container_network_transmit_packets_total", "Packets sent.", |it| it.sent.packets),
        ("container_network_transmit_errors_total", "Errors of sending.", |it| it.sent.errors),
        ("container_network_transmit_packets_dropped_total", "Packets to be sent dropped.", |it| it.sent.dropped),
    ];
    for (name, help, read) in figures {
        text.family(name, Kind::Counter, help);
        for one in containers {
            for (interface, traffic) in one.counted.iter().flat_map(|counted| &counted.networks) {
                let [id, named, image] = labels(one);
                text.sample(name, &[id, named, image, ("interface", interface)], read(traffic) as f64);
            }
        }
    }
}

fn disks(text: &mut Text, containers: &[Measure]) {
    type Read = fn(&engine::BlockIo) -> u64;
    let figures: [(&str, &str, Read); 4] = [
        ("container_fs_reads_bytes_total", "Bytes read from a block device.", |it| it.read_bytes),
        ("container_fs_writes_bytes_total", "Bytes written to a block device.", |it| it.write_bytes),
        ("container_fs_reads_total", "Requests to read from a block device.", |it| it.read_ops),
        ("container_fs_writes_total", "Requests to write to a block device.", |it| it.write_ops),
    ];
    for (name, help, read) in figures {
        text.family(name, Kind::Counter, help);
        for one in containers {
            for io in cgroup(one).iter().flat_map(|stats| &stats.io) {
                let device = format!("{}:{}", io.major, io.minor);
                let [id, named, image] = labels(one);
                text.sample(name, &[id, named, image, ("device", &device)], read(io) as f64);
            }
        }
    }
}
