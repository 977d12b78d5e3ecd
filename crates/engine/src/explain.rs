// SPDX-License-Identifier: Apache-2.0
//! `explain`: the kernel objects behind a running container, and what could still reach the host.
//!
//! What is told is what the kernel says of the container's first process, not what was asked for. Reading it is here;
//! what it means is decided in [`proc`], [`capabilities`], [`filter`] and [`reach`], which do no I/O.

mod capabilities;
mod filter;
mod proc;
mod reach;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use api_types::explain::{CgroupPlace, Device, Explanation, Identity, Limit, MountPoint, Namespace, PortPath};
use network::{NetworkId, PublishedPort};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, openat, openat2, statat};

use crate::Engine;
use crate::answer;
use crate::container::{Container, Record, Running};
use crate::error::EngineError;
use crate::mount::Mount;
use crate::request::SeccompChoice;
use crate::signal::pidfd;
use crate::spec;

/// The kinds of namespaces, as `/proc/PID/ns` calls them.
const NAMESPACES: [&str; 8] = ["mnt", "pid", "net", "ipc", "uts", "user", "cgroup", "time"];
/// The device files that every container has.
const USUAL_DEVICES: [&str; 7] = ["null", "zero", "full", "random", "urandom", "tty", "console"];
/// Files that Corten writes for each container.
const GENERATED: [&str; 3] = ["/etc/resolv.conf", "/etc/hostname", "/etc/hosts"];

impl Engine {
    /// The kernel objects behind a running container.
    ///
    /// # Errors
    /// No such container; it does not run; what the kernel says of it cannot be read.
    pub async fn explain(self: &Arc<Self>, name: &str) -> Result<Explanation, EngineError> {
        let container = self.container(name)?;
        let engine = Arc::clone(self);
        self.blocking("explain", move || engine.explained(&container)).await
    }

    fn explained(&self, container: &Container) -> Result<Explanation, EngineError> {
        let record = container.record();
        let stopped = |record: &Record| EngineError::WrongState {
            name: record.name.clone(),
            status: record.state.status(),
            verb: "explain",
        };
        let running = record.state.running().ok_or_else(|| stopped(&record))?;
        let told = self.told(&record, running);
        // If it is still the process it was, all that was read is its own.
        if pidfd(running)?.is_none() {
            return Err(EngineError::WrongState { name: record.name, status: "exited", verb: "explain" });
        }
        told
    }

    fn told(&self, record: &Record, running: &Running) -> Result<Explanation, EngineError> {
        let read = |file: &str| {
            let path = format!("/proc/{}/{file}", running.pid);
            fs::read_to_string(&path).map_err(EngineError::io("read", path))
        };
        let status = proc::status(&read("status")?);
        let mut told = Explanation {
            id: record.id.to_string(),
            name: record.name.clone(),
            image: record.spec.image.clone(),
            status: record.state.status().to_owned(),
            pid: running.pid,
            namespaces: namespaces(running.pid)?,
            identity: Identity {
                uid: status.uid,
                gid: status.gid,
                groups: status.groups.clone(),
                uid_map: read("uid_map")?.lines().map(|line| words(line).join(" ")).collect(),
                no_new_privileges: status.no_new_privileges,
            },
            cgroups: proc::cgroups(&read("cgroup")?)
                .into_iter()
                .map(|(controllers, path)| CgroupPlace { controllers, path })
                .collect(),
            limits: self.limits(record)?,
            capabilities: capabilities::told(status.bounding, status.effective),
            filter: self.filter(record, status.seccomp == 2)?,
            mounts: mounts(record, &read("mountinfo")?),
            devices: devices(running)?,
            ports: self.ways(running),
            reach: Vec::new(),
        };
        told.reach = reach::found(&told);
        Ok(told)
    }

