// SPDX-License-Identifier: Apache-2.0
//! What a filter can answer: the values of seccomp(2), "Return values".

use oci::runtime_spec::LinuxSeccompAction;

pub(crate) const KILL_PROCESS: u32 = 0x8000_0000;
pub(crate) const KILL_THREAD: u32 = 0;
pub(crate) const TRAP: u32 = 0x0003_0000;
pub(crate) const ERRNO: u32 = 0x0005_0000;
pub(crate) const USER_NOTIF: u32 = 0x7fc0_0000;
pub(crate) const TRACE: u32 = 0x7ff0_0000;
pub(crate) const LOG: u32 = 0x7ffc_0000;
pub(crate) const ALLOW: u32 = 0x7fff_0000;

/// The largest error number the kernel passes on; it cuts larger ones down to this.
pub(crate) const MAX_ERRNO: u32 = 4095;

/// `EPERM`: what a forbidden call returns when the profile does not say.
pub(crate) const EPERM: u32 = 1;
/// `ENOSYS`: what a call returns that does not exist.
pub(crate) const ENOSYS: u32 = 38;

/// The value for `action`. `data` is the error number of ERRNO, or what a tracer is told by TRACE, EPERM by
/// default for both; the other actions have none. `None` when it does not fit.
pub(crate) fn value(action: LinuxSeccompAction, data: Option<u32>) -> Option<u32> {
    let data = data.unwrap_or(EPERM);
    Some(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => KILL_THREAD,
        LinuxSeccompAction::ScmpActKillProcess => KILL_PROCESS,
        LinuxSeccompAction::ScmpActTrap => TRAP,
        LinuxSeccompAction::ScmpActErrno if data <= MAX_ERRNO => ERRNO | data,
        LinuxSeccompAction::ScmpActTrace if data <= 0xffff => TRACE | data,
        LinuxSeccompAction::ScmpActErrno | LinuxSeccompAction::ScmpActTrace => return None,
        LinuxSeccompAction::ScmpActNotify => USER_NOTIF,
        LinuxSeccompAction::ScmpActLog => LOG,
        LinuxSeccompAction::ScmpActAllow => ALLOW,
    })
}
