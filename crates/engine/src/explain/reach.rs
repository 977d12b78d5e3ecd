// SPDX-License-Identifier: Apache-2.0
//! What could still reach the host: the barriers that others have and this container does not, the worst first. Pure:
//! an explanation in, findings out.

use std::path::Path;

use api_types::explain::{Explanation, MountPoint, Reach, Severity};

use Severity::{High, Low, Medium};

/// Sharing a namespace of the host's, and what comes of it.
const SHARED: [(&str, Severity, &str); 7] = [
    ("mnt", High, "it sees and changes the host's mounts"),
    ("pid", High, "it sees, signals and, with CAP_SYS_PTRACE, takes over every process of the host"),
    ("net", Medium, "it has the host's interfaces and ports, reaches what listens on loopback, and abstract sockets"),
    ("ipc", Medium, "it reads and writes the host's shared memory and queues"),
    ("uts", Low, "with CAP_SYS_ADMIN it renames the host"),
    ("cgroup", Low, "it sees the names of all the host's control groups"),
    ("time", Low, "it has the host's clocks, as nearly every container"),
];
/// Directories of the host that decide what the host does.
const DECISIVE: [(&str, &str); 15] = [
    ("/etc", "users, services and scheduled commands of the host"),
    ("/boot", "the host's kernel"),
    ("/bin", "the host's programs"),
    ("/sbin", "the host's programs"),
    ("/lib", "the host's libraries"),
    ("/lib64", "the host's libraries"),
    ("/usr", "the host's programs and libraries"),
    ("/root", "root's keys and start-up files"),
    ("/home", "users' keys and start-up files"),
    ("/proc", "the kernel's settings"),
    ("/sys", "the kernel's settings and devices"),
    ("/dev", "the host's disks"),
    ("/run", "the sockets of the host's services"),
    ("/var/run", "the sockets of the host's services"),
    ("/var/lib", "the state of the host's services, other containers included"),
];
/// Sockets over which somebody makes containers, or does anything else as root.
const SOCKETS: [&str; 6] =
    ["docker.sock", "corten.sock", "containerd.sock", "podman.sock", "crio.sock", "system_bus_socket"];
/// Some of the files that are hidden.
const HIDDEN: [&str; 4] = ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/acpi"];
/// Added capabilities that lead out at once.
const LEADING_OUT: [&str; 8] = [
    "CAP_SYS_ADMIN",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_DAC_READ_SEARCH",
    "CAP_SYS_BOOT",
    "CAP_BPF",
    "CAP_MAC_ADMIN",
    "CAP_SYS_PTRACE",
];

/// The findings.
pub(super) fn found(of: &Explanation) -> Vec<Reach> {
    let mut found = Vec::new();
    let mut add = |severity, what: String, why: &str| found.push(Reach { severity, what, why: why.to_owned() });
    namespaces(of, &mut add);
    capabilities(of, &mut add);
    filter(of, &mut add);
    let outside = root_outside(of);
    for mount in &of.mounts {
        match outside {
            Some(id) if !is_idmapped(mount) => bound_with_other_ids(mount, id, &mut add),
            _ => bound(mount, &mut add),
        }
    }
    kernel_files(of, &mut add);
    for device in of.devices.iter().filter(|device| !device.usual) {
        add(Medium, format!("the device {} ({})", device.path, device.number), "what its driver lets a user do");
    }
    limits(of, &mut add);
    for port in of.ports.iter().filter(|port| port.host.starts_with("0.0.0.0:")) {
        add(
            Low,
            format!("the port {}", port.host),
            "whoever reaches any of the host's addresses reaches the container; publish on 127.0.0.1 what only the host \
             needs",
        );
    }
    let calls = of.filter.allowed + of.filter.depends.len();
    let surface = match of.filter.active {
        true => format!("the host's kernel, by {calls} system calls"),
        false => "the host's kernel, by every system call".to_owned(),
    };
    add(Low, surface, "a defect in the kernel is the one way out that every container has");
    found.sort_by_key(|reach| reach.severity);
    found
}

fn namespaces(of: &Explanation, add: &mut impl FnMut(Severity, String, &str)) {
    for namespace in of.namespaces.iter().filter(|namespace| !namespace.own) {
        if namespace.kind == "user" {
            let uid = of.identity.uid;
            let why = "who gets out is root on the host, too: there is no user namespace between them";
            if uid == 0 {
                add(Medium, "its root is the host's root".to_owned(), why);
            } else {
                add(Low, format!("its user is the host's user {uid}"), "files of that user on the host are its own");
            }
        } else if let Some((_, severity, why)) = SHARED.iter().find(|(kind, ..)| *kind == namespace.kind)
            && namespace.kind != "time"
        {
            add(*severity, format!("the host's {} namespace", namespace.kind), why);
        }
    }
}

/// Who the container's root is on the host, where that is somebody else.
fn root_outside(of: &Explanation) -> Option<u32> {
    let own = of.namespaces.iter().any(|namespace| namespace.kind == "user" && namespace.own);
    let root = of.identity.uid_map.iter().find_map(|line| line.strip_prefix("0 ")?.split(' ').next()?.parse().ok());
    root.filter(|id| own && *id != 0)
}

/// Whether what the host's root owns there is the container's root's.
fn is_idmapped(mount: &MountPoint) -> bool {
    mount.options.split(',').any(|option| option == "idmapped")
}

