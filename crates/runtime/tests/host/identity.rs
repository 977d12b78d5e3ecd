// SPDX-License-Identifier: Apache-2.0
//! Who the process is and what it may.

use std::fs;

use serde_json::json;

use crate::bundle::Bundle;

fn status(script: &str) -> String {
    format!("{script}; grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp:|Umask)' /proc/self/status")
}

fn field<'a>(out: &'a str, name: &str) -> &'a str {
    let line = out.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in:\n{out}")).trim()
}

#[test]
fn user_groups_mask_and_home_are_what_was_asked_for() {
    let user = json!({ "uid": 1000, "gid": 1001, "umask": 0o027, "additionalGids": [4, 24] });
    let out = Bundle::script(&status("echo HOME=$HOME")).set("/process/user", user).run().ok();
    assert_eq!(field(&out, "Uid"), "1000\t1000\t1000\t1000");
    assert_eq!(field(&out, "Gid"), "1001\t1001\t1001\t1001");
    assert_eq!(field(&out, "Groups"), "4 24");
    assert_eq!(field(&out, "Umask"), "0027");
    assert!(out.contains("HOME=/home/user\n"), "{out}");
}

#[test]
fn all_five_capability_sets_are_exact() {
    let sets = json!({
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"], "permitted": ["CAP_CHOWN", "CAP_KILL"],
        "effective": ["CAP_KILL"], "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"]
    });
    // For another user than root, execve leaves what is ambient; the bounding set is not touched.
    let bundle =
        Bundle::script(&status("true")).set("/process/capabilities", sets).set("/process/user/uid", json!(1000));
    let out = bundle.run().ok();
    for (name, expected) in [("CapBnd", 0x2021), ("CapPrm", 0x20), ("CapEff", 0x20), ("CapInh", 0x20), ("CapAmb", 0x20)]
    {
        assert_eq!(u64::from_str_radix(field(&out, name), 16).unwrap(), expected, "{name}");
    }
}

#[test]
fn without_capabilities_there_are_none() {
    let out = Bundle::script(&status("true")).set("/process/capabilities", json!({})).run().ok();
    for name in ["CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb"] {
        assert_eq!(u64::from_str_radix(field(&out, name), 16).unwrap(), 0, "{name}");
    }
}

