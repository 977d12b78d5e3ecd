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

pub(super) fn spec(args: Vec<OsString>) -> Result<u8, CliError> {
    let flags = Flags::read(args, &[Flag::value("bundle").short('b'), Flag::switch("rootless")])?;
    let path = flags.path("bundle").unwrap_or_else(|| PathBuf::from(".")).join("config.json");
    let mut config = sample();
    if flags.switch("rootless") {
        make_rootless(&mut config, rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    }
    let text = serde_json::to_vec_pretty(&config).map_err(CliError::Format)?;
    let mut file =
        OpenOptions::new().write(true).create_new(true).open(&path).map_err(CliError::file("create", &path))?;
    file.write_all(&text).map_err(CliError::file("write", &path))?;
    Ok(0)
}

/// Changes the sample into one for a user with one id: root inside is that user outside. Such a user may mount no sysfs
/// without a network namespace of its own, whose interfaces it could not set up; has no group 5 for terminals; and has no
/// cgroup to limit.
fn make_rootless(config: &mut Value, uid: u32, gid: u32) {
    let linux = &mut config["linux"];
    drop_where(&mut linux["namespaces"], |namespace| namespace["type"] == "network");
    if let Some(namespaces) = linux["namespaces"].as_array_mut() {
        namespaces.push(json!({ "type": "user" }));
    }
    linux["uidMappings"] = json!([{ "containerID": 0, "hostID": uid, "size": 1 }]);
    linux["gidMappings"] = json!([{ "containerID": 0, "hostID": gid, "size": 1 }]);
    if let Some(linux) = linux.as_object_mut() {
        linux.remove("resources");
    }
    drop_where(&mut config["mounts"], |mount| mount["destination"] == "/sys/fs/cgroup");
    for mount in config["mounts"].as_array_mut().into_iter().flatten() {
        if mount["destination"] == "/sys" {
            *mount = json!({ "destination": "/sys", "type": "none", "source": "/sys",
                "options": ["rbind", "nosuid", "noexec", "nodev", "ro"] });
        }
        drop_where(&mut mount["options"], |option| option == "gid=5");
    }
}

fn drop_where(list: &mut Value, unwanted: impl Fn(&Value) -> bool) {
    if let Some(list) = list.as_array_mut() {
        list.retain(|item| !unwanted(item));
    }
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

#[cfg(test)]
mod tests {
    #[test]
    fn the_sample_is_a_configuration_that_can_be_planned() {
        let spec: oci::runtime_spec::Spec = serde_json::from_value(super::sample()).unwrap();
        let inputs = crate::plan::Inputs { bundle: "/b".into(), terminal: true, ..Default::default() };
        crate::plan::plan(&spec, &inputs).unwrap();
    }

    #[test]
    fn the_rootless_sample_maps_its_user_and_needs_nothing_of_the_hosts() {
        let mut config = super::sample();
        super::make_rootless(&mut config, 1000, 100);
        assert_eq!(config["linux"]["uidMappings"][0]["hostID"], 1000);
        assert_eq!(config["linux"]["gidMappings"][0]["hostID"], 100);
        let text = config.to_string();
        assert!(!text.contains("gid=5") && !text.contains("/sys/fs/cgroup") && !text.contains("network"), "{text}");
        let sys = config["mounts"].as_array().unwrap().iter().find(|mount| mount["destination"] == "/sys").unwrap();
        assert_eq!(sys["options"][0], "rbind");
    }
}
