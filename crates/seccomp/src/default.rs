// SPDX-License-Identifier: Apache-2.0
//! The profile that containers get by default: what Docker's allows, as of its engine 29.
//!
//! Two differences, both towards less: the rule for `socket` looks at the 32 bits that the kernel looks at, so that a high
//! word cannot smuggle a forbidden family past it; and a family that Linux does not have yet is forbidden.

use std::collections::BTreeSet;

use oci::runtime_spec::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompOperator, LinuxSyscall,
};

use crate::action::{ENOSYS, EPERM};
use crate::arch::{family, native_arch};

mod allowed;

use allowed::{ALWAYS, ARM, WITH_CAPABILITY, X86};

/// The namespaces that `clone` may not make without CAP_SYS_ADMIN: mount, cgroup, uts, ipc, user, pid and net
/// (sched.h, `CLONE_NEW*`). Time namespaces cannot be made by `clone`.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;

/// Socket families that are forbidden lie between these blocks: 38 (AF_ALG: a way into the kernel's cryptography that
/// had its holes) and 40 (AF_VSOCK: leaves the container for the hypervisor). Each block is a mask of the low word's leading bits,
/// and the value they must have.
const SOCKET_FAMILIES: [(u64, u64); 7] = [
    (0xffff_ffe0, 0),
    (0xffff_fffc, 32),
    (0xffff_fffe, 36),
    (0xffff_ffff, 39),
    (0xffff_ffff, 41),
    (0xffff_fffe, 42),
    (0xffff_fffc, 44),
];

/// Execution domains: Linux and its 32-bit one, each also with UNAME26, and the question which it is (personality(2)).
const PERSONALITIES: [u64; 5] = [0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The default profile on the architecture this program was built for.
///
/// `capabilities` are the container's (its bounding set, as `CAP_X`): some calls are allowed with the capability that
/// they need anyway. `kernel` is the running kernel's version: `ptrace` is safe from 4.8 on.
///
/// Forbidden calls fail with EPERM; ones newer than Linux 6.13's, the newest the profile names, with ENOSYS.
pub fn default_profile(capabilities: &BTreeSet<String>, kernel: (u32, u32)) -> LinuxSeccomp {
    default_profile_for(native_arch().unwrap_or(Arch::ScmpArchNative), capabilities, kernel)
}

/// The default profile on `native`.
pub fn default_profile_for(native: Arch, capabilities: &BTreeSet<String>, kernel: (u32, u32)) -> LinuxSeccomp {
    let has = |capability: &str| capabilities.contains(capability);
    let mut rules = vec![allow(ALWAYS, vec![])];
    if kernel >= (4, 8) {
        rules.push(allow(&["process_vm_readv", "process_vm_writev", "ptrace"], vec![]));
    }
    rules.extend(SOCKET_FAMILIES.map(|(mask, family)| allow(&["socket"], vec![masked(0, mask, family)])));
    rules.extend(PERSONALITIES.map(|domain| allow(&["personality"], vec![equal(0, domain)])));
    match native {
        Arch::ScmpArchX86_64 | Arch::ScmpArchX86 | Arch::ScmpArchX32 => rules.push(allow(X86, vec![])),
        Arch::ScmpArchAarch64 | Arch::ScmpArchArm => rules.push(allow(ARM, vec![])),
        _ => {}
    }
    for (capability, calls) in WITH_CAPABILITY {
        if has(capability) {
            rules.push(allow(calls, vec![]));
        }
    }
    if !has("CAP_SYS_ADMIN") {
        rules.push(allow(&["clone"], vec![masked(0, NAMESPACE_FLAGS, 0)]));
        // Its flags are in memory, where no filter sees them. C libraries fall back to `clone` when it does not exist.
        rules.push(rule(&["clone3"], LinuxSeccompAction::ScmpActErrno, Some(ENOSYS), vec![]));
    }
    let mut profile = LinuxSeccomp::default();
    profile.set_default_action(LinuxSeccompAction::ScmpActErrno).set_default_errno_ret(Some(EPERM));
    profile.set_architectures(Some(family(native))).set_syscalls(Some(rules));
    profile
}

fn allow(names: &[&str], args: Vec<LinuxSeccompArg>) -> LinuxSyscall {
    rule(names, LinuxSeccompAction::ScmpActAllow, None, args)
}

fn rule(names: &[&str], action: LinuxSeccompAction, errno: Option<u32>, args: Vec<LinuxSeccompArg>) -> LinuxSyscall {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut rule = LinuxSyscall::default();
    rule.set_names(names).set_action(action).set_errno_ret(errno);
    rule.set_args((!args.is_empty()).then_some(args));
    rule
}

fn equal(index: usize, value: u64) -> LinuxSeccompArg {
    arg(LinuxSeccompArgBuilder::default().index(index).value(value).op(LinuxSeccompOperator::ScmpCmpEq))
}

fn masked(index: usize, mask: u64, wanted: u64) -> LinuxSeccompArg {
    let op = LinuxSeccompOperator::ScmpCmpMaskedEq;
    arg(LinuxSeccompArgBuilder::default().index(index).value(mask).value_two(wanted).op(op))
}

fn arg(builder: LinuxSeccompArgBuilder) -> LinuxSeccompArg {
    // The builder's only error is a missing field, and each of its fields has a default.
    builder.build().expect("every field has a default")
}
