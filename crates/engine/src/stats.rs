// SPDX-License-Identifier: Apache-2.0
//! `stats`: what a container uses, as the kernel counts it.

use std::collections::BTreeMap;
use std::sync::Arc;

use cgroup::Mode;
use jiff::Timestamp;
use oci::ContainerId;

use crate::Engine;
use crate::container::{Container, Running};
use crate::error::EngineError;
use crate::request::NetworkMode;
use crate::signal::pidfd;

/// Nanoseconds per tick of the times in `/proc/stat` (`USER_HZ` is 100 on every architecture we run on).
const TICK_NS: u64 = 10_000_000;

/// What a container uses at one moment.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The container's id.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// When this was read.
    pub at: Timestamp,
    /// What was read; `None` when the container does not run.
    pub counters: Option<Counters>,
}

/// What the kernel counted.
#[derive(Debug, Clone)]
pub struct Counters {
    /// Of the control group.
    pub cgroup: cgroup::Stats,
    /// Whether the names in there are those of cgroup v2.
    pub unified: bool,
    /// The most memory it can get, in bytes: its limit, or what the machine has.
    pub memory_limit: u64,
    /// The machine's processor time, idle time included, in nanoseconds.
    pub system_cpu_ns: u64,
    /// The machine's processors that are online.
    pub online_cpus: u32,
    /// Traffic by interface, as the container names them; none for one that has no network of its own.
    pub networks: BTreeMap<String, Traffic>,
}

/// Traffic of an interface since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// What came in.
    pub received: Flow,
    /// What went out.
    pub sent: Flow,
}

/// Traffic in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flow {
    /// Bytes.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Packets with errors.
    pub errors: u64,
    /// Packets dropped.
    pub dropped: u64,
}

impl Engine {
    /// What a container uses now. One that does not run uses nothing, which is no error.
    ///
    /// # Errors
    /// No such container; the kernel's counters cannot be read.
    pub async fn stats(self: &Arc<Self>, name: &str) -> Result<Sample, EngineError> {
        let container = self.container(name)?;
        let engine = Arc::clone(self);
        self.blocking("read counters", move || engine.sample(&container)).await
    }

    fn sample(&self, container: &Container) -> Result<Sample, EngineError> {
        let (name, network, running) =
            container.with_record(|r| (r.name.clone(), r.spec.network.clone(), r.state.running().cloned()));
        let counters = match running {
            Some(running) => match self.count(container, &running, &network) {
                // It has just ended, and its control group with it.
                Err(_) if container.with_record(|record| record.state.running().is_none()) => None,
                counted => Some(counted?),
            },
            None => None,
        };
        Ok(Sample { id: container.id.clone(), name, at: Timestamp::now(), counters })
    }

    fn count(&self, container: &Container, running: &Running, network: &NetworkMode) -> Result<Counters, EngineError> {
        let cgroup = self.cgroups.open(&self.cgroup_of(container))?.stats()?;
        let (system_cpu_ns, online_cpus) = processors(&read("/proc/stat")?);
        let machine = machine_memory(&read("/proc/meminfo")?);
        let memory_limit = cgroup.memory_limit.map_or(machine, |limit| limit.min(machine));
        let unified = self.cgroups.mode() == Mode::V2;
        let networks = traffic_in(network, running)?;
        Ok(Counters { cgroup, unified, memory_limit, system_cpu_ns, online_cpus, networks })
    }
}

/// The traffic of a container's own interfaces; none when its network is the host's or another container's.
pub(crate) fn traffic_in(network: &NetworkMode, running: &Running) -> Result<BTreeMap<String, Traffic>, EngineError> {
    match network {
        NetworkMode::Host | NetworkMode::Container(_) => Ok(BTreeMap::new()),
        NetworkMode::Bridge | NetworkMode::None | NetworkMode::User(_) => traffic_of(running),
    }
}

/// The traffic in a container's network namespace; none when it has just ended.
fn traffic_of(running: &Running) -> Result<BTreeMap<String, Traffic>, EngineError> {
    let path = format!("/proc/{}/net/dev", running.pid);
    let text = std::fs::read_to_string(&path);
    // If it is still the process it was, what was read before is its own, too.
    if pidfd(running)?.is_none() {
        return Ok(BTreeMap::new());
    }
    Ok(interfaces(&text.map_err(EngineError::io("read", path))?))
}

fn read(path: &str) -> Result<String, EngineError> {
    std::fs::read_to_string(path).map_err(EngineError::io("read", path))
}

/// The processor time of `/proc/stat` (proc_stat(5)), in nanoseconds, and how many processors there are.
fn processors(stat: &str) -> (u64, u32) {
    let (mut ticks, mut online) = (0, 0);
    for line in stat.lines() {
        let Some((name, times)) = line.split_once(' ') else { continue };
        match name.strip_prefix("cpu") {
            // User, nice, system, idle, iowait, irq, softirq, steal; guests' time is in the first two already.
            Some("") => ticks = times.split_whitespace().take(8).filter_map(|time| time.parse::<u64>().ok()).sum(),
            Some(_) => online += 1,
            None => {}
        }
    }
    (ticks * TICK_NS, online)
}

/// The machine's memory of `/proc/meminfo`, in bytes.
fn machine_memory(meminfo: &str) -> u64 {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB"));
    total.and_then(|total| total.trim().parse::<u64>().ok()).map_or(0, |total| total * 1024)
}

/// The interfaces of `/proc/PID/net/dev` without the loopback one.
fn interfaces(text: &str) -> BTreeMap<String, Traffic> {
    let interface = |line: &str| {
        let (name, numbers) = line.trim_start().split_once(':')?;
        let numbers: Vec<u64> = numbers.split_whitespace().map_while(|number| number.parse().ok()).collect();
        let flow = |from: usize| match numbers.get(from..from + 4)? {
            [bytes, packets, errors, dropped] => {
                Some(Flow { bytes: *bytes, packets: *packets, errors: *errors, dropped: *dropped })
            }
            _ => None,
        };
        // Eight numbers for each direction.
        (name != "lo").then_some((name.to_owned(), Traffic { received: flow(0)?, sent: flow(8)? }))
    };
    text.lines().filter_map(interface).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_the_sum_and_processors_are_counted() {
        let stat = "cpu  1 2 3 4 5 6 7 8 100 100\ncpu0 1 2 3 4 5 6 7 8 0 0\ncpu1 0 0 0 0 0 0 0 0 0 0\nintr 5\nctxt 9\n";
        assert_eq!(processors(stat), (36 * TICK_NS, 2));
    }

    #[test]
    fn memory_is_in_kibibytes() {
        assert_eq!(machine_memory("MemFree: 1 kB\nMemTotal:       2048 kB\n"), 2048 * 1024);
    }

    #[test]
    fn interfaces_have_two_directions() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes\n    lo: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n\
                    eth0:1296 16 1 2 0 0 0 0 90 7 3 4 0 0 0 0\n";
        let received = Flow { bytes: 1296, packets: 16, errors: 1, dropped: 2 };
        let sent = Flow { bytes: 90, packets: 7, errors: 3, dropped: 4 };
        assert_eq!(interfaces(text), BTreeMap::from([("eth0".to_owned(), Traffic { received, sent })]));
    }
}