#[test]
fn the_filter_is_installed_with_and_without_new_privileges() {
    let filter = json!({ "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 122 }] });
    for no_new_privileges in [true, false] {
        let out = Bundle::script(&status("mkdir /dev/shm/x 2>&1"))
            .set("/linux/seccomp", filter.clone())
            .set("/process/noNewPrivileges", json!(no_new_privileges))
            .run()
            .ok();
        assert_eq!(field(&out, "Seccomp"), "2");
        assert_eq!(field(&out, "NoNewPrivs"), if no_new_privileges { "1" } else { "0" });
        assert!(out.contains("quota exceeded"), "{out}");
        // CAP_SYS_ADMIN, which installing it may need, is gone again.
        assert_eq!(u64::from_str_radix(field(&out, "CapPrm"), 16).unwrap() & (1 << 21), 0);
    }
}

#[test]
fn limits_are_lowered_and_those_that_cannot_be_raised_are_told() {
    let limit = |kind: &str, soft: u64, hard: u64| json!({ "type": kind, "soft": soft, "hard": hard });
    let bundle = Bundle::script("ulimit -n; ulimit -Hn; ulimit -c");
    let lowered = bundle.set("/process/rlimits", json!([limit("RLIMIT_NOFILE", 100, 200), limit("RLIMIT_CORE", 0, 0)]));
    assert_eq!(lowered.run().ok(), "100\n200\n0\n");
    // This machine's root may lack CAP_SYS_RESOURCE; then, and only then, a warning says what was not raised.
    let raised =
        Bundle::script("ulimit -Hn").set("/process/rlimits", json!([limit("RLIMIT_NOFILE", 1 << 30, 1 << 30)]));
    let ran = raised.run();
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let reached = ran.out.trim() == (1_u64 << 30).to_string();
    assert_ne!(reached, ran.err.contains("RLIMIT_NOFILE is not raised"), "{}{}", ran.out, ran.err);
}

#[test]
fn the_working_directory_is_entered_and_made_when_missing() {
    assert_eq!(Bundle::new(&["pwd"]).set("/process/cwd", json!("/tmp")).run().ok(), "/tmp\n");
    let missing = Bundle::new(&["pwd"]).set("/process/cwd", json!("/no/such"));
    assert_eq!(missing.run().ok(), "/no/such\n");
    assert!(missing.rootfs("no/such").is_dir());
    let file = Bundle::new(&["pwd"]).set("/process/cwd", json!("/bin/busybox"));
    file.run().fails(1, "working directory /bin/busybox");
    file.left_nothing();
}

#[test]
fn the_oom_score_and_the_session_are_its_own() {
    let script = "cat /proc/self/oom_score_adj; cut -d' ' -f6 /proc/1/stat 2>/dev/null || cat /proc/1/stat";
    let out = Bundle::script(script).set("/process/oomScoreAdj", json!(500)).run().ok();
    assert!(out.starts_with("500\n"), "{out}");
    let session = out.lines().nth(1).unwrap();
    assert!(session == "1" || session.split(' ').nth(5) == Some("1"), "{out}");
}

#[test]
fn signals_are_as_a_fresh_program_expects_them() {
    let bundle = Bundle::new(&["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]);
    // Our caller ignores and Rust's runtime ignores; neither may be inherited.
    let mut command = std::process::Command::new("sh");
    let oci = bundle.command(&["run", &bundle.id]);
    let words: Vec<String> = std::iter::once(oci.get_program())
        .chain(oci.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    command.args(["-c", &format!("trap '' HUP PIPE USR1; exec {}", words.join(" "))]).current_dir(bundle.path());
    let out = bundle.finish(command).ok();
    assert_eq!(out, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

#[test]
fn a_missing_capability_of_the_launcher_is_a_warning_only() {
    let all = json!(["CAP_SYS_RESOURCE", "CAP_CHOWN"]);
    let sets = json!({ "bounding": all, "effective": all, "permitted": all });
    let ran = Bundle::script(&status("true")).set("/process/capabilities", sets).run();
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let has = u64::from_str_radix(field(&ran.out, "CapEff"), 16).unwrap() & (1 << 24) != 0;
    assert_ne!(has, ran.err.contains("without CAP_SYS_RESOURCE"), "{}", ran.err);
    assert!(fs::exists("/proc/self/status").unwrap());
}

/// The second start reads the filter that the first compiled; one that is not as it was written is compiled anew.
#[test]
fn a_kept_filter_decides_as_the_one_that_was_compiled() {
    let filter = json!({ "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 122 }] });
    let bundle = Bundle::script("mkdir /dev/shm/x 2>&1; true").set("/linux/seccomp", filter);
    let kept = || {
        let list = fs::read_dir(bundle.path().join("state/filters~")).unwrap();
        list.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    assert!(bundle.run().ok().contains("quota exceeded"));
    let [file] = &kept()[..] else { panic!("{:?}", kept()) };
    let whole = fs::read(file).unwrap();
    let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(file).unwrap());
    assert!(bundle.run().ok().contains("quota exceeded"));
    assert_eq!(std::os::unix::fs::MetadataExt::ino(&fs::metadata(file).unwrap()), inode, "written once");
    fs::write(file, &whole[..whole.len() - 8]).unwrap();
    assert!(bundle.run().ok().contains("quota exceeded"));
    assert_eq!(fs::read(file).unwrap(), whole);
    assert_eq!(kept().len(), 1);
    assert_eq!(bundle.oci(&["list", "--quiet"]).ok(), "");
}
