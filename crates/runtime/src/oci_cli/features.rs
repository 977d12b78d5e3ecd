// SPDX-License-Identifier: Apache-2.0
//! `features`: what this runtime supports (runtime specification, "Features Structure" and "Linux Features Structure").
//!
//! Lists come from the planner's own tables where it has them. What is claimed a plan takes, and what is not claimed a
//! plan refuses by name: the tests below plan both.

use std::ffi::OsString;

use serde_json::{Value, json};

use super::error::CliError;
use super::flags::Flags;
use super::print;
use crate::plan::{CAPABILITY_NAMES, HookKind, memory_policy_names, mount_option_names};

/// The newest version of the specification whose fields are known.
pub(super) const NEWEST: &str = "1.3.0";

/// The types of `linux.namespaces` that a plan takes.
const NAMESPACES: &[&str] = &["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"];

/// `uidMappings` and `gidMappings` of mounts.
const MAPPED_MOUNTS: bool = true;

/// The cgroup managers and controllers.
fn cgroup() -> Value {
    json!({ "v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": false })
}

const SECCOMP_ACTIONS: &[&str] = &[
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

const SECCOMP_OPERATORS: &[&str] =
    &["SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"];

/// Those without a table of system calls are left out of a filter: their calls cannot occur on a machine that has one.
const SECCOMP_ARCHITECTURES: &[&str] = &[
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
];

const SECCOMP_FLAGS: &[&str] = &[
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

pub(super) fn features(args: Vec<OsString>) -> Result<u8, CliError> {
    if !Flags::read(args, &[])?.rest.is_empty() {
        return Err(CliError::Usage { expected: "no arguments" });
    }
    let text = serde_json::to_string_pretty(&document()).map_err(CliError::Format)?;
    print(&format!("{text}\n"))
}

fn document() -> Value {
    let capabilities: Vec<String> = CAPABILITY_NAMES.iter().map(|name| format!("CAP_{name}")).collect();
    let (modes, flags) = memory_policy_names();
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": NEWEST,
        "hooks": HookKind::ALL.map(HookKind::name),
        "mountOptions": mount_option_names(),
        "linux": {
            "namespaces": NAMESPACES,
            "capabilities": capabilities,
            "cgroup": cgroup(),
            "seccomp": {
                "enabled": true,
                "actions": SECCOMP_ACTIONS,
                "operators": SECCOMP_OPERATORS,
                "archs": SECCOMP_ARCHITECTURES,
                "knownFlags": SECCOMP_FLAGS,
                "supportedFlags": SECCOMP_FLAGS
            },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "intelRdt": { "enabled": false, "schemata": false, "monitoring": false },
            "memoryPolicy": { "modes": modes, "flags": flags },
            "mountExtensions": { "idmap": { "enabled": MAPPED_MOUNTS } },
            "netDevices": { "enabled": false }
        },
        "annotations": { "org.corten.version": env!("CARGO_PKG_VERSION") },
        "potentiallyUnsafeConfigAnnotations": []
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci_cli::sample;
    use crate::plan::{Inputs, Plan, plan};

    fn planned(change: impl FnOnce(&mut Value)) -> Result<Plan, String> {
        let mut config = sample();
        change(&mut config);
        let spec = serde_json::from_value(config).map_err(|error| error.to_string())?;
        let inputs = Inputs { bundle: "/b".into(), apparmor: true, selinux: true, ..Inputs::default() };
        plan(&spec, &inputs).map_err(|error| error.to_string())
    }

    fn strings(value: &Value) -> Vec<&str> {
        value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
    }

    fn compiled(profile: Value) -> seccomp::Program {
        planned(|config| config["linux"]["seccomp"] = profile.clone()).unwrap();
        let profile = serde_json::from_value(profile).unwrap();
        seccomp::compile(&profile, seccomp::native_arch().unwrap()).unwrap()
    }

    #[test]
    fn what_is_claimed_of_hooks_mounts_and_the_process_is_planned() {
        let features = document();
        for kind in strings(&features["hooks"]) {
            let done = planned(|config| config["hooks"] = json!({ kind: [{ "path": "/hook" }] })).unwrap().to_string();
            // The two last are run by whoever starts and deletes.
            assert!(done.contains(&format!("hooks.{kind}[0]")) || kind.starts_with("post"), "{done}");
        }
        for option in strings(&features["mountOptions"]) {
            let ids = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
            let mount = match option {
                "idmap" | "ridmap" => json!({ "destination": "/x", "source": "/s", "options": ["bind", option],
                    "uidMappings": ids, "gidMappings": ids }),
                option => json!({ "destination": "/x", "type": "tmpfs", "source": "/s", "options": [option] }),
            };
            planned(|config| config["mounts"].as_array_mut().unwrap().push(mount)).unwrap();
        }
        for name in strings(&features["linux"]["capabilities"]) {
            planned(|config| config["process"]["capabilities"]["bounding"] = json!([name])).unwrap();
        }
        for (field, module) in [("apparmorProfile", "apparmor"), ("selinuxLabel", "selinux")] {
            assert_eq!(features["linux"][module]["enabled"], true);
            let done = planned(|config| config["process"][field] = json!("l")).unwrap();
            assert!(done.operations.iter().any(|operation| matches!(operation, crate::plan::Operation::Label { .. })));
        }
        let policy = &features["linux"]["memoryPolicy"];
        for mode in strings(&policy["modes"]) {
            let nodes = if ["MPOL_DEFAULT", "MPOL_LOCAL"].contains(&mode) { "" } else { "0" };
            let policy = json!({ "mode": mode, "nodes": nodes, "flags": policy["flags"] });
            planned(|config| config["linux"]["memoryPolicy"] = policy).unwrap();
        }
        for version in [&features["ociVersionMin"], &features["ociVersionMax"]] {
            planned(|config| config["ociVersion"] = version.clone()).unwrap();
        }
    }

    #[test]
    fn what_is_claimed_of_seccomp_is_compiled() {
        let features = document();
        let claimed = &features["linux"]["seccomp"];
        let rule = |action: &str, op: &str| json!([{ "names": ["mkdir"], "action": action, "args": [{ "index": 0, "value": 1, "valueTwo": 1, "op": op }] }]);
        for action in strings(&claimed["actions"]) {
            let syscalls = rule(action, "SCMP_CMP_EQ");
            compiled(json!({ "defaultAction": "SCMP_ACT_ERRNO", "listenerPath": "/l", "syscalls": syscalls }));
        }
        for operator in strings(&claimed["operators"]) {
            let syscalls = rule("SCMP_ACT_ALLOW", operator);
            compiled(json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": syscalls }));
        }
        let none = compiled(json!({ "defaultAction": "SCMP_ACT_ALLOW", "flags": [] }));
        for architecture in strings(&claimed["archs"]) {
            compiled(json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": [architecture], "flags": [] }));
        }
        assert_eq!(claimed["knownFlags"], claimed["supportedFlags"]);
        for flag in strings(&claimed["supportedFlags"]) {
            let syscalls = rule("SCMP_ACT_NOTIFY", "SCMP_CMP_EQ");
            let with = |flags: Value| {
                let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/l", "flags": flags, "syscalls": syscalls });
                compiled(profile).flags
            };
            assert_ne!(with(json!([flag])), with(json!([])), "{flag}");
        }
        assert_eq!(none.flags, 0);
    }

    #[test]
    fn what_is_claimed_of_namespaces_is_planned_and_the_others_are_refused_by_name() {
        let features = document();
        let claimed = strings(&features["linux"]["namespaces"]);
        for kind in ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"] {
            let made = planned(|config| {
                let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
                namespaces.retain(|namespace| namespace["type"] != kind);
                namespaces.push(json!({ "type": kind }));
                if kind == "user" {
                    let ids = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
                    config["linux"]["uidMappings"] = ids.clone();
                    config["linux"]["gidMappings"] = ids;
                }
            });
            match made {
                Ok(_) => assert!(claimed.contains(&kind), "{kind} is planned, and not claimed"),
                Err(error) => {
                    assert!(!claimed.contains(&kind), "{kind} is claimed, but: {error}");
                    assert!(error.contains(&format!("linux.namespaces[type={kind}]")), "{error}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_claimed_is_refused_by_name() {
        let features = document();
        let refused = |claimed: &Value, field: &str, change: &dyn Fn(&mut Value)| {
            let made = planned(|config| change(config));
            if claimed == true {
                made.unwrap();
            } else {
                assert!(made.as_ref().is_err_and(|error| error.contains(field)), "{field}: {made:?}");
            }
        };
        let linux = &features["linux"];
        refused(&linux["intelRdt"]["enabled"], "linux.intelRdt", &|config| {
            config["linux"]["intelRdt"] = json!({ "closID": "x" });
        });
        refused(&linux["netDevices"]["enabled"], "linux.netDevices", &|config| {
            config["linux"]["netDevices"] = json!({ "eth0": {} });
        });
        refused(&linux["mountExtensions"]["idmap"]["enabled"], "mounts[7]", &|config| {
            let ids = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
            config["mounts"].as_array_mut().unwrap().push(json!({ "destination": "/x", "source": "/s", "type": "bind",
                "options": ["bind", "idmap"], "uidMappings": ids, "gidMappings": ids }));
        });
        let mode = planned(|config| config["linux"]["memoryPolicy"] = json!({ "mode": "MPOL_OF_THE_FUTURE" }));
        assert!(mode.unwrap_err().contains("MPOL_OF_THE_FUTURE"));
        let action = json!({ "defaultAction": "SCMP_ACT_OF_THE_FUTURE" });
        assert!(planned(|config| config["linux"]["seccomp"] = action).unwrap_err().contains("SCMP_ACT_OF_THE_FUTURE"));
    }
}
