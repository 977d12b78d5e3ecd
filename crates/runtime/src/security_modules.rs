// SPDX-License-Identifier: Apache-2.0
//! Whether this kernel's security modules are there and enabled. Asked only where a spec has a label for one.

use std::path::Path;

use oci::runtime_spec::{Linux, Process};

/// `SELINUX_MAGIC` (linux/magic.h).
const SELINUX_MAGIC: u64 = 0xf97c_ff8c;

/// Whether AppArmor is enabled, and whether SELinux is: each false when nothing asks for it.
pub(crate) fn security_modules(process: Option<&Process>, linux: Option<&Linux>) -> (bool, bool) {
    let given = |text: Option<&String>| text.is_some_and(|text| !text.is_empty());
    let profile = given(process.and_then(|process| process.apparmor_profile().as_ref()));
    let context = given(process.and_then(|process| process.selinux_label().as_ref()))
        || given(linux.and_then(|linux| linux.mount_label().as_ref()));
    (profile && apparmor(), context && selinux())
}

/// As libapparmor asks: securityfs has its directory, and the module's parameter says yes.
fn apparmor() -> bool {
    Path::new("/sys/kernel/security/apparmor").exists()
        && std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
}

/// As libselinux asks: selinuxfs is mounted. A kernel that has no policy yet calls every process `kernel`.
fn selinux() -> bool {
    let mounted = rustix::fs::statfs("/sys/fs/selinux")
        .is_ok_and(|statfs| u64::try_from(statfs.f_type).is_ok_and(|found| found == SELINUX_MAGIC));
    mounted && std::fs::read("/proc/self/attr/current").is_ok_and(|text| !text.starts_with(b"kernel"))
}
