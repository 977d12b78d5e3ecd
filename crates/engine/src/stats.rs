// SPDX-License-Identifier: Apache-2.0
//! `stats`: what a container uses, as the kernel counts it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

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
/// How old the machine's figures may be beside a container's: a hundredth of the second between two readings.
const FRESH: Duration = Duration::from_millis(10);
/// So many containers are worth a thread of their own.
const PER_READER: usize = 64;
/// The most threads that read at once, of all that asks.
const READERS: usize = 4;

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
        self.blocking("read counters", move || engine.sample(&container, &mut Machine::default())).await
    }

    /// What the containers of these names use now, in one pass; each with the name that was asked for. With `skip_missing`
    /// those that are gone are left out.
    ///
    /// # Errors
    /// No such container; the kernel's counters cannot be read.
    pub async fn stats_of(
        self: &Arc<Self>,
        names: Vec<String>,
        skip_missing: bool,
    ) -> Result<Vec<(String, Sample)>, EngineError> {
        let mut containers = Vec::with_capacity(names.len());
        for name in names {
            match self.container(&name) {
                Ok(container) => containers.push((name, container)),
                Err(EngineError::NoSuchContainer(_)) if skip_missing => {}
                Err(error) => return Err(error),
            }
        }
        self.stats_in_one_pass(containers).await
    }

    /// The same of all containers that run, or of all there are; the newest first.
    ///
    /// # Errors
    /// The kernel's counters cannot be read.
    pub async fn stats_of_all(self: &Arc<Self>, all: bool) -> Result<Vec<(String, Sample)>, EngineError> {
        let mut containers: Vec<_> = self.registry().by_id.values().map(Arc::clone).collect();
        containers.retain(|container| all || container.with_record(|record| record.state.is_active()));
        containers.sort_by_cached_key(|container| {
            (std::cmp::Reverse(container.with_record(|record| record.created)), container.id.clone())
        });
        self.stats_in_one_pass(containers.into_iter().map(|container| (container.id.to_string(), container)).collect())
            .await
    }

    async fn stats_in_one_pass(
        self: &Arc<Self>,
        containers: Vec<(String, Arc<Container>)>,
    ) -> Result<Vec<(String, Sample)>, EngineError> {
        let engine = Arc::clone(self);
        self.blocking("read counters", move || {
            let samples = side_by_side(&containers, |part| {
                let mut machine = Machine::default();
                part.iter().map(|(_, container)| engine.sample(container, &mut machine)).collect()
            })?;
            containers.into_iter().zip(samples).map(|((name, _), sample)| Ok((name, sample?))).collect()
        })
        .await
    }

    fn sample(&self, container: &Container, machine: &mut Machine) -> Result<Sample, EngineError> {
        let (name, network, running) =
            container.with_record(|r| (r.name.clone(), r.spec.network.clone(), r.state.running().cloned()));
        let counters = match running {
            Some(running) => match self.count(container, &running, &network, machine) {
                Err(_) if has_ended(&running) => None,
                counted => Some(counted?),
            },
            None => None,
        };
        Ok(Sample { id: container.id.clone(), name, at: Timestamp::now(), counters })
    }

    fn count(
        &self,
        container: &Container,
        running: &Running,
        network: &NetworkMode,
        machine: &mut Machine,
    ) -> Result<Counters, EngineError> {
        let cgroup = self.cgroups.open(&self.cgroup_of(container))?.stats()?;
        let MachineFigures { memory, cpu_ns: system_cpu_ns, processors: online_cpus } = machine.figures()?;
        let memory_limit = cgroup.memory_limit.map_or(memory, |limit| limit.min(memory));
        let unified = self.cgroups.mode() == Mode::V2;
        let networks = traffic_in(network, running)?;
        Ok(Counters { cgroup, unified, memory_limit, system_cpu_ns, online_cpus, networks })
    }
}

/// Whether a container's first process is gone, and its control group perhaps with it, of which the engine may hear in a
/// moment only.
pub(crate) fn has_ended(running: &Running) -> bool {
    matches!(pidfd(running), Ok(None))
}

/// What `work` makes of all `items`, in their order; by several threads where there are many.
pub(crate) fn side_by_side<I: Sync, O: Send>(
    items: &[I],
    work: impl Fn(&[I]) -> Vec<O> + Sync,
) -> Result<Vec<O>, EngineError> {
    let most = thread::available_parallelism().map_or(1, std::num::NonZero::get).min(READERS);
    let readers = (items.len() / PER_READER).clamp(1, most);
    if readers == 1 {
        return Ok(work(items));
    }
    let work = &work;
    thread::scope(|scope| {
        let begin = |part| thread::Builder::new().name("counters".to_owned()).spawn_scoped(scope, move || work(part));
        let begun: Vec<_> = items.chunks(items.len().div_ceil(readers)).map(begin).collect();
        let mut made = Vec::with_capacity(items.len());
        for thread in begun {
            let thread = thread.map_err(EngineError::io("start a thread in", "/proc/self/task"))?;
            made.append(&mut thread.join().map_err(|_| EngineError::Worker("read counters"))?);
        }
        Ok(made)
    })
}

/// The machine's own figures, read anew when they are too old beside a container's.
#[derive(Debug, Default)]
struct Machine(Option<(Instant, MachineFigures)>);

/// Figures of the machine.
#[derive(Debug, Clone, Copy)]
struct MachineFigures {
    /// Bytes.
    memory: u64,
    /// Processor time, idle time included, in nanoseconds.
    cpu_ns: u64,
    /// Processors that are online.
    processors: u32,
}

impl Machine {
    fn figures(&mut self) -> Result<MachineFigures, EngineError> {
        if let Some((read, figures)) = self.0
            && read.elapsed() < FRESH
        {
            return Ok(figures);
        }
        let (cpu_ns, processors) = processors(&read("/proc/stat")?);
        let figures = MachineFigures { memory: machine_memory(&read("/proc/meminfo")?), cpu_ns, processors };
        self.0 = Some((Instant::now(), figures));
        Ok(figures)
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
    fn many_are_read_side_by_side_and_stay_in_order() {
        for count in [0, 1, PER_READER, 2 * PER_READER + 1, 1000] {
            let items: Vec<usize> = (0..count).collect();
            let made = side_by_side(&items, |part| part.iter().map(|item| item * 2).collect()).unwrap();
            assert_eq!(made, items.iter().map(|item| item * 2).collect::<Vec<_>>(), "{count}");
        }
    }

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
