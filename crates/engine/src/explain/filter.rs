// SPDX-License-Identifier: Apache-2.0
//! What a system call filter answers, found by asking it: the compiled program is run for every call there is.

use api_types::explain::{Filter, Refusal};
use oci::runtime_spec::LinuxSeccomp;
use seccomp::{Program, SeccompData, call_name, compile, native_arch, simulate};

use crate::error::EngineError;

/// More calls than any architecture has: numbers are given to 470 by now.
const NUMBERS: u32 = 1024;
/// What is said when a call is refused that makes a difference.
const NOTABLE: [(&str, &str); 16] = [
    ("add_key", "keep secrets in the kernel, whose keys are not divided by namespace"),
    ("bpf", "load programs into the kernel"),
    ("delete_module", "unload the kernel's modules"),
    ("init_module", "load code into the kernel"),
    ("io_uring_setup", "queue system calls past this filter"),
    ("kexec_load", "replace the kernel"),
    ("keyctl", "use the kernel's keys, which are not divided by namespace"),
    ("mount", "mount file systems"),
    ("open_by_handle_at", "open files by number, on the whole disk"),
    ("perf_event_open", "watch the machine's performance"),
    ("pivot_root", "leave its root directory"),
    ("ptrace", "control other processes"),
    ("reboot", "restart the host"),
    ("setns", "join other namespaces"),
    ("unshare", "make namespaces, in which it is root"),
    ("userfaultfd", "stop the kernel in the middle of a copy, which attacks on it need"),
];

/// A verdict's kind, the upper half of its word (seccomp(2)).
const ACTION: u32 = 0xffff_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
const KILL_THREAD: u32 = 0;
const ERRNO: u32 = 0x0005_0000;
const ALLOW: u32 = 0x7fff_0000;

/// What the filter made of `profile` answers; `None` is no filter at all.
///
/// # Errors
/// A profile that is no program.
pub(super) fn told(name: &str, profile: Option<&LinuxSeccomp>, active: bool) -> Result<Filter, EngineError> {
    let mut told = Filter { active, profile: name.to_owned(), ..Filter::default() };
    let (Some(profile), Some(native)) = (profile, native_arch()) else { return Ok(told) };
    let program = compile(profile, native).map_err(|error| EngineError::Seccomp(errors::chain(&error)))?;
    told.instructions = program.instructions.len();
    for number in 0..NUMBERS {
        let Some(call) = call_name(number.into()) else { continue };
        let (verdicts, steps) = verdicts(&program, number);
        told.calls += 1;
        told.longest = told.longest.max(steps);
        let [verdict, others @ ..] = verdicts;
        if others.iter().any(|other| *other != verdict) {
            told.depends.push(call.to_owned());
            continue;
        }
        match verdict & ACTION {
            ALLOW => told.allowed += 1,
            ERRNO => told.refused += 1,
            KILL_PROCESS | KILL_THREAD => told.killed += 1,
            _ => told.others += 1,
        }
        if let Some((_, would)) = NOTABLE.iter().find(|(name, _)| *name == call)
            && let Some(answer) = refusal(verdict)
        {
            told.notable.push(Refusal { call: call.to_owned(), answer, would: (*would).to_owned() });
        }
    }
    told.notable.sort_by(|a, b| a.call.cmp(&b.call));
    Ok(told)
}

/// The verdicts over a call with several sets of arguments, and the most instructions that one took. Rules compare
/// arguments with constants, or their bits: none set, all set, and the values of the default profile tell those apart.
fn verdicts(program: &Program, number: u32) -> ([u32; 5], usize) {
    // CLONE_NEWUSER, AF_VSOCK.
    const VALUES: [u64; 5] = [0, u64::MAX, 0x1000_0000, 40, 1];
    let mut longest = 0;
    let verdicts = VALUES.map(|value| {
        let data = SeccompData { nr: number, arch: audit_architecture(), args: [value; 6], ..SeccompData::default() };
        let (verdict, steps) = simulate(program, &data);
        longest = longest.max(steps);
        verdict
    });
    (verdicts, longest)
}

/// `AUDIT_ARCH_…` of what this program was built for (linux/audit.h).
fn audit_architecture() -> u32 {
    if cfg!(target_arch = "aarch64") { 0xc000_00b7 } else { 0xc000_003e }
}

/// What a call comes to that is not allowed.
fn refusal(verdict: u32) -> Option<String> {
    match verdict & ACTION {
        ERRNO => Some(match verdict & 0xffff {
            1 => "EPERM".to_owned(),
            38 => "ENOSYS".to_owned(),
            number => format!("error {number}"),
        }),
        KILL_PROCESS | KILL_THREAD => Some("killed".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_default_profile_allows_most_and_refuses_what_matters() {
        let profile = seccomp::default_profile(&BTreeSet::new(), (6, 1));
        let told = told("default", Some(&profile), true).unwrap();
        assert!(told.calls > 300 && told.allowed > 250 && told.refused > 30, "{told:?}");
        assert_eq!(told.allowed + told.refused + told.killed + told.others + told.depends.len(), told.calls);
        let refused: Vec<&str> = told.notable.iter().map(|refusal| refusal.call.as_str()).collect();
        for call in ["bpf", "init_module", "kexec_load", "mount", "open_by_handle_at", "reboot", "unshare"] {
            assert!(refused.contains(&call), "{call}: {refused:?}");
        }
        assert!(told.depends.iter().any(|call| call == "clone"), "{:?}", told.depends);
        assert!(told.longest > 0 && told.longest < told.instructions, "{told:?}");
    }

    #[test]
    fn no_profile_is_no_verdict() {
        let told = told("unconfined", None, false).unwrap();
        assert_eq!((told.calls, told.active, told.notable.len()), (0, false, 0));
    }
}
