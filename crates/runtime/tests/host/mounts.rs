// SPDX-License-Identifier: Apache-2.0
//! What is mounted, how, and what cannot be.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;

use serde_json::{Value, json};

use crate::bundle::Bundle;

/// The attributes of what is mounted at `path`, from the container's own list.
fn options(out: &str, path: &str) -> String {
    let line = out.lines().rfind(|line| line.split(' ').nth(4) == Some(path));
    line.unwrap_or_else(|| panic!("nothing on {path} in:\n{out}")).split(' ').nth(5).unwrap().to_owned()
}

fn mounted(mounts: &[Value]) -> String {
    let bundle = mounts
        .iter()
        .fold(Bundle::script("cat /proc/self/mountinfo"), |bundle, mount| bundle.set("/mounts/-", mount.clone()));
    let out = bundle.run().ok();
    bundle.left_nothing();
    out
}

/// Runs the container from a mount namespace where `before` was done first, and `after` afterwards.
fn in_own_mounts(bundle: &Bundle, before: &str, after: &str) -> String {
    let oci = bundle.command(&["run", &bundle.id]);
    let words: Vec<String> = std::iter::once(oci.get_program())
        .chain(oci.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    let script = format!("set -e; {before}; {}; {after}", words.join(" "));
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script]).current_dir(bundle.path());
    bundle.finish(command).ok()
}

#[test]
fn a_bind_mount_takes_exactly_the_attributes_it_names() {
    let tmpfs = json!({ "destination": "/src", "type": "tmpfs", "options": ["nosuid", "noexec", "noatime"] });
    let out = mounted(&[tmpfs]);
    assert_eq!(options(&out, "/src"), "rw,nosuid,noexec,noatime");
    for (given, expected) in [
        (&["bind"][..], "rw,nosuid,nodev,noexec,relatime"),
        (&["bind", "rw"], "rw,relatime"),
        (&["bind", "ro"], "ro,relatime"),
        (&["bind", "nodev", "noatime"], "rw,nodev,noatime"),
        (&["rbind", "rro"], "ro,nosuid,nodev,noexec,relatime"),
    ] {
        let bundle = Bundle::script("cat /proc/self/mountinfo");
        let bind = json!({ "destination": "/y", "source": "source", "options": given });
        let bundle = bundle.set("/mounts/-", bind);
        let before = "mkdir source; mount -t tmpfs -o nosuid,nodev,noexec source source";
        assert_eq!(options(&in_own_mounts(&bundle, before, "true"), "/y"), expected, "{given:?}");
    }
    for (option, expected) in [("atime", "rw,noatime"), ("relatime", "rw,relatime"), ("strictatime", "rw")] {
        let bind = json!({ "destination": "/y", "source": "source", "options": ["bind", option] });
        let bundle = Bundle::script("cat /proc/self/mountinfo").set("/mounts/-", bind);
        let before = "mkdir source; mount -t tmpfs -o noatime source source";
        assert_eq!(options(&in_own_mounts(&bundle, before, "true"), "/y"), expected, "{option}");
    }
}

#[test]
fn options_of_the_file_system_reach_it_and_those_without_effect_do_not() {
    let all = ["sync", "dirsync", "lazytime", "iversion", "silent", "loud", "noiversion", "size=64k", "mode=0710"];
    let out = mounted(&[json!({ "destination": "/x", "type": "tmpfs", "options": all })]);
    let line = out.lines().find(|line| line.split(' ').nth(4) == Some("/x")).unwrap();
    for option in ["sync", "dirsync", "lazytime", "size=64k", "mode=710"] {
        assert!(line.contains(option), "{line}");
    }
    let bundle = Bundle::new(&["true"])
        .set("/mounts/-", json!({ "destination": "/x", "type": "tmpfs", "options": ["no_such_option=1"] }));
    bundle.run().fails(1, "mounts[7]: mount tmpfs on /x no_such_option=1: fsconfig").fails(1, "no_such_option");
    bundle.left_nothing();
}

