// SPDX-License-Identifier: Apache-2.0
//! What keeps a container from its host, flag by flag; and values that are meant to get past it.

use testkit::Daemon;

/// Docker's default capabilities.
const DEFAULT: u64 = 0xa804_25fb;

/// A field of a status file that a container printed.
#[track_caller]
fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("there is no {name}: {text}")).trim()
}

#[track_caller]
fn status(daemon: &Daemon, flags: &[&str]) -> String {
    daemon.ok(&[&["run", "--rm"], flags, &["busybox", "cat", "/proc/self/status"]].concat())
}

#[test]
fn each_flag_allows_what_it_says_and_nothing_more() {
    let daemon = Daemon::with_busybox();
    let of = |flags: &[&str]| {
        let status = status(&daemon, flags);
        let set = |name| u64::from_str_radix(field(&status, name), 16).unwrap();
        let state = (field(&status, "Seccomp").to_owned(), field(&status, "NoNewPrivs").to_owned());
        (set("CapEff"), set("CapBnd"), set("CapInh") | set("CapAmb"), state)
    };
    let state = |seccomp: &str, no_new: &str| (seccomp.to_owned(), no_new.to_owned());
    assert_eq!(of(&[]), (DEFAULT, DEFAULT, 0, state("2", "0")));
    assert_eq!(of(&["--cap-drop", "ALL"]), (0, 0, 0, state("2", "0")));
    assert_eq!(of(&["--cap-drop", "ALL", "--cap-add", "CHOWN"]), (1, 1, 0, state("2", "0")));
    let admin = DEFAULT | 1 << 21;
    assert_eq!(of(&["--cap-add", "sys_admin"]), (admin, admin, 0, state("2", "0")));
    assert_eq!(of(&["--user", "worker"]), (0, DEFAULT, 0, state("2", "0")));
    assert_eq!(of(&["--security-opt", "no-new-privileges"]), (DEFAULT, DEFAULT, 0, state("2", "1")));
    assert_eq!(of(&["--security-opt", "seccomp=unconfined"]), (DEFAULT, DEFAULT, 0, state("0", "0")));
    daemon.fails(&["run", "--rm", "--cap-add", "EVERYTHING", "busybox", "true"], 125).saying("EVERYTHING");
}

#[test]
fn the_kernels_interfaces_are_hidden_until_somebody_asks() {
    let daemon = Daemon::with_busybox();
    let mounts =
        |flags: &[&str]| daemon.ok(&[&["run", "--rm"], flags, &["busybox", "cat", "/proc/self/mountinfo"]].concat());
    let writable = |mounts: &str, place: &str| {
        let line = mounts.lines().find(|line| line.split(' ').nth(4) == Some(place));
        let line = line.unwrap_or_else(|| panic!("nothing is mounted at {place}: {mounts}"));
        line.split(' ').nth(5).is_some_and(|options| options.split(',').any(|option| option == "rw"))
    };
    let usual = mounts(&[]);
    assert!(usual.contains(" /proc/timer_list ") && !writable(&usual, "/proc/sys"), "{usual}");
    assert!(!writable(&usual, "/sys") && !writable(&usual, "/sys/fs/cgroup"), "{usual}");
    let unconfined = mounts(&["--security-opt", "systempaths=unconfined"]);
    assert!(!unconfined.contains(" /proc/timer_list ") && !unconfined.contains(" /proc/sys "), "{unconfined}");
    assert!(!writable(&unconfined, "/sys"), "{unconfined}");
    let groups = mounts(&["--security-opt", "writable-cgroups=true"]);
    assert!(writable(&groups, "/sys/fs/cgroup") && !writable(&groups, "/sys"), "{groups}");
    let privileged = mounts(&["--privileged"]);
    assert!(writable(&privileged, "/sys") && !privileged.contains(" /proc/timer_list "), "{privileged}");
}

