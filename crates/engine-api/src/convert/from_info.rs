// SPDX-License-Identifier: Apache-2.0
//! Which limits the host has, as Docker's clients read it: a field for each, and a warning for each that is missing.

use std::collections::HashMap;

use api_types::docker::{DeviceInfo, Runtime, SystemInfo};
use engine::{HostLimits, Info};

/// The names that the one runtime answers to.
const RUNTIMES: [&str; 3] = ["corten", "runc", "io.containerd.runc.v2"];

/// Completes `answer`.
pub(crate) fn limits(info: &Info, answer: SystemInfo) -> SystemInfo {
    let limits = info.limits;
    // The hybrid layout has its controllers in v1.
    let v1 = !info.cgroups["mode"].as_str().is_some_and(|mode| mode.eq_ignore_ascii_case("v2"));
    let mut warnings: Vec<String> =
        missing(limits, v1).into_iter().map(|what| format!("WARNING: No {what} support")).collect();
    warnings.extend(info.warnings.iter().cloned());
    let device = |id: &String| DeviceInfo { source: Some("cdi".to_owned()), id: Some(id.clone()) };
    SystemInfo {
        memory_limit: Some(limits.memory),
        swap_limit: Some(limits.swap != Some(false)),
        oom_kill_disable: Some(limits.oom_kill_disable),
        cpu_cfs_period: Some(limits.cpu_quota),
        cpu_cfs_quota: Some(limits.cpu_quota),
        cpu_shares: Some(limits.cpu_shares),
        cpu_set: Some(limits.cpuset),
        pids_limit: Some(limits.pids),
        security_options: Some(security(info.remaps)),
        runtimes: Some(
            RUNTIMES.map(|name| (name.to_owned(), Runtime::default())).into_iter().collect::<HashMap<_, _>>(),
        ),
        labels: Some(info.labels.clone()),
        cdi_spec_dirs: Some(info.device_dirs.clone()),
        discovered_devices: Some(info.devices.iter().map(device).collect()),
        warnings: (!warnings.is_empty()).then_some(warnings),
        ..answer
    }
}

fn security(remaps: bool) -> Vec<String> {
    let mut options = vec!["name=seccomp,profile=builtin", "name=cgroupns"];
    options.extend(remaps.then_some("name=userns"));
    options.into_iter().map(str::to_owned).collect()
}

/// What the host lacks, in the words that Docker's users know from its warnings.
fn missing(limits: HostLimits, v1: bool) -> Vec<&'static str> {
    let all = [
        (limits.memory, "memory limit"),
        (!limits.memory || limits.swap != Some(false), "swap limit"),
        // v2 has no such thing, which is nothing to be warned of.
        (!v1 || limits.oom_kill_disable, "oom kill disable"),
        (limits.cpu_quota, "cpu cfs quota"),
        (limits.cpu_quota, "cpu cfs period"),
        (limits.cpu_shares, "cpu shares"),
        (limits.cpuset, "cpuset"),
        (limits.pids, "pids limit"),
        (limits.io_weight, if v1 { "blkio weight" } else { "io.weight" }),
        (limits.io_throttle, if v1 { "blkio throttle" } else { "io.max" }),
    ];
    all.into_iter().filter(|(has, _)| !has).map(|(_, what)| what).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_in_dockers_words() {
        let all = HostLimits {
            memory: true,
            swap: Some(true),
            swappiness: true,
            oom_kill_disable: true,
            cpu_quota: true,
            cpu_shares: true,
            cpu_realtime: true,
            cpuset: true,
            pids: true,
            io_weight: true,
            io_throttle: true,
        };
        assert!(missing(all, true).is_empty());
        let less = HostLimits { swap: Some(false), oom_kill_disable: false, io_weight: false, ..all };
        assert_eq!(missing(less, true), ["swap limit", "oom kill disable", "blkio weight"]);
        assert_eq!(missing(less, false), ["swap limit", "io.weight"]);
        assert!(missing(HostLimits { swap: None, ..all }, false).is_empty(), "nothing tells whether it is there");
    }
}
