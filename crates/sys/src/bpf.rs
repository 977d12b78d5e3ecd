// SPDX-License-Identifier: Apache-2.0
//! Programs that decide about device access in a cgroup of v2 (bpf(2), `BPF_PROG_TYPE_CGROUP_DEVICE`).

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::error::{Error, Result, check};

// linux/bpf.h
const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
/// Programs of parents and of the cgroup itself all run, and all must agree.
const ALLOW_MULTI: u32 = 2;

/// The most programs the kernel attaches to one cgroup (`BPF_CGROUP_MAX_PROGS`).
const MAX_PROGRAMS: usize = 64;

/// One instruction, laid out as the kernel's `struct bpf_insn` on a little-endian machine.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// The operation.
    pub code: u8,
    /// The destination register in the low four bits, the source in the high ones.
    pub registers: u8,
    /// A jump's distance, or a memory offset.
    pub offset: i16,
    /// The constant operand.
    pub immediate: i32,
}

/// The kernel's `union bpf_attr` for `BPF_PROG_LOAD`, as far as it is used.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// For `BPF_PROG_ATTACH` and `BPF_PROG_DETACH`.
#[repr(C)]
#[derive(Default)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// For `BPF_PROG_QUERY`.
#[repr(C)]
#[derive(Default)]
struct Query {
    target: u32,
    kind: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

/// For `BPF_PROG_GET_FD_BY_ID`.
#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

/// Calls bpf(2).
///
/// # Safety
/// `T` is the layout of `command`'s attributes, and every address in it is valid for what `command` does with it.
unsafe fn bpf<T>(command: libc::c_int, attributes: &mut T, call: impl FnOnce() -> String) -> Result<libc::c_long> {
    // SAFETY: the kernel reads (and for a query writes) at most the size given, which is the exclusively borrowed
    // struct's; the caller of this function answers for the addresses in it.
    let returned = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<T>()) };
    check(returned, call)
}

/// A descriptor as the kernel's structs have it. An open one is never negative.
fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().unsigned_abs()
}

fn owned(returned: libc::c_long, call: &str) -> Result<OwnedFd> {
    let number = libc::c_int::try_from(returned).map_err(|_| Error::new(call, Errno::BADF))?;
    // SAFETY: bpf(2) just made this descriptor for us (close-on-exec, as all of its are) and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Loads a device program: the kernel checks it and answers with a descriptor for it.
///
/// # Errors
/// `EINVAL` or `EACCES` when the kernel's verifier refuses it, `EPERM` without CAP_BPF and CAP_NET_ADMIN (or
/// CAP_SYS_ADMIN), `ENOSYS` on a kernel without BPF.
pub fn load_device_program(program: &[Instruction]) -> Result<OwnedFd> {
    const LICENSE: &CStr = c"Apache-2.0";
    let call = || format!("bpf(BPF_PROG_LOAD, {{type=CGROUP_DEVICE, insn_cnt={}}})", program.len());
    let mut attributes = Load {
        kind: TYPE_CGROUP_DEVICE,
        count: u32::try_from(program.len()).map_err(|_| Error::new(call(), Errno::TOOBIG))?,
        instructions: program.as_ptr().expose_provenance() as u64,
        license: LICENSE.as_ptr().expose_provenance() as u64,
        ..Load::default()
    };
    // SAFETY: `Load` is this command's layout; both addresses are of live memory: `count` instructions, and a string that
    // ends with a NUL. The kernel only reads them.
    let returned = unsafe { bpf(PROG_LOAD, &mut attributes, call)? };
    owned(returned, "bpf(BPF_PROG_LOAD)")
}

/// Attaches a device program to a cgroup of v2, beside those that are attached already.
///
/// # Errors
/// `EPERM` without the capabilities, or when a parent forbids programs below it; `EBADF` when it is not a cgroup of v2.
pub fn attach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<()> {
    let (target, program) = (raw(cgroup), raw(program));
    let mut attributes = Attach { target, program, kind: ATTACH_CGROUP_DEVICE, flags: ALLOW_MULTI };
    let call = || format!("bpf(BPF_PROG_ATTACH, {{target={target}, program={program}, CGROUP_DEVICE, ALLOW_MULTI}})");
    // SAFETY: `Attach` is this command's layout and holds no address.
    unsafe { bpf(PROG_ATTACH, &mut attributes, call).map(drop) }
}

/// Detaches a device program from a cgroup.
///
/// # Errors
/// `ENOENT` when it is not attached there.
pub fn detach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<()> {
    let (target, program) = (raw(cgroup), raw(program));
    let mut attributes = Attach { target, program, kind: ATTACH_CGROUP_DEVICE, flags: 0 };
    let call = || format!("bpf(BPF_PROG_DETACH, {{target={target}, program={program}, CGROUP_DEVICE}})");
    // SAFETY: `Attach` is this command's layout and holds no address.
    unsafe { bpf(PROG_DETACH, &mut attributes, call).map(drop) }
}

/// The device programs attached to this very cgroup.
///
/// # Errors
/// `EPERM` without the capabilities.
pub fn device_programs(cgroup: BorrowedFd<'_>) -> Result<Vec<OwnedFd>> {
    let target = raw(cgroup);
    let mut ids = [0_u32; MAX_PROGRAMS];
    let mut attributes = Query {
        target,
        kind: ATTACH_CGROUP_DEVICE,
        ids: ids.as_mut_ptr().expose_provenance() as u64,
        // 64.
        count: MAX_PROGRAMS as u32,
        ..Query::default()
    };
    let call = || format!("bpf(BPF_PROG_QUERY, {{target={target}, CGROUP_DEVICE}})");
    // SAFETY: `Query` is this command's layout; `ids` has room for `count` numbers and outlives the call.
    unsafe { bpf(PROG_QUERY, &mut attributes, call)? };
    let count = usize::try_from(attributes.count).unwrap_or(MAX_PROGRAMS).min(MAX_PROGRAMS);
    let mut programs = Vec::with_capacity(count);
    for id in &ids[..count] {
        let mut attributes = ById { id: *id, ..ById::default() };
        let call = || format!("bpf(BPF_PROG_GET_FD_BY_ID, {id})");
        // SAFETY: `ById` is this command's layout and holds no address.
        match unsafe { bpf(PROG_GET_FD_BY_ID, &mut attributes, call) } {
            Ok(returned) => programs.push(owned(returned, "bpf(BPF_PROG_GET_FD_BY_ID)")?),
            // Detached meanwhile.
            Err(error) if error.errno() == Errno::NOENT => {}
            Err(error) => return Err(error),
        }
    }
    Ok(programs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_without_an_end_is_refused() {
        let nothing = [Instruction { code: 0xb7, registers: 0, offset: 0, immediate: 1 }];
        let error = load_device_program(&nothing).unwrap_err();
        assert!(matches!(error.errno(), Errno::INVAL | Errno::PERM), "{error}");
        assert!(error.to_string().starts_with("bpf(BPF_PROG_LOAD, {type=CGROUP_DEVICE, insn_cnt=1}) = -1 "), "{error}");
    }
}
