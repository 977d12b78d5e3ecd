// SPDX-License-Identifier: Apache-2.0
//! The container's files: mounts, masks, devices, what is read-only.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::json;

use crate::bundle::Bundle;

#[test]
fn masked_paths_give_nothing() {
    let script = "cat /proc/keys /proc/timer_list /proc/kcore; ls -A /sys/firmware /proc/acpi; touch /sys/firmware/x";
    let ran = Bundle::script(script).run();
    let listed: Vec<&str> = ran.out.lines().filter(|line| !line.is_empty() && !line.ends_with(':')).collect();
    assert_eq!(listed, Vec::<&str>::new());
    assert!(ran.err.contains("Read-only file system"), "{}", ran.err);
    // They are there to be masked: outside, they are not empty.
    assert!(!fs::read("/proc/timer_list").unwrap().is_empty());
    assert!(fs::read_dir("/sys/firmware").unwrap().next().is_some());
}

#[test]
fn read_only_paths_cannot_be_written() {
    let caps = json!(["CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_DAC_OVERRIDE"]);
    let sets = json!({ "bounding": caps, "effective": caps, "permitted": caps });
    let script = "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /sys/kernel/profiling; chmod 700 /proc/bus";
    let ran = Bundle::script(script).set("/process/capabilities", sets).run();
    assert_eq!(ran.err.matches("Read-only file system").count(), 3, "{}", ran.err);
}

#[test]
fn a_masked_path_that_does_not_exist_is_no_error() {
    Bundle::new(&["true"]).set("/linux/maskedPaths/-", json!("/proc/no/such/path")).run().ok();
}

#[test]
fn the_root_is_read_only_when_it_shall_be() {
    let read_only = Bundle::script("touch /file");
    read_only.run().fails(1, "Read-only file system");
    assert!(!read_only.rootfs("file").exists());
    let writable = Bundle::script("touch /file").set("/root/readonly", json!(false));
    writable.run().ok();
    assert!(writable.rootfs("file").exists());
}

#[test]
fn binds_keep_to_their_flags() {
    let bundle = Bundle::script("cat /data/file; touch /data/new; touch /data2/new && /data2/program; cat /one");
    let shared = bundle.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("file"), "from the host\n").unwrap();
    fs::write(shared.join("program"), "#!/bin/sh\necho executed\n").unwrap();
    fs::set_permissions(shared.join("program"), fs::Permissions::from_mode(0o755)).unwrap();
    let mount = |destination: &str, source: &std::path::Path, options: &[&str]| json!({ "destination": destination, "type": "bind", "source": source, "options": options });
    let bundle = bundle
        .set("/mounts/-", mount("/data", &shared, &["rbind", "ro", "rprivate"]))
        .set("/mounts/-", mount("/data2", &shared, &["bind", "noexec", "nosuid", "nodev"]))
        .set("/mounts/-", mount("/one", &shared.join("file"), &["bind", "ro"]));
    let ran = bundle.run();
    assert_eq!(ran.out, "from the host\nfrom the host\n");
    assert!(ran.err.contains("/data/new: Read-only file system"), "{}", ran.err);
    assert!(ran.err.contains("Permission denied"), "{}", ran.err);
    assert!(shared.join("new").exists());
}

#[test]
fn recursive_read_only_reaches_what_is_mounted_below() {
    for (option, inner_is_writable) in [("ro", true), ("rro", false)] {
        let bundle = Bundle::script("touch /data/x; touch /data/below/x && echo written");
        let (outer, below) = (bundle.path().join("shared"), bundle.path().join("shared/below"));
        fs::create_dir_all(&below).unwrap();
        let mount = json!({ "destination": "/data", "type": "bind", "source": outer, "options": ["rbind", option] });
        let bundle = bundle.set("/mounts/-", mount);
        // The inner mount is made in a mount namespace that ends with the run.
        let mut command = std::process::Command::new("unshare");
        let oci = bundle.command(&["run", &bundle.id]);
        command.args(["-m", "sh", "-c", "mount -t tmpfs tmpfs \"$0\" && exec \"$@\""]).arg(&below);
        command.arg(oci.get_program()).args(oci.get_args()).current_dir(bundle.path());
        let ran = bundle.finish(command);
        assert!(ran.err.contains("/data/x: Read-only file system"), "{}", ran.err);
        assert_eq!(ran.out.contains("written"), inner_is_writable, "{option}: {}{}", ran.out, ran.err);
    }
}