    fn limits(&self, record: &Record) -> Result<Vec<Limit>, EngineError> {
        let cgroup = self.cgroups.open(&self.cgroup_path(&record.id, &record.spec))?;
        let stats = cgroup.stats()?;
        let limit = |name: &str, limit, used, unit: &str, note: String| Limit {
            name: name.to_owned(),
            limit,
            used,
            unit: unit.to_owned(),
            note,
        };
        let milliseconds = stats.throttled_ns / 1_000_000;
        let throttled = match stats.throttled_periods {
            0 => String::new(),
            count => format!("throttled in {count} of {} periods, {milliseconds} ms in all", stats.periods),
        };
        let killed = match stats.oom_kills {
            0 => String::new(),
            count => format!("{count} processes killed for want of memory"),
        };
        // Billionths of a processor, as the user said it.
        let cpu = record.spec.resources.nano_cpus.and_then(|nano| u64::try_from(nano).ok()).filter(|nano| *nano > 0);
        let bytes = |count: fn(&cgroup::BlockIo) -> u64| Some(stats.io.iter().map(count).sum());
        Ok(vec![
            limit("memory", stats.memory_limit, stats.memory_usage, "bytes", killed),
            limit("swap", None, stats.swap_usage, "bytes", String::new()),
            limit("pids", stats.pids_limit, stats.pids_current, "tasks", String::new()),
            limit("cpu", cpu, None, "nanocpus", throttled),
            limit("cpu time", None, Some(stats.cpu_usage_ns), "nanoseconds", String::new()),
            limit("disk read", None, bytes(|io| io.read_bytes), "bytes", String::new()),
            limit("disk written", None, bytes(|io| io.write_bytes), "bytes", String::new()),
        ])
    }

    fn filter(&self, record: &Record, active: bool) -> Result<api_types::explain::Filter, EngineError> {
        let name = match &record.spec.security.seccomp {
            _ if !active => "none",
            SeccompChoice::Default | SeccompChoice::Builtin => "default",
            SeccompChoice::Unconfined => "unconfined",
            SeccompChoice::Profile(_) => "own",
        };
        let profile = spec::profile_of(&record.spec, self.kernel)?;
        filter::told(name, profile.as_ref().filter(|_| active), active)
    }

    /// The ways of packets to the published ports.
    fn ways(&self, running: &Running) -> Vec<PortPath> {
        let mut ways = Vec::new();
        for endpoint in &running.endpoints {
            for port in &endpoint.ports {
                let described = self.network.describe();
                for host in port.host_addresses() {
                    ways.push(way(host, port, endpoint, &described));
                }
            }
        }
        ways
    }
}

fn way(host: IpAddr, port: &PublishedPort, endpoint: &network::Endpoint, network: &network::Description) -> PortPath {
    let (protocol, table) = (port.protocol, &network.table);
    let address = match endpoint.ipv6.filter(|_| host.is_ipv6()) {
        Some(ipv6) => IpAddr::V6(ipv6.address),
        None => IpAddr::V4(endpoint.address),
    };
    let to = SocketAddr::new(address, port.container_port);
    let (map, key) = match (host.is_ipv4(), host.is_unspecified()) {
        (true, true) => ("published", format!("{protocol} . {}", port.host_port)),
        (true, false) => ("published-on-address", format!("{protocol} . {host} . {}", port.host_port)),
        (false, true) => ("published6", format!("{protocol} . {}", port.host_port)),
        (false, false) => ("published6-on-address", format!("{protocol} . {host} . {}", port.host_port)),
    };
    let bridge = match endpoint.network == NetworkId::bridge() {
        true => format!("the bridge {}", network.bridge),
        false => "the bridge of its network".to_owned(),
    };
    let way = vec![
        format!("enters table inet {table}: chain arriving from other machines, chain local from the host itself"),
        format!("map {map}: {key} becomes {to}; no process is in between, and the sender's address stays"),
        format!("is routed to {bridge}; chain passing lets it through because it was redirected"),
        format!("crosses {} into the container's network namespace", endpoint.host_interface),
        "answers go back the same way, by the kernel's memory of the connection; chain leaving masquerades only what \
         comes from loopback or from other containers"
            .to_owned(),
    ];
    let host = SocketAddr::new(host, port.host_port);
    PortPath { host: format!("{host}/{protocol}"), container: to.to_string(), way }
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn namespaces(pid: i32) -> Result<Vec<Namespace>, EngineError> {
    let inode = |of: &str, kind: &str| {
        let path = format!("/proc/{of}/ns/{kind}");
        match fs::read_link(&path) {
            Ok(link) => Ok(proc::inode(&link.to_string_lossy())),
            // A kind that this kernel does not have.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(EngineError::io("read", path)(error)),
        }
    };
    let mut all = Vec::new();
    for kind in NAMESPACES {
        if let (Some(inode), Some(host_inode)) = (inode(&pid.to_string(), kind)?, inode("self", kind)?) {
            all.push(Namespace { kind: kind.to_owned(), inode, host_inode, own: inode != host_inode });
        }
    }
    Ok(all)
}

/// What is mounted, with where it comes from.
fn mounts(record: &Record, mountinfo: &str) -> Vec<MountPoint> {
    let told = |mount: proc::Mount| {
        let asked = record.mounts().iter().find(|asked| asked.target().trim_end_matches('/') == mount.target);
        let (from, source) = origin(record, &mount, asked);
        MountPoint {
            read_only: mount.is_read_only(),
            target: mount.target,
            kind: mount.kind,
            from,
            is_socket: source.as_deref().is_some_and(is_socket),
            source,
            options: mount.options,
        }
    };
    proc::mounts(mountinfo).into_iter().map(told).collect()
}

fn is_socket(path: &str) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    let owned = path.to_owned();
    let found = answer::in_time(path, move || fs::metadata(owned));
    matches!(found, Ok(Ok(metadata)) if metadata.file_type().is_socket())
}

