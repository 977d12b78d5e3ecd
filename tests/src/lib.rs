// SPDX-License-Identifier: Apache-2.0
//! Checks that hold on every cgroup version: the host lane runs them on this machine, the vm lane on pure v2.

/// Every check that both lanes run, by name.
pub const CHECKS_ON_BOTH_CGROUP_VERSIONS: &[(&str, fn())] = &[("says_its_version", says_its_version)];

/// The binary starts at all.
pub fn says_its_version() {
    let output = testkit::process::command("corten").arg("--version").output().expect("corten starts");
    assert!(output.status.success(), "{output:?}");
}
