// SPDX-License-Identifier: Apache-2.0
//! An identity as people like to read it: one label per line, lists wrapped below each other.

use std::fmt::Write;

use super::identity::Identity;
use crate::printer::human;
use crate::terminal;

/// Where values begin.
const INDENT: usize = 16;
/// Where lines end, unless the terminal ends sooner.
const WIDTH: usize = 96;
/// Nor do they end before this: words are not cut.
const NARROWEST: usize = 40;

/// The greeting.
pub(crate) fn text(identity: &Identity) -> String {
    let mut text = String::from("\nHello from inside a Corten container.\n\n");
    let user = &identity.user;
    let named = |name: &Option<String>, number: u32| match name {
        Some(name) => format!("{name} ({number})"),
        None => number.to_string(),
    };
    let first = if identity.pid == 1 { " (this container's first process)" } else { "" };
    line(&mut text, "pid", &format!("{}{first}", identity.pid));
    line(&mut text, "host name", &identity.hostname);
    line(&mut text, "user", &format!("{}, group {}", named(&user.name, user.uid), named(&user.group, user.gid)));
    if let Some(elapsed) = identity.started_after_ms {
        line(&mut text, "started", &format!("{elapsed:.3} ms after `corten run` did"));
    }
    text.push('\n');

    let namespaces = identity.namespaces.iter().map(|(name, id)| format!("{name} {id}"));
    list(&mut text, "namespaces", namespaces);
    let limits = &identity.cgroup;
    let unlimited = || "unlimited".to_owned();
    let cgroup = [
        format!("memory {}", limits.memory.map_or_else(unlimited, binary_size)),
        format!("cpus {}", limits.cpus.map_or_else(unlimited, |cpus| cpus.to_string())),
        format!("pids {}", limits.pids.map_or_else(unlimited, |pids| pids.to_string())),
    ];
    list(&mut text, "cgroup limits", cgroup.into_iter());
    let count = match identity.capabilities.len() {
        0 => "none".to_owned(),
        count => format!("{count}:"),
    };
    list(&mut text, "capabilities", std::iter::once(count).chain(identity.capabilities.iter().cloned()));
    let privileges = if identity.no_new_privileges { "no new privileges" } else { "new privileges possible" };
    line(&mut text, "seccomp", &format!("{}, {privileges}", identity.seccomp));
    text.push('\n');

    let mounts = identity.mounts.iter().map(|mount| {
        let mode = if mount.read_only { " ro" } else { "" };
        format!("{} ({}{mode})", mount.target, mount.kind)
    });
    list(&mut text, "mounts", mounts);
    let addresses = identity.addresses.iter().map(|address| format!("{} {}", address.interface, address.address));
    list(&mut text, "addresses", addresses);
    text.push('\n');
    text
}

/// Memory limits are chosen in powers of two.
fn binary_size(bytes: u64) -> String {
    match (bytes >> 20, bytes % (1 << 20)) {
        (megabytes @ 1.., 0) => format!("{megabytes} MiB"),
        _ => human::size(bytes),
    }
}

fn line(text: &mut String, label: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "  {label:<width$}{value}", width = INDENT - 2);
}

/// A line of `items`, and further ones where they do not fit.
fn list(text: &mut String, label: &str, items: impl Iterator<Item = String>) {
    let mut label = label;
    let mut current = String::new();
    let width = terminal::size().map_or(WIDTH, |size| usize::from(size.cols).clamp(NARROWEST, WIDTH));
    for item in items {
        let gap = if current.is_empty() { 0 } else { 2 };
        if !current.is_empty() && INDENT + current.chars().count() + gap + item.chars().count() > width {
            line(text, label, &current);
            (label, current) = ("", String::new());
        }
        if !current.is_empty() {
            current.push_str("  ");
        }
        current.push_str(&item);
    }
    line(text, label, if current.is_empty() { "none" } else { &current });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_wrap_under_their_first_item() {
        let mut text = String::new();
        list(&mut text, "things", (0..30).map(|number| format!("thing{number}")));
        assert!(text.lines().count() > 1);
        assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
        assert!(text.lines().nth(1).unwrap().starts_with("                thing"), "{text}");
        let mut none = String::new();
        list(&mut none, "nothing", std::iter::empty());
        assert_eq!(none, "  nothing       none\n");
    }

    #[test]
    fn everything_is_said() {
        let said = text(&Identity::gather(0)).to_lowercase();
        for words in ["pid", "host name", "user", "namespaces", "cgroup", "memory", "capabilities", "seccomp", "mounts"]
        {
            assert!(said.contains(words), "{words} is not in {said}");
        }
    }

    #[test]
    fn limits_are_said_as_they_were_set() {
        assert_eq!(binary_size(64 << 20), "64 MiB");
        assert_eq!(binary_size(1_000_000), "1MB");
    }
}