#[test]
fn default_devices_and_links_are_there() {
    let script = "for d in null zero full random urandom tty; do stat -c '%n %t:%T %a' /dev/$d; done;
        for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done; echo x > /dev/null; cat /dev/null";
    let expected = "/dev/null 1:3 666\n/dev/zero 1:5 666\n/dev/full 1:7 666\n/dev/random 1:8 666\n\
        /dev/urandom 1:9 666\n/dev/tty 5:0 666\n/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n";
    assert_eq!(Bundle::script(script).run().ok(), expected);
}

#[test]
fn a_tmpfs_takes_its_directorys_mode() {
    let bundle = Bundle::script("stat -c %a /tmp").set("/mounts/-", json!({ "destination": "/tmp", "type": "tmpfs" }));
    fs::set_permissions(bundle.rootfs("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    assert_eq!(bundle.run().ok(), "1777\n");
}

#[test]
fn a_source_that_does_not_exist_is_named() {
    let bind = json!({ "destination": "/x", "type": "bind", "source": "/no/such/source", "options": ["bind"] });
    let bundle = Bundle::new(&["true"]).set("/mounts/-", bind);
    bundle.run().fails(1, "/no/such/source");
    bundle.left_nothing();
}

#[test]
fn nothing_of_the_hosts_mounts_is_left_inside() {
    let out = Bundle::script("cat /proc/self/mountinfo").run().ok();
    let roots = out.lines().filter(|line| line.split(' ').nth(4) == Some("/")).count();
    assert_eq!(roots, 1, "{out}");
    assert!(!out.contains("shared:"), "{out}");
}

#[test]
fn links_in_the_image_do_not_lead_mounts_out() {
    let outside = tempfile::tempdir().unwrap();
    let bundle = Bundle::script("cat /escape/d/file /linked/x /proc/mounts")
        .set("/mounts/-", json!({ "destination": "/escape/d", "type": "tmpfs", "source": "tmpfs" }));
    let source = bundle.path().join("file");
    fs::write(&source, "bound\n").unwrap();
    symlink(outside.path(), bundle.rootfs("escape")).unwrap();
    symlink("../../../../../../../../etc", bundle.rootfs("linked")).unwrap();
    let bundle = bundle
        .set("/mounts/-", json!({ "destination": "/linked/x", "type": "bind", "source": source, "options": ["bind"] }));
    let ran = bundle.run();
    assert!(ran.out.starts_with("bound\n"), "{}{}", ran.out, ran.err);
    let inside = format!("tmpfs {}/d tmpfs", outside.path().display());
    assert!(ran.out.contains(&inside), "{}", ran.out);
    assert!(fs::read_dir(outside.path()).unwrap().next().is_none());
    assert!(!std::path::Path::new("/etc/x").exists());
}

#[test]
fn proc_and_sys_must_not_be_links() {
    for name in ["proc", "sys"] {
        let bundle = Bundle::new(&["true"]);
        fs::remove_dir(bundle.rootfs(name)).unwrap();
        symlink("/tmp", bundle.rootfs(name)).unwrap();
        bundle.run().fails(1, "ELOOP");
        bundle.left_nothing();
    }
}

#[test]
fn a_link_into_proc_is_no_mount_point() {
    let mount = json!({ "destination": "/way", "type": "tmpfs", "source": "tmpfs" });
    let bundle = Bundle::new(&["true"]).set("/mounts/-", mount);
    symlink("/proc/sys", bundle.rootfs("way")).unwrap();
    bundle.run().fails(1, "leads into procfs");
}