/// What of the host is there for who is nobody on the host.
fn bound_with_other_ids(mount: &MountPoint, id: u32, add: &mut impl FnMut(Severity, String, &str)) {
    let Some(source) = mount.source.as_deref() else { return };
    let why = format!("what everybody on the host may do there: its root is the host's user {id}");
    add(Low, format!("{source} of the host"), &why);
}

/// Those of a container whose root is somebody else on the host hold over its own namespaces alone.
fn capabilities_inside(of: &Explanation, add: &mut impl FnMut(Severity, String, &str)) {
    let why = "over its own namespaces alone; more of the kernel's code is open to it than to others";
    if of.capabilities.dropped.is_empty() {
        add(Medium, "all capabilities, in its user namespace".to_owned(), why);
        return;
    }
    for one in of.capabilities.kept.iter().filter(|one| one.unusual) {
        add(Low, format!("the capability {}, in its user namespace", one.name), why);
    }
}

fn capabilities(of: &Explanation, add: &mut impl FnMut(Severity, String, &str)) {
    if root_outside(of).is_some() {
        return capabilities_inside(of, add);
    }
    if of.capabilities.dropped.is_empty() {
        add(
            High,
            "all capabilities".to_owned(),
            "its root may do what the host's may: mount disks, load modules, anything",
        );
        return;
    }
    for one in of.capabilities.kept.iter().filter(|one| one.unusual) {
        let severity = if LEADING_OUT.contains(&one.name.as_str()) { High } else { Medium };
        add(severity, format!("the capability {}", one.name), &one.allows);
    }
    let usual = of.capabilities.kept.iter().any(|one| one.name == "CAP_SETUID");
    if usual && !of.identity.no_new_privileges {
        add(
            Low,
            "set-uid programs".to_owned(),
            "a user in it can become its root by a program that is set-uid; --security-opt no-new-privileges ends that",
        );
    }
}

fn filter(of: &Explanation, add: &mut impl FnMut(Severity, String, &str)) {
    if !of.filter.active {
        add(Medium, "no system call filter".to_owned(), "every system call there is, the rarely tested ones included");
    }
}

/// What a directory or file of the host opens.
fn bound(mount: &MountPoint, add: &mut impl FnMut(Severity, String, &str)) {
    let Some(source) = mount.source.as_deref() else { return };
    let path = Path::new(source);
    let is_engines = |path: &str| SOCKETS.iter().any(|socket| path.ends_with(socket));
    if is_engines(source) || (mount.is_socket && is_engines(&mount.target)) {
        let why = "over it, whoever is in the container makes another one without any of these barriers";
        add(High, format!("the socket {source}"), why);
        return;
    }
    if mount.is_socket {
        add(Medium, format!("the socket {source}"), "whoever listens there on the host serves the container");
        return;
    }
    if path == Path::new("/") {
        let (severity, why) = match mount.read_only {
            true => (Medium, "it reads every file of the host: keys, passwords, disks' contents"),
            false => (High, "it changes every file of the host"),
        };
        add(severity, format!("all of the host's files, at {}", mount.target), why);
        return;
    }
    let Some((_, what)) = DECISIVE.iter().find(|(directory, _)| path.starts_with(directory)) else {
        if !mount.read_only {
            add(Low, format!("{source} of the host"), "it can be written to, and by root's rights");
        }
        return;
    };
    // A directory deep below one of these decides less.
    let near = path.components().count() <= 3;
    match (mount.read_only, near) {
        (false, true) => add(High, format!("{source} of the host, to write"), what),
        (false, false) => add(Medium, format!("{source} of the host, to write"), what),
        (true, _) => add(Low, format!("{source} of the host, to read"), what),
    }
}

/// Files of `/proc` and `/sys` that are hidden, or cannot be written, unless somebody wished it.
fn kernel_files(of: &Explanation, add: &mut impl FnMut(Severity, String, &str)) {
    let sys = of.mounts.iter().find(|mount| mount.target == "/sys");
    // Which of them a kernel has differs.
    if !of.mounts.iter().any(|mount| HIDDEN.contains(&mount.target.as_str())) {
        add(
            Medium,
            "/proc/kcore and other files of the kernel's are not hidden".to_owned(),
            "they show its memory and keys",
        );
    }
    if !of.mounts.iter().any(|mount| mount.target == "/proc/sys" && mount.read_only) {
        add(
            High,
            "/proc/sys can be written to".to_owned(),
            "the kernel's settings, core_pattern among them: a command as root",
        );
    }
    if sys.is_some_and(|mount| !mount.read_only) {
        add(High, "/sys can be written to".to_owned(), "the kernel's settings and devices");
    }
}

fn limits(of: &Explanation, add: &mut impl FnMut(Severity, String, &str)) {
    for (name, why, flag) in [
        ("memory", "it can use up the host's memory", "--memory"),
        ("pids", "it can use up the host's processes", "--pids-limit"),
        ("cpu", "it can use all of the host's processors", "--cpus"),
    ] {
        if of.limits.iter().any(|limit| limit.name == name && limit.limit.is_none()) {
            add(Low, format!("no limit of {name}"), &format!("{why}; {flag} sets one"));
        }
    }
}

#[cfg(test)]
mod tests;
