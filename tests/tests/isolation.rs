// SPDX-License-Identifier: Apache-2.0
//! Isolation on this machine's cgroup version. The vm lane runs the same checks on pure v2.

use end_to_end::isolation;
use testkit::Daemon;

#[test]
fn every_namespace_is_its_own() {
    isolation::every_namespace_is_its_own();
}

#[test]
fn the_command_is_process_one_and_sees_no_other() {
    isolation::the_command_is_process_one_and_sees_no_other();
}

#[test]
fn capabilities_are_dockers_default_set() {
    isolation::capabilities_are_dockers_default_set();
}

#[test]
fn the_seccomp_filter_is_on_and_forbids() {
    isolation::the_seccomp_filter_is_on_and_forbids();
}

#[test]
fn kernel_paths_are_masked_and_read_only() {
    isolation::kernel_paths_are_masked_and_read_only();
}

#[test]
fn a_device_made_inside_cannot_be_opened() {
    let daemon = Daemon::with_busybox();
    let made = daemon.corten(&["run", "--rm", "busybox", "sh", "-c", "mknod /tmp/disk b 7 0 && head -c 1 /tmp/disk"]);
    assert!(made.code != 0 && made.stderr.contains("not permitted"), "{made}");
    let usual =
        "echo x > /dev/null && head -c 1 /dev/zero > /dev/null && head -c 1 /dev/urandom > /dev/null && echo fine";
    assert_eq!(daemon.ok(&["run", "--rm", "busybox", "sh", "-c", usual]), "fine");
}

#[test]
fn a_read_only_root_takes_no_file_and_a_volume_still_does() {
    let daemon = Daemon::with_busybox();
    let volume = daemon.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    let bind = format!("{}:/data", volume.display());
    for path in ["/file", "/tmp/file", "/etc/passwd"] {
        let refused =
            daemon.corten(&["run", "--rm", "--read-only", "busybox", "sh", "-c", &format!("echo x > {path}")]);
        assert!(refused.code != 0 && refused.stderr.contains("Read-only file system"), "{path}: {refused}");
    }
    daemon.ok(&["run", "--rm", "--read-only", "-v", &bind, "busybox", "sh", "-c", "echo kept > /data/file"]);
    assert_eq!(std::fs::read_to_string(volume.join("file")).unwrap(), "kept\n");
}

#[test]
fn a_profile_of_the_users_own_is_installed() {
    let daemon = Daemon::with_busybox();
    let profile = daemon.path().join("profile.json");
    let text =
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}"#;
    std::fs::write(&profile, text).unwrap();
    let option = format!("seccomp={}", profile.display());
    let refused = daemon.corten(&["run", "--rm", "--security-opt", &option, "busybox", "mkdir", "/tmp/new"]);
    assert!(refused.code != 0 && refused.stderr.contains("not permitted"), "{refused}");
    daemon.ok(&["run", "--rm", "busybox", "mkdir", "/tmp/new"]);
}