#[test]
fn values_with_more_in_them_are_values() {
    let daemon = Daemon::with_busybox();
    let value = "SPLIT=one\nSECOND=two";
    let seen =
        daemon.ok(&["run", "--rm", "-e", value, "busybox", "sh", "-c", "echo \"${SECOND-none}\"; echo \"$SPLIT\""]);
    assert_eq!(seen, "none\none\nSECOND=two");
    let id = daemon.ok(&["create", "--label", "note=a\n\"b\": {", "busybox", "true"]);
    assert_eq!(daemon.inspect(&id)["Config"]["Labels"]["note"], "a\n\"b\": {");
    for flags in [
        ["--hostname", "a\nb"],
        ["--domainname", "a\n127.0.0.1 b"],
        ["--sysctl", "net.ipv4.ip_forward=1\n2"],
        ["--sysctl", "net/../kernel/panic=1"],
        ["--sysctl", "kernel.core_pattern=|/bin/sh"],
        ["--cgroup-parent", "../../outside"],
        ["--cgroup-parent", "a\nb"],
        ["--device", "/dev/null:/dev/../etc/passwd"],
        ["--device-cgroup-rule", "c 1:3 r\na *:* rwm"],
        ["--cpuset-cpus", "0\n1"],
        ["--group-add", "root:x"],
        ["--group-add", ""],
        ["--ulimit", "nofile=1\n2"],
        ["--workdir", "relative"],
        ["--ipc", "container:../../x"],
        ["--security-opt", "seccomp={"],
        ["--security-opt", "apparmor="],
    ] {
        let refused = daemon.corten(&["run", "--rm", flags[0], flags[1], "busybox", "true"]);
        assert!(refused.code != 0 && !refused.stderr.is_empty(), "{flags:?}: {refused}");
    }
    let groups: Vec<String> = (1..=1000).map(|gid| format!("--group-add={gid}")).collect();
    let mut many = vec!["run", "--rm"];
    many.extend(groups.iter().map(String::as_str));
    many.extend(["busybox", "sh", "-c", "id -G | wc -w"]);
    assert_eq!(daemon.ok(&many), "1001");
    daemon.ok(&["rm", &id]);
    assert_eq!(daemon.ok(&["ps", "-aq"]), "");
}

#[test]
fn an_images_links_lead_no_device_out_of_it() {
    let daemon = Daemon::with_busybox();
    let outside = daemon.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let link = format!("ln -s ../../../../../../../..{} /escape", outside.display());
    daemon.ok(&["run", "--name", "maker", "busybox", "sh", "-c", &link]);
    daemon.ok(&["commit", "maker", "escaping"]);
    let made = daemon.corten(&["run", "--rm", "--device", "/dev/null:/escape/made", "escaping", "true"]);
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "{made}");
    daemon.ok(&["rm", "maker"]);
}

#[test]
fn what_is_secret_is_in_no_log_and_no_event() {
    let daemon = Daemon::with_busybox();
    let secret = "c0rrect-h0rse";
    let config = daemon.path().join("config.json");
    // `someone:c0rrect-h0rse`
    let encoded = "c29tZW9uZTpjMHJyZWN0LWgwcnNl";
    std::fs::write(&config, format!(r#"{{"auths":{{"127.0.0.1:9":{{"auth":"{encoded}"}}}}}}"#)).unwrap();
    let directory = daemon.path().to_string_lossy().into_owned();
    let pull = daemon.spawn_with(&["pull", "127.0.0.1:9/private:1"], b"", &[("DOCKER_CONFIG", &directory)]).wait();
    assert!(pull.code != 0, "{pull}");
    daemon.ok(&["run", "-d", "--name", "keeper", "-e", &format!("TOKEN={secret}"), "busybox", "sleep", "60"]);
    daemon.ok(&["exec", "-e", &format!("OTHER={secret}"), "keeper", "true"]);
    daemon.corten(&["run", "--rm", "-e", &format!("TOKEN={secret}"), "busybox", "/no-such-command"]);
    let events = daemon.ok(&["events", "--since", "1h", "--until", "0s"]);
    assert!(events.contains("exec_create") && events.contains("keeper"), "{events}");
    for (place, text) in [("events", events), ("log", daemon.log()), ("answer", pull.stderr)] {
        for hidden in [secret, encoded] {
            assert!(!text.contains(hidden), "the {place}: {text}");
        }
    }
    daemon.ok(&["rm", "-f", "keeper"]);
}