fn origin(record: &Record, mount: &proc::Mount, asked: Option<&Mount>) -> (String, Option<String>) {
    match asked {
        Some(Mount::Bind { source, .. }) => {
            return (format!("{} of the host", source.display()), Some(source.display().to_string()));
        }
        Some(Mount::Volume(volume)) => return (format!("the volume {}", volume.name), None),
        Some(Mount::Image(image)) => return (format!("the image {}, which nobody can change", image.image), None),
        Some(Mount::Tmpfs { .. }) => return ("memory, empty at the start".to_owned(), None),
        None => {}
    }
    let below = |directory: &str| mount.target.starts_with(directory);
    let from = match mount.kind.as_str() {
        _ if mount.target == "/" => {
            let layers = record.layers.len();
            let s = if layers == 1 { "" } else { "s" };
            format!("{layers} layer{s} of the image, under a writable one of the container's")
        }
        _ if GENERATED.contains(&mount.target.as_str()) => "a file that Corten writes".to_owned(),
        "proc" if mount.target != "/proc" => "the kernel: a part of /proc that is not to be written to".to_owned(),
        "tmpfs" | "devtmpfs" if below("/proc/") || (below("/sys/") && mount.target != "/sys/fs/cgroup") => {
            "nothing: hides a file or directory of the kernel's".to_owned()
        }
        "proc" | "sysfs" | "cgroup" | "cgroup2" | "mqueue" | "devpts" => "the kernel".to_owned(),
        "tmpfs" => "memory".to_owned(),
        _ => mount.source.clone(),
    };
    (from, None)
}

/// The device files of the container's `/dev`, looked up within its root.
fn devices(running: &Running) -> Result<Vec<Device>, EngineError> {
    let root_path = format!("/proc/{}/root", running.pid);
    let failed = |errno: rustix::io::Errno| EngineError::io("look for devices in", &root_path)(errno.into());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, &root_path, flags, Mode::empty()).map_err(failed)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let dev: OwnedFd = match openat2(&root, "dev", flags, Mode::empty(), resolve) {
        Ok(dev) => dev,
        // The container has put something else there.
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => return Ok(Vec::new()),
        Err(errno) => return Err(failed(errno)),
    };
    let mut found = Vec::new();
    for entry in Dir::read_from(dev.as_fd()).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(stat) = statat(&dev, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let letter = match FileType::from_raw_mode(stat.st_mode) {
            FileType::CharacterDevice => 'c',
            FileType::BlockDevice => 'b',
            _ => continue,
        };
        let name = entry.file_name().to_string_lossy().into_owned();
        let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let usual = USUAL_DEVICES.contains(&name.as_str());
        found.push(Device { path: format!("/dev/{name}"), number: format!("{letter} {major}:{minor}"), usual });
    }
    found.sort_by(|a, b| (a.usual, &a.path).cmp(&(b.usual, &b.path)));
    Ok(found)
}
