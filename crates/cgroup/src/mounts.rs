// SPDX-License-Identifier: Apache-2.0
//! Which cgroup hierarchies are mounted where, read from `/proc/self/mountinfo` (proc_pid_mountinfo(5)). Pure.

use crate::Controller;

/// A control group version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

/// One mount of a hierarchy: the best one, when it is mounted more than once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) version: Version,
    /// The cgroup of this hierarchy that the mount point shows: `/`, or something below when a container was given
    /// only its own part, or something starting with `/..` when the mount reaches above the cgroup namespace's root.
    /// What is made is made below the mount point, whichever it is: nothing else is in sight.
    pub(crate) root: String,
    pub(crate) mount_point: String,
    pub(crate) writable: bool,
    /// v1: the controllers mounted together. v2: empty (`cgroup.controllers` knows).
    pub(crate) controllers: Vec<Controller>,
    /// How messages call it: `cpu,cpuacct`, `name=systemd`, `unified`.
    pub(crate) label: String,
}

/// The cgroup mounts of a mountinfo text, one per hierarchy, v1 in the order of the text and v2 last.
pub(crate) fn parse(mountinfo: &str) -> Vec<Mount> {
    let mut found: Vec<Mount> = Vec::new();
    for mount in mountinfo.lines().filter_map(parse_line) {
        match found.iter_mut().find(|other| other.label == mount.label) {
            Some(other) if preference(&mount) < preference(other) => *other = mount,
            Some(_) => {}
            None => found.push(mount),
        }
    }
    found.sort_by_key(|mount| mount.version == Version::V2);
    found
}

/// Smaller is better: writable before read-only, and the mount that shows most of the hierarchy.
fn preference(mount: &Mount) -> (bool, usize) {
    (!mount.writable, if mount.root == "/" { 0 } else { mount.root.len() })
}

/// `31 23 0:28 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu`
fn parse_line(line: &str) -> Option<Mount> {
    let (place, filesystem) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(3);
    let (root, mount_point, options) = (place.next()?, place.next()?, place.next()?);
    let mut filesystem = filesystem.split(' ');
    let version = match filesystem.next()? {
        "cgroup" => Version::V1,
        "cgroup2" => Version::V2,
        _ => return None,
    };
    let super_options = filesystem.nth(1)?;
    let writable = options.split(',').any(|o| o == "rw") && super_options.split(',').any(|o| o == "rw");
    let (controllers, label) = match version {
        Version::V2 => (Vec::new(), "unified".to_owned()),
        Version::V1 => {
            let controllers: Vec<Controller> = super_options.split(',').filter_map(Controller::from_v1_name).collect();
            let mut names: Vec<&str> = super_options.split(',').filter(|o| is_identity(o)).collect();
            names.sort_unstable();
            (controllers, names.join(","))
        }
    };
    Some(Mount { version, root: unescape(root), mount_point: unescape(mount_point), writable, controllers, label })
}

/// Does this v1 mount option say which hierarchy it is, rather than how it behaves?
fn is_identity(option: &str) -> bool {
    option.starts_with("name=")
        || !(matches!(option, "rw" | "ro" | "xattr" | "clone_children" | "noprefix" | "cpuset_v2_mode" | "seclabel")
            || option.contains('='))
}

/// mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let octal = match tail {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] if *first == b'\\' => {
                Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
            }
            _ => None,
        };
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &tail[3..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,release_agent=/lib/x,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
";

    #[test]
    fn hierarchies_of_a_hybrid_host() {
        let mounts = parse(HYBRID);
        let labels: Vec<&str> = mounts.iter().map(|m| m.label.as_str()).collect();
        assert_eq!(labels, ["cpu,cpuacct", "memory", "name=systemd", "unified"]);
        assert_eq!(mounts[0].controllers, [Controller::Cpu, Controller::Cpuacct]);
        assert!(mounts[2].controllers.is_empty());
    }

    #[test]
    fn the_widest_writable_mount_wins() {
        let text = "\
1 0 0:1 /docker/abc /a rw - cgroup cgroup rw,memory
2 0 0:1 / /b ro - cgroup cgroup rw,memory
3 0 0:1 /docker /c\\040d rw - cgroup cgroup rw,memory
4 0 0:2 /../.. /e rw - cgroup2 cgroup rw
";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 2);
        assert_eq!((mounts[0].mount_point.as_str(), mounts[0].root.as_str()), ("/c d", "/docker"));
        assert_eq!(mounts[1].version, Version::V2);
    }

    #[test]
    fn nonsense_is_passed_over() {
        assert!(parse("").is_empty());
        assert!(parse("a b c\n - cgroup\n1 2 3 4 5 - cgroup x").is_empty());
    }
}
