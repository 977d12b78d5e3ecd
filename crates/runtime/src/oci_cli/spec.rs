// SPDX-License-Identifier: Apache-2.0
//! `spec`: writes a sample `config.json` to begin with.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::error::CliError;
use super::features::NEWEST;
use super::flags::{Flag, Flags};
use crate::prepare;

pub(super) fn spec(args: Vec<OsString>) -> Result<u8, CliError> {
    let flags = Flags::read(args, &[Flag::value("bundle").short('b'), Flag::switch("rootless")])?;
    let path = flags.path("bundle").unwrap_or_else(|| PathBuf::from(".")).join("config.json");
    let text = serde_json::to_vec_pretty(&if flags.switch("rootless") { rootless_sample() } else { sample_for_host() })
        .map_err(CliError::Format)?;
    let mut file =
        OpenOptions::new().write(true).create_new(true).open(&path).map_err(CliError::file("create", &path))?;
    file.write_all(&text).map_err(CliError::file("write", &path))?;
    Ok(0)
}

/// A shell with few rights in namespaces of its own.
pub(crate) fn sample() -> Value {
    let capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    json!({
        "ociVersion": NEWEST,
        "process": {
            "terminal": true,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "corten",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
              "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
              "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs",
              "options": ["nosuid", "noexec", "nodev", "ro"] },
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
              "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] }
        ],
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" },
                { "type": "cgroup" }
            ],
            "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}

/// The same without a cgroup namespace where the host has cgroup v1, as runc's: what is written from it may add one, and
/// looks for the container's cgroup in its `/proc/self/cgroup`.
fn sample_for_host() -> Value {
    let mut spec = sample();
    let unified = prepare::cgroup_host().is_ok_and(|host| host.mode() == cgroup::Mode::V2);
    if let Some(list) = spec["linux"]["namespaces"].as_array_mut().filter(|_| !unified) {
        list.retain(|namespace| namespace["type"] != "cgroup");
    }
    spec
}

/// The same for whoever is not root: as root of a user namespace in which there is nobody else, with the host's network
/// and without limits.
fn rootless_sample() -> Value {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    with_own_ids(sample_for_host(), uid, gid)
}

fn with_own_ids(mut spec: Value, uid: u32, gid: u32) -> Value {
    let own = |id: u32| json!([{ "containerID": 0, "hostID": id, "size": 1 }]);
    let linux = &mut spec["linux"];
    linux["uidMappings"] = own(uid);
    linux["gidMappings"] = own(gid);
    linux["resources"] = Value::Null;
    if let Some(list) = linux["namespaces"].as_array_mut() {
        list.retain(|namespace| namespace["type"] != "network");
        list.push(json!({ "type": "user" }));
    }
    for mount in spec["mounts"].as_array_mut().into_iter().flatten() {
        if mount["destination"] == "/sys" {
            let options = ["rbind", "nosuid", "noexec", "nodev", "ro"];
            *mount = json!({ "destination": "/sys", "type": "none", "source": "/sys", "options": options });
        }
        if let Some(options) = mount["options"].as_array_mut() {
            // Nobody but root is there to own anything.
            options.retain(|option| !option.as_str().is_some_and(|o| o.starts_with("gid=") || o.starts_with("uid=")));
        }
    }
    spec
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_rootless_sample_can_be_planned_for_its_user() {
        let spec = super::with_own_ids(super::sample(), 1000, 1001);
        let spec: oci::runtime_spec::Spec = serde_json::from_value(spec).unwrap();
        let caller = crate::plan::Caller::Unprivileged { uid: 1000, gid: 1001 };
        let inputs = crate::plan::Inputs { bundle: "/b".into(), terminal: true, caller, ..Default::default() };
        let plan = crate::plan::plan(&spec, &inputs).unwrap().to_string();
        assert!(plan.contains("map users 0:1000+1 groups 0:1001+1\n"), "{plan}");
        assert!(plan.contains("rbind /sys on /sys"), "{plan}");
    }

    #[test]
    fn the_sample_is_a_configuration_that_can_be_planned() {
        let spec: oci::runtime_spec::Spec = serde_json::from_value(super::sample()).unwrap();
        let inputs = crate::plan::Inputs { bundle: "/b".into(), terminal: true, ..Default::default() };
        crate::plan::plan(&spec, &inputs).unwrap();
    }
}
