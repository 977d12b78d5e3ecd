// SPDX-License-Identifier: Apache-2.0
//! The limits of this process's control groups, v1 and v2 alike, as far as they can be seen from inside.

use serde::Serialize;

use super::identity::unescape;

/// What this process may use; `None` where there is no limit or none can be seen.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Limits {
    /// Bytes of memory.
    pub(crate) memory: Option<u64>,
    /// Processors.
    pub(crate) cpus: Option<f64>,
    /// Processes and threads.
    pub(crate) pids: Option<u64>,
}

/// Above this a v1 limit is the kernel's word for none.
const NO_LIMIT: u64 = 1 << 60;

/// The limits that `read` finds where `/proc/self/cgroup` and `/proc/self/mountinfo` say they are.
pub(crate) fn limits(cgroup: &str, mountinfo: &str, read: &dyn Fn(&str) -> Option<String>) -> Limits {
    let value = |controller: &str, file: &str| {
        let directory = directory(cgroup, mountinfo, controller)?;
        read(&format!("{directory}/{file}")).map(|text| text.trim().to_owned())
    };
    let number = |controller, file| value(controller, file).and_then(|text| text.parse::<u64>().ok());
    let quota = || {
        let quota: f64 = value("cpu", "cpu.cfs_quota_us")?.parse().ok().filter(|quota| *quota > 0.0)?;
        let period: f64 = value("cpu", "cpu.cfs_period_us")?.parse().ok().filter(|period| *period > 0.0)?;
        Some(quota / period)
    };
    let unified_quota = || {
        let line = value("", "cpu.max")?;
        let (quota, period) = line.split_once(' ')?;
        let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
        (period > 0.0).then(|| quota / period)
    };
    Limits {
        memory: number("", "memory.max")
            .or_else(|| number("memory", "memory.limit_in_bytes").filter(|limit| *limit < NO_LIMIT)),
        cpus: unified_quota().or_else(quota),
        pids: number("", "pids.max").or_else(|| number("pids", "pids.max")),
    }
}

/// Where the files of a v1 `controller`, or of v2 when it is empty, are.
fn directory(cgroup: &str, mountinfo: &str, controller: &str) -> Option<String> {
    let path = cgroup.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        controllers.split(',').any(|name| name == controller).then_some(path)
    })?;
    mountinfo.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, target) = (unescape(fields.next()?), unescape(fields.next()?));
        let mut words = file_system.split(' ');
        let (kind, options) = (words.next()?, words.nth(1)?);
        let is_it = match controller {
            "" => kind == "cgroup2",
            name => kind == "cgroup" && options.split(',').any(|option| option == name),
        };
        // What is mounted may be the group itself, or one above it.
        let below = path.strip_prefix(root.trim_end_matches('/')).unwrap_or("");
        is_it.then(|| format!("{target}{}", below.trim_end_matches('/')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits_of(cgroup: &str, mountinfo: &str, files: &[(&str, &str)]) -> Limits {
        limits(cgroup, mountinfo, &|path| {
            files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn v1_limits_are_per_hierarchy() {
        let cgroup = "9:pids:/\n4:memory:/\n3:cpu,cpuacct:/\n0::/\n";
        let mountinfo = "1 0 0:1 / /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
                         2 0 0:2 / /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n\
                         3 0 0:3 / /sys/fs/cgroup/pids ro - cgroup cgroup rw,pids\n";
        let files = [
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "67108864\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "50000\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ("/sys/fs/cgroup/pids/pids.max", "max\n"),
        ];
        let limits = limits_of(cgroup, mountinfo, &files);
        assert_eq!(limits, Limits { memory: Some(64 << 20), cpus: Some(0.5), pids: None });
        let none = [("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")];
        assert_eq!(limits_of(cgroup, mountinfo, &none), Limits::default());
    }

    #[test]
    fn v2_limits_are_in_one_place_which_may_be_below_the_mount() {
        let mountinfo = "1 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let files = [
            ("/sys/fs/cgroup/a/b/memory.max", "1000\n"),
            ("/sys/fs/cgroup/a/b/cpu.max", "200000 100000\n"),
            ("/sys/fs/cgroup/a/b/pids.max", "7\n"),
        ];
        let limits = limits_of("0::/a/b\n", mountinfo, &files);
        assert_eq!(limits, Limits { memory: Some(1000), cpus: Some(2.0), pids: Some(7) });
        let unlimited = [("/sys/fs/cgroup/cpu.max", "max 100000\n"), ("/sys/fs/cgroup/memory.max", "max\n")];
        assert_eq!(limits_of("0::/\n", mountinfo, &unlimited), Limits::default());
    }
}
