// SPDX-License-Identifier: Apache-2.0
//! Memory as the kernel accounts for it.

use std::fs;

/// The proportional set size of a process in bytes: proc(5), smaps_rollup. Zero when it has ended.
pub(super) fn proportional(pid: i32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let kib = text.lines().find_map(|line| line.strip_prefix("Pss:")?.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) * 1024.0
}

/// What is a process's alone: the pages that nobody else has mapped, in bytes (proc(5), smaps_rollup). Zero when it has
/// ended.
pub(super) fn private(pid: i32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let lines = text.lines().filter(|line| line.starts_with("Private_Clean:") || line.starts_with("Private_Dirty:"));
    let kib = lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    kib.sum::<f64>() * 1024.0
}

/// The most that a process had resident since [`forget_peak`], in bytes (proc(5), status). Zero when it has ended.
pub(super) fn peak(pid: i32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) * 1024.0
}

/// Lets [`peak`] begin anew with what is resident now.
///
/// # Errors
/// When the kernel does not let us, or the process has ended.
pub(super) fn forget_peak(pid: i32) -> std::io::Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5")
}

/// Every process below `ancestor`, itself included.
pub(super) fn family(ancestor: i32) -> Vec<i32> {
    let all: Vec<(i32, i32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_string_lossy().parse().ok())
        .filter_map(|pid| Some((pid, testkit::leftovers::parent(pid)?)))
        .collect();
    let mut family = vec![ancestor];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        family.extend(all.iter().filter(|(_, above)| *above == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    family
}

/// The processes whose command line has all of these words.
pub(super) fn with_words(words: &[&str]) -> Vec<i32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_string_lossy().parse().ok())
        .filter(|pid| {
            let line = testkit::leftovers::command_line(*pid);
            words.iter().all(|word| line.contains(word))
        })
        .collect()
}