#[test]
fn a_mount_is_remounted_where_it_is() {
    let tmpfs = json!({ "destination": "/x", "type": "tmpfs", "options": ["size=64k", "nosuid"] });
    let again = json!({ "destination": "/x", "type": "tmpfs", "options": ["remount", "size=128k", "ro", "nodev"] });
    let out = mounted(&[tmpfs, again]);
    assert_eq!(out.lines().filter(|line| line.split(' ').nth(4) == Some("/x")).count(), 1, "{out}");
    assert_eq!(options(&out, "/x"), "ro,nodev,relatime");
    assert!(out.contains("size=128k"), "{out}");
}

#[test]
fn propagations_are_applied_one_after_the_other() {
    let mount = |options: Value| json!({ "destination": "/x", "type": "tmpfs", "options": options });
    let tags = |out: &str| {
        let line = out.lines().find(|line| line.split(' ').nth(4) == Some("/x")).unwrap().to_owned();
        line.split(' ')
            .skip(6)
            .take_while(|word| *word != "-")
            .map(|tag| tag.split(':').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(tags(&mounted(&[mount(json!(["shared"]))])), ["shared"]);
    assert_eq!(tags(&mounted(&[mount(json!(["shared", "private"]))])), Vec::<String>::new());
    assert_eq!(tags(&mounted(&[mount(json!(["unbindable"]))])), ["unbindable"]);
}

#[test]
fn files_sockets_and_devices_are_bound_on_files_that_are_made() {
    let bundle = Bundle::script("cat /made/file; echo x > /made/null; [ -S /made/socket ] && stat -c %t:%T /made/null");
    fs::write(bundle.path().join("file"), "content\n").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(bundle.path().join("socket")).unwrap();
    let bind = |to: &str, from: &str| json!({ "destination": to, "source": from, "options": ["bind"] });
    let bundle = bundle
        .set("/mounts/-", bind("/made/file", "file"))
        .set("/mounts/-", bind("made/socket", "socket"))
        .set("/mounts/-", bind("/made/null", "/dev/null"));
    assert_eq!(bundle.run().ok(), "content\n1:3\n");
    let wrong = Bundle::new(&["true"]).set("/mounts/-", bind("/bin", "config.json"));
    wrong.run().fails(1, "mounts[7]: bind").fails(1, "/bin");
    let missing = Bundle::new(&["true"]).set("/mounts/-", bind("/x", "/no/such/source"));
    missing.run().fails(1, "mounts[7]: bind /no/such/source on /x");
    missing.left_nothing();
}

#[test]
fn mounts_are_nested_in_order_even_in_what_is_read_only_in_the_end() {
    let out = mounted(&[
        json!({ "destination": "/outer", "type": "tmpfs", "options": ["ro"] }),
        json!({ "destination": "/outer/a/inner", "type": "tmpfs", "options": ["nosuid"] }),
        json!({ "destination": "/outer/a/inner/most", "type": "tmpfs" }),
    ]);
    assert_eq!(options(&out, "/outer"), "ro,relatime");
    assert_eq!(options(&out, "/outer/a/inner"), "rw,nosuid,relatime");
    options(&out, "/outer/a/inner/most");
}

#[test]
fn a_bound_dev_is_taken_as_it_is() {
    let mut bundle = Bundle::script("ls /dev/marker; ls /dev/fd 2>&1");
    fs::create_dir(bundle.path().join("dev")).unwrap();
    fs::write(bundle.path().join("dev/marker"), "").unwrap();
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    mounts.push(json!({ "destination": "/dev", "source": "dev", "type": "none", "options": ["bind"] }));
    let ran = bundle.run();
    assert!(ran.out.starts_with("/dev/marker\n") && ran.out.contains("No such file"), "{ran:?}");
    assert_eq!(fs::read_dir(bundle.path().join("dev")).unwrap().count(), 1);
}

/// What is mounted in a shared volume arrives at the host; what is mounted elsewhere does not, and nothing of the host's
/// is unmounted when the container lets go of it.
#[test]
fn a_shared_root_lets_a_shared_volume_spread_to_the_host() {
    let script = "mount -t tmpfs in /volume/in && mount -t tmpfs other /tmp && echo mounted";
    let sets = json!(["CAP_SYS_ADMIN"]);
    let bundle = Bundle::script(script)
        .set("/process/capabilities", json!({ "bounding": sets, "effective": sets, "permitted": sets }))
        .set("/root/readonly", json!(false))
        .set("/linux/rootfsPropagation", json!("shared"));
    let volume = bundle.path().join("volume");
    let bind = json!({ "destination": "/volume", "source": volume, "options": ["rbind", "rshared"] });
    let bundle = bundle.set("/mounts/-", bind);
    let volume = volume.display();
    let before = format!(
        "mount --make-rshared /; mkdir '{volume}'; mount -t tmpfs volume '{volume}'; mkdir '{volume}/in';
        sed 's/^[0-9]* [0-9]* //' /proc/self/mountinfo | sort > before"
    );
    let after = "sed 's/^[0-9]* [0-9]* //' /proc/self/mountinfo | sort > after; diff before after || true";
    let out = in_own_mounts(&bundle, &before, after);
    let changes: Vec<&str> = out.lines().filter(|line| line.starts_with(['<', '>'])).collect();
    assert!(out.starts_with("mounted\n"), "{out}");
    assert_eq!(changes.len(), 1, "{out}");
    assert!(changes[0].starts_with('>') && changes[0].contains("/volume/in "), "{out}");
}

#[test]
fn a_copied_up_tmpfs_holds_what_it_covers() {
    let script = "cd /data && echo gone > sub/file && stat -c '%n %a %u:%g %h %Y' sub sub/other link fifo sub/file &&
        readlink link && cat sub/other && stat -c %a:%u .";
    let bundle = Bundle::script(script);
    let data = bundle.rootfs("data");
    fs::create_dir_all(data.join("sub")).unwrap();
    fs::write(data.join("sub/file"), "original").unwrap();
    fs::hard_link(data.join("sub/file"), data.join("hard")).unwrap();
    fs::write(data.join("sub/other"), "other\n").unwrap();
    symlink("/etc/passwd", data.join("link")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        data.join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    std::os::unix::fs::chown(data.join("sub/other"), Some(5), Some(6)).unwrap();
    fs::set_permissions(data.join("sub/other"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::set_permissions(data.join("sub"), fs::Permissions::from_mode(0o1777)).unwrap();
    std::os::unix::fs::chown(&data, Some(7), None).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o750)).unwrap();
    let then = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    fs::File::options().write(true).open(data.join("sub/other")).unwrap().set_modified(then).unwrap();
    let mount = json!({ "destination": "/data", "type": "tmpfs", "options": ["tmpcopyup", "size=1m"] });
    let bundle = bundle.set("/mounts/-", mount);
    let out = bundle.run().ok();
    assert!(out.contains("sub/other 4755 5:6 1 1000000\n"), "{out}");
    assert!(out.contains("sub 1777 0:0 "), "{out}");
    assert!(out.contains("sub/file 644 0:0 2 "), "{out}");
    assert!(out.contains("fifo 600 0:0 1 "), "{out}");
    assert!(out.ends_with("/etc/passwd\nother\n750:7\n"), "{out}");
    // What is covered is untouched.
    assert_eq!(fs::read_to_string(data.join("sub/file")).unwrap(), "original");
    assert_eq!(fs::metadata(data.join("hard")).unwrap().nlink(), 2);
}

/// A link in the place of a directory leads to what it leads to inside; the host's files are not copied.
#[test]
fn copying_up_follows_no_link_out_and_ends_with_the_space() {
    let bundle = Bundle::script("ls /data").set("/root/readonly", json!(false));
    fs::create_dir(bundle.rootfs("inside")).unwrap();
    fs::write(bundle.rootfs("inside/marker"), "").unwrap();
    symlink("../../../inside", bundle.rootfs("data")).unwrap();
    let mount = |options: Value| json!({ "destination": "/data", "type": "tmpfs", "options": options });
    let bundle = bundle.set("/mounts/-", mount(json!(["tmpcopyup"])));
    assert_eq!(bundle.run().ok(), "marker\n");
    let full = Bundle::new(&["true"]).set("/mounts/-", mount(json!(["tmpcopyup", "size=64k"])));
    fs::create_dir(full.rootfs("data")).unwrap();
    fs::write(full.rootfs("data/large"), vec![1; 256 * 1024]).unwrap();
    full.run().fails(1, "mounts[7]: mount tmpfs on /data").fails(1, "ENOSPC");
    full.left_nothing();
}
