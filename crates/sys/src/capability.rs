// SPDX-License-Identifier: Apache-2.0
//! Capability sets of the calling thread (capabilities(7)), as bit masks: bit n is capability number n.

use crate::error::{Error, Result, check};

/// `_LINUX_CAPABILITY_VERSION_3`: two 32-bit words per set.
const VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// The three sets that capset(2) changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sets {
    /// What the kernel checks.
    pub effective: u64,
    /// What may be made effective.
    pub permitted: u64,
    /// What a file with inheritable capabilities may pass on through execve.
    pub inheritable: u64,
}

/// The calling thread's sets.
pub fn get() -> Result<Sets> {
    let mut header = Header { version: VERSION, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 reads the header and writes two elements.
    let returned = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    check(returned, || "capget({version=3, pid=0})".into())?;
    let join = |pick: fn(&Data) -> u32| u64::from(pick(&data[0])) | u64::from(pick(&data[1])) << 32;
    Ok(Sets {
        effective: join(|data| data.effective),
        permitted: join(|data| data.permitted),
        inheritable: join(|data| data.inheritable),
    })
}

/// Sets the calling thread's sets.
pub fn set(sets: Sets) -> Result<()> {
    let mut header = Header { version: VERSION, pid: 0 };
    let word = |set: u64, shift: u32| (set >> shift) as u32;
    let data = [0, 32].map(|shift| Data {
        effective: word(sets.effective, shift),
        permitted: word(sets.permitted, shift),
        inheritable: word(sets.inheritable, shift),
    });
    // SAFETY: version 3 reads the header and two elements.
    let returned = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) };
    check(returned, || {
        format!(
            "capset({{version=3, pid=0}}, {{effective={:#x}, permitted={:#x}, inheritable={:#x}}})",
            sets.effective, sets.permitted, sets.inheritable
        )
    })
    .map(drop)
}

/// Removes capability number `capability` from the bounding set, for good. `Ok(false)`: this kernel does not know it.
pub fn drop_from_bounding_set(capability: u32) -> Result<bool> {
    // SAFETY: integers only.
    let returned = unsafe {
        libc::prctl(
            libc::PR_CAPBSET_DROP,
            libc::c_ulong::from(capability),
            0 as libc::c_ulong,
            0 as libc::c_ulong,
            0 as libc::c_ulong,
        )
    };
    if returned == 0 {
        return Ok(true);
    }
    let error = Error::last(format!("prctl(PR_CAPBSET_DROP, {capability})"));
    if error.errno() == rustix::io::Errno::INVAL { Ok(false) } else { Err(error) }
}

/// Whether capability number `capability` is in the bounding set; `None`: this kernel does not know it.
pub fn in_bounding_set(capability: u32) -> Option<bool> {
    // SAFETY: integers only.
    let returned = unsafe {
        libc::prctl(
            libc::PR_CAPBSET_READ,
            libc::c_ulong::from(capability),
            0 as libc::c_ulong,
            0 as libc::c_ulong,
            0 as libc::c_ulong,
        )
    };
    match returned {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn ambient(operation: libc::c_int, capability: u32, name: &str) -> Result<()> {
    // SAFETY: integers only.
    let returned = unsafe {
        libc::prctl(
            libc::PR_CAP_AMBIENT,
            operation as libc::c_ulong,
            libc::c_ulong::from(capability),
            0 as libc::c_ulong,
            0 as libc::c_ulong,
        )
    };
    check(libc::c_long::from(returned), || format!("prctl(PR_CAP_AMBIENT, {name}, {capability})")).map(drop)
}

/// Empties the ambient set.
pub fn clear_ambient() -> Result<()> {
    ambient(libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, "PR_CAP_AMBIENT_CLEAR_ALL")
}

/// Adds a capability, which must be permitted and inheritable, to the ambient set.
pub fn raise_ambient(capability: u32) -> Result<()> {
    ambient(libc::PR_CAP_AMBIENT_RAISE, capability, "PR_CAP_AMBIENT_RAISE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_what_proc_says() {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap();
        assert_eq!(get().unwrap().effective, u64::from_str_radix(line.trim(), 16).unwrap());
        assert_eq!(in_bounding_set(63), None);
    }

    #[test]
    fn a_dropped_effective_set_is_gone() {
        std::thread::spawn(|| {
            let before = get().unwrap();
            set(Sets { effective: 0, ..before }).unwrap();
            assert_eq!(get().unwrap(), Sets { effective: 0, ..before });
        })
        .join()
        .unwrap();
    }
}
