// SPDX-License-Identifier: Apache-2.0
//! User namespaces: a container's root is nobody on the host, and its files are its own all the same.

use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use serde_json::Value;
use testkit::Daemon;
use testkit::daemon::Builder;

/// Whose ids there are: one block for all containers, and three for those that want one of their own.
const IDS: &str = "corten:1000000:262144\n";
/// Their first.
const ROOT: u32 = 1_000_000;

fn host() -> Builder {
    Daemon::builder().etc("subuid", IDS).etc("subgid", IDS)
}

/// A daemon whose containers are in user namespaces.
fn remapping() -> Daemon {
    let daemon = host().argument("--userns-remap=default").start();
    daemon.import_busybox();
    daemon
}

/// A daemon whose containers may be.
fn usual() -> Daemon {
    let daemon = host().start();
    daemon.import_busybox();
    daemon
}

fn pid(daemon: &Daemon, name: &str) -> i64 {
    daemon.inspect(name)["State"]["Pid"].as_i64().expect("a number")
}

/// The host's ids of a container's root: of its first process's user.
fn root_of(daemon: &Daemon, name: &str) -> u32 {
    let map = std::fs::read_to_string(format!("/proc/{}/uid_map", pid(daemon, name))).expect("it runs");
    map.split_whitespace().nth(1).expect("a map").parse().expect("a number")
}

#[test]
fn its_root_is_nobody_on_the_host_and_everything_is_its_own() {
    let daemon = remapping();
    let options = daemon.ok(&["info", "--format", "{{json .SecurityOptions}}"]);
    assert!(options.contains("name=userns"), "{options}");
    let script = "cat /proc/self/uid_map /proc/self/gid_map | tr -s ' '; id -u; \
                  stat -c '%u:%g %n' / /etc/passwd /etc/hosts /etc/resolv.conf /etc/hostname /dev/shm /scratch /tmp; \
                  echo '# mine' >> /etc/hosts && echo x > /bin/new && rm /etc/not-executable && echo fine";
    let said = daemon.ok(&["run", "--name", "one", "--tmpfs", "/scratch", "busybox", "sh", "-c", script]);
    let owned = "0:0 /\n0:0 /etc/passwd\n0:0 /etc/hosts\n0:0 /etc/resolv.conf\n0:0 /etc/hostname\n0:0 /dev/shm\n\
                 0:0 /scratch\n0:0 /tmp\nfine";
    assert_eq!(said, format!(" 0 {ROOT} 65536\n 0 {ROOT} 65536\n0\n{owned}"));
    // On the disk files are whose they would be without.
    let id = daemon.inspect("one")["Id"].as_str().expect("an id").to_owned();
    let made = daemon.path().join("data/containers").join(id).join("upper/bin/new");
    assert_eq!(std::fs::metadata(&made).expect("the file that it has made").uid(), 0);
    let changed = daemon.ok(&["diff", "one"]);
    assert!(changed.contains("A /bin/new") && changed.contains("D /etc/not-executable"), "{changed}");

    daemon.ok(&["run", "-d", "--name", "two", "--user", "worker", "busybox", "sleep", "60"]);
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid(&daemon, "two"))).expect("it runs");
    assert!(status.contains(&format!("Uid:\t{0}\t{0}\t{0}\t{0}", ROOT + 1000)), "{status}");
    assert_eq!(daemon.ok(&["exec", "two", "id", "-u"]), "1000");
    assert_eq!(daemon.ok(&["exec", "--user", "0", "two", "stat", "-c", "%u", "/proc/1"]), "1000");
    daemon.fails(&["exec", "--user", "70000", "two", "true"], 1).saying("there is no id 70000");
    daemon.fails(&["run", "--rm", "--user", "70000", "busybox", "true"], 125).saying("there is no id 70000");
    daemon.ok(&["update", "--memory", "64m", "two"]);
    // A new daemon knows all of it.
    daemon.stop();
    daemon.start();
    assert_eq!(daemon.ok(&["exec", "two", "id", "-u"]), "1000");
    daemon.ok(&["restart", "-t", "0", "two"]);
    assert_eq!(root_of(&daemon, "two"), ROOT);
    assert_eq!(daemon.ok(&["run", "--rm", "--userns", "host", "busybox", "cat", "/proc/self/uid_map"]), {
        "         0          0 4294967295"
    });
}

#[test]
fn what_copies_files_has_the_containers_ids() {
    let daemon = remapping();
    let script = "mkdir /data && echo x > /data/f && chown 1000:1001 /data/f && chmod 4755 /data/f && sleep 60";
    daemon.ok(&["run", "-d", "--name", "one", "-v", "kept:/vol", "busybox", "sh", "-c", script]);
    daemon.ok(&["exec", "one", "sh", "-c", "until test -u /data/f; do :; done; cp -p /data/f /vol"]);
    let owners = |archive: &str, name: &str| {
        let file = std::fs::File::open(daemon.path().join(archive)).expect("an archive");
        let mut read = tar::Archive::new(file);
        let entries = read.entries().expect("an archive").map(|entry| entry.expect("an entry"));
        let found = entries.into_iter().find(|entry| entry.path().expect("a path").ends_with(name));
        let header = found.unwrap_or_else(|| panic!("{name} is not in {archive}")).header().clone();
        (header.uid().expect("a number"), header.gid().expect("a number"), header.mode().expect("a mode") & 0o7777)
    };
    let place = |name: &str| daemon.path().join(name).display().to_string();
    for state in ["running", "exited"] {
        assert_eq!(daemon.inspect("one")["State"]["Status"], state);
        daemon.ok(&["export", "-o", &place("root.tar"), "one"]);
        assert_eq!(owners("root.tar", "data/f"), (1000, 1001, 0o4755), "{state}");
        assert_eq!(owners("root.tar", "bin/busybox").0, 0, "{state}");
        let sent = daemon.corten(&["cp", "one:/data/.", "-"]).ok();
        assert!(sent.stdout.len() > 512, "an archive: {sent}");
        std::fs::write(daemon.path().join("cp.tar"), &sent.stdout).expect("a file");
        assert_eq!(owners("cp.tar", "f"), (1000, 1001, 0o4755), "{state}");
        let mine = daemon.path().join("mine");
        std::fs::write(&mine, "from here").expect("a file");
        daemon.ok(&["cp", &mine.display().to_string(), &format!("one:/data/{state}")]);
        daemon.ok(&["cp", &mine.display().to_string(), &format!("one:/vol/{state}")]);
        if state == "running" {
            assert_eq!(daemon.ok(&["exec", "one", "stat", "-c", "%u:%g", "/data/running", "/vol/running"]), "0:0\n0:0");
            daemon.ok(&["stop", "-t", "0", "one"]);
        }
    }
    daemon.ok(&["commit", "one", "committed"]);
    let look = ["stat", "-c", "%u:%g %a", "/data/f", "/data/exited", "/vol/f", "/vol/exited"];
    let expected = "1000:1001 4755\n0:0 644\n1000:1001 4755\n0:0 644";
    for mode in ["host", "remap", "auto"] {
        let run = ["run", "--rm", "--userns", mode, "-v", "kept:/vol", "committed"];
        assert_eq!(daemon.ok(&[&run[..], &look[..]].concat()), expected, "{mode}");
    }
}

#[test]
fn capabilities_of_files_are_roots_inside_and_in_archives() {
    /// CAP_NET_BIND_SERVICE and CAP_NET_RAW, permitted and effective, in the revision that names no root.
    const CAPABILITIES: [u8; 20] = [1, 0, 0, 2, 0, 0x24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    const NAME: &str = "SCHILY.xattr.security.capability";
    let daemon = remapping();
    daemon.ok(&["run", "-d", "--name", "one", "busybox", "sleep", "60"]);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_pax_extensions([(NAME, &CAPABILITIES[..])]).expect("an archive");
    let program = std::fs::read("/bin/busybox").expect("busybox-static is installed");
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o755);
    header.set_size(program.len() as u64);
    archive.append_data(&mut header, "busybox-capped", &program[..]).expect("an archive");
    let archive = archive.into_inner().expect("an archive");
    daemon.spawn_with(&["cp", "-", "one:/bin"], &archive, &[]).wait().ok();
    let look = ["busybox-capped", "grep", "CapEff", "/proc/self/status"];
    let exec = [&["exec", "--user", "worker", "one"][..], &look].concat();
    assert_eq!(daemon.ok(&exec), "CapEff:\t0000000000002400");
    daemon.ok(&["exec", "one", "chmod", "750", "/bin/busybox-capped"]);
    let file = daemon.path().join("root.tar");
    daemon.ok(&["export", "-o", &file.display().to_string(), "one"]);
    let mut read = tar::Archive::new(std::fs::File::open(&file).expect("an archive"));
    let found = read.entries().expect("an archive").map(|entry| entry.expect("an entry")).find_map(|mut entry| {
        let is_it = entry.path().expect("a path").ends_with("busybox-capped");
        let extensions = entry.pax_extensions().expect("readable").filter(|_| is_it)?;
        let mut all = extensions.map(|extension| extension.expect("readable"));
        all.find(|extension| extension.key() == Ok(NAME)).map(|extension| extension.value_bytes().to_vec())
    });
    assert_eq!(found.as_deref(), Some(&CAPABILITIES[..]));
    daemon.ok(&["commit", "one", "capped"]);
    for mode in ["host", "auto"] {
        let run = ["run", "--rm", "--userns", mode, "--user", "1000:0", "capped"];
        assert_eq!(daemon.ok(&[&run[..], &look].concat()), "CapEff:\t0000000000002400", "{mode}");
    }
}

#[test]
fn what_needs_the_host_is_refused_by_name() {
    let daemon = remapping();
    for flags in [&["--privileged"][..], &["--network", "host"], &["--pid", "host"]] {
        let run = [&["run", "--rm"], flags, &["busybox", "true"]].concat();
        daemon.fails(&run, 125).saying(flags[0]);
        daemon.ok(&[&["run", "--rm", "--userns", "host"], flags, &["busybox", "true"]].concat());
    }
    // What the kernel cannot show with other ids is not shown at all.
    daemon.ok(&["volume", "create", "--opt", "type=ramfs", "--opt", "device=ramfs", "ramfs"]);
    daemon.fails(&["run", "--rm", "-v", "ramfs:/x", "busybox", "true"], 125).saying("files on ramfs");
    daemon.ok(&["run", "--rm", "--userns", "host", "-v", "ramfs:/x", "busybox", "true"]);
    daemon.ok(&["volume", "rm", "ramfs"]);
    daemon.fails(&["run", "--rm", "--userns", "nomap", "busybox", "true"], 125).saying("nomap");
    let bind = format!("{}:/x:idmap", daemon.path().display());
    daemon.fails(&["run", "--rm", "--userns", "host", "-v", &bind, "busybox", "true"], 125).saying("idmap");
    assert_eq!(daemon.ok(&["ps", "-aq"]), "", "nothing is left");
}

#[test]
fn no_ids_no_container() {
    let daemon = Daemon::with_busybox();
    let refused = daemon.fails(&["run", "--rm", "--userns", "remap", "busybox", "true"], 125);
    refused.saying("/etc/subuid").saying("corten:1000000:1048576");
    assert_eq!(daemon.ok(&["run", "--rm", "busybox", "echo", "fine"]), "fine");
}

#[test]
fn ids_that_nobody_has_are_chosen_where_the_usual_user_has_none() {
    const CHOSEN: u32 = 2_100_000_000 + (1 << 20);
    // The first that would be tried are somebody's.
    let others = "other:2100000000:10\n";
    let daemon = Daemon::builder().etc("subuid", others).etc("subgid", "").argument("--userns-remap=default").start();
    daemon.import_busybox();
    let run = |name: &str, flags: &[&str]| {
        daemon.ok(&[&["run", "-d", "--name", name], flags, &["busybox", "sleep", "60"]].concat());
        root_of(&daemon, name)
    };
    assert_eq!((run("one", &[]), run("own", &["--userns", "auto"])), (CHOSEN, CHOSEN + 65536));
    let kept = daemon.path().join("data/subordinate-ids");
    assert_eq!(std::fs::read_to_string(&kept).expect("it is kept"), format!("corten:{CHOSEN}:1048576\n"));
    let told = |daemon: &Daemon| daemon.ok(&["info", "--format", "{{json .DriverStatus}}"]);
    let range = format!("[\"User namespace ids\",\"{CHOSEN} to {}\"]", CHOSEN + ((1 << 20) - 1));
    assert!(told(&daemon).contains(&range), "{}", told(&daemon));
    assert!(daemon.log().contains("ids were chosen for containers"), "{}", daemon.log());
    // Nobody's files have changed, and a new daemon goes by what is kept.
    let subuid = daemon.path().join("etc/subuid");
    assert_eq!(std::fs::read_to_string(&subuid).expect("the host's"), others);
    daemon.stop();
    daemon.start();
    assert_eq!(run("two", &[]), CHOSEN);

    // What is given to somebody else is left to them; who has it keeps it.
    daemon.stop();
    std::fs::write(&subuid, format!("{others}late:{CHOSEN}:65536\n")).expect("the host's");
    daemon.start();
    assert!(daemon.log().contains("other ids were chosen"), "{}", daemon.log());
    assert_eq!(run("three", &[]), CHOSEN + (1 << 20));
    daemon.ok(&["restart", "-t", "0", "one"]);
    assert_eq!(root_of(&daemon, "one"), CHOSEN);

    // The administrator's word counts more, and what is no word is not believed.
    daemon.stop();
    std::fs::write(&kept, "nonsense").expect("ours");
    for name in ["subuid", "subgid"] {
        std::fs::write(daemon.path().join("etc").join(name), "dockremap:3000000:65536\n").expect("the host's");
    }
    daemon.start();
    assert_eq!(run("four", &[]), 3_000_000);
}

#[test]
fn hostile_roots_reach_nothing() {
    let daemon = remapping();
    let shared = daemon.path().join("shared");
    std::fs::create_dir(&shared).expect("a directory");
    std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o1777)).expect("its own");
    std::fs::write(shared.join("secret"), "the host's").expect("a file");
    std::fs::set_permissions(shared.join("secret"), std::fs::Permissions::from_mode(0o600)).expect("its own");
    let plain = format!("{}:/shared", shared.display());
    let script = "stat -c %u /shared/secret; cat /shared/secret; rm -f /shared/secret; chown 0 /shared/secret; \
                  cp /bin/busybox /shared/suid && chmod 4755 /shared/suid; \
                  mknod /tmp/disk b 7 0 && head -c 1 /tmp/disk; \
                  echo 1 > /proc/sys/kernel/panic; echo x > /proc/sysrq-trigger; echo 1 > /sys/kernel/uevent_seqnum; \
                  mount -t tmpfs none /mnt; echo done";
    let all = ["--cap-add", "ALL", "--security-opt", "seccomp=unconfined", "--security-opt", "systempaths=unconfined"];
    for flags in [&[][..], &all[..]] {
        let run = [&["run", "--rm", "-v", &plain], flags, &["busybox", "sh", "-c", script]].concat();
        let said = daemon.corten(&run).ok();
        assert_eq!(said.text(), "65534\ndone", "{said}");
        for refused in ["can't open '/shared/secret'", "chown: /shared/secret", "mknod: /tmp/disk", "kernel/panic"] {
            assert!(said.stderr.contains(refused), "{refused}: {said}");
        }
        assert_eq!(std::fs::read_to_string(shared.join("secret")).expect("still there"), "the host's");
        let suid = std::fs::metadata(shared.join("suid")).expect("it was made");
        assert_eq!((suid.uid(), suid.mode() & 0o7777), (ROOT, 0o4755), "it is not root's");
        std::fs::remove_file(shared.join("suid")).expect("ours");
    }
    // What is shown with the container's ids is its root's, because somebody said so.
    let short = format!("{}:/shared:idmap", shared.display());
    let long = format!("type=bind,source={},target=/shared,idmap", shared.display());
    let script = "stat -c %u /shared/secret && cat /shared/secret && echo x > /shared/made";
    for bind in [["-v", &short], ["--mount", &long]] {
        let run = [&["run", "--rm"][..], &bind, &["busybox", "sh", "-c", script]].concat();
        assert_eq!(daemon.ok(&run), "0\nthe host's");
    }
    daemon.ok(&["run", "-d", "--name", "late", "busybox", "sleep", "60"]);
    daemon.ok(&["update", "--mount", &long, "late"]);
    assert_eq!(daemon.ok(&["exec", "late", "cat", "/shared/secret"]), "the host's");
    assert_eq!(daemon.inspect("late")["HostConfig"]["Mounts"][0]["Consistency"], "idmap");
    daemon.ok(&["run", "-d", "--name", "hosts", "--userns", "host", "busybox", "sleep", "60"]);
    daemon.fails(&["update", "--mount", &long, "hosts"], 1).saying("idmap");
    assert_eq!(std::fs::metadata(shared.join("made")).expect("it was made").uid(), 0);
    // Who is not root on the host gets at no container's files, whose owners on the disk are root's as well.
    let data = std::fs::metadata(daemon.path().join("data/containers")).expect("a directory");
    assert_eq!((data.uid(), data.mode() & 0o007), (0, 0));
    assert_eq!(std::fs::metadata(daemon.path().join("data/volumes")).expect("a directory").mode() & 0o007, 0);
}

#[test]
fn each_with_ids_of_its_own_is_kept_from_the_others() {
    let daemon = usual();
    let auto = |name: &str, more: &[&str]| {
        let run = ["run", "-d", "--name", name, "--userns", "auto", "--cap-add", "ALL"];
        daemon.ok(&[&run[..], more, &["busybox", "sleep", "60"]].concat());
        root_of(&daemon, name)
    };
    let first = auto("first", &[]);
    let second = auto("second", &["--pid", "container:first"]);
    assert_eq!((first, second), (ROOT + 65536, ROOT + 2 * 65536), "the first block is for those that share one");
    let script = "cat /proc/1/comm; kill -9 1; cat /proc/1/environ; ls /proc/1/root/; echo x > /proc/1/oom_score_adj; \
                  cat /proc/1/mem; echo done";
    let tried = daemon.corten(&["exec", "second", "sh", "-c", script]).ok();
    assert_eq!(tried.text(), "sleep\ndone", "{tried}");
    for refused in
        ["kill process 1", "kill: can't kill", "/proc/1/environ", "/proc/1/root", "oom_score_adj", "/proc/1/mem"]
    {
        let alternative = refused.starts_with("kill");
        assert!(tried.stderr.contains(refused) || (alternative && tried.stderr.contains("not permitted")), "{tried}");
    }
    assert_eq!(daemon.inspect("first")["State"]["Status"], "running");

    // What a record has nobody else gets, also not from another daemon; what is removed is free.
    daemon.ok(&["create", "--name", "third", "--userns", "auto", "busybox", "true"]);
    daemon.kill();
    daemon.start();
    let refused = daemon.fails(&["run", "--rm", "--userns", "auto", "busybox", "true"], 125);
    refused.saying("no block of 65536");
    daemon.ok(&["rm", "-f", "first", "second"]);
    // Whoever asks at the same time gets others as well.
    let all: Vec<_> = (0..4).map(|_| daemon.spawn(&["create", "--userns", "auto", "busybox", "sleep", "60"])).collect();
    let made: Vec<_> = all.into_iter().map(testkit::Running::wait).filter(|made| made.code == 0).collect();
    assert_eq!(made.len(), 2, "{made:?}");
    let roots = made.iter().map(|made| {
        daemon.ok(&["start", made.text()]);
        root_of(&daemon, made.text())
    });
    let mut roots: Vec<u32> = roots.collect();
    roots.sort_unstable();
    assert_eq!(roots, [ROOT + 65536, ROOT + 2 * 65536]);
    daemon.ok(&["rm", "-f", made[0].text(), made[1].text()]);
    assert_eq!(auto("fourth", &[]), ROOT + 65536);
    assert_eq!(daemon.inspect("fourth")["HostConfig"]["UsernsMode"], "auto");
    let refused =
        daemon.fails(&["run", "--rm", "--userns", "auto", "--ipc", "container:fourth", "busybox", "true"], 125);
    refused.saying("--ipc");
}

#[test]
fn networks_are_the_namespaces_own() {
    let daemon = remapping();
    daemon.ok(&["network", "create", "inside"]);
    let web = ["--network", "inside", "--sysctl", "net.ipv4.ip_forward=1", "--cap-add", "NET_ADMIN"];
    daemon.ok(&[&["run", "-d", "--name", "web"][..], &web, &["busybox", "sleep", "60"]].concat());
    let script = "cat /proc/sys/net/ipv4/ip_forward && ip link set lo down && ip link set lo up && ls /sys/class/net";
    assert_eq!(daemon.ok(&["exec", "web", "sh", "-c", script]), "1\neth0\nlo");
    // Who shares it is in the same user namespace, and may do as much.
    let flags = ["--network", "container:web", "--cap-add", "NET_ADMIN", "--pid", "container:web"];
    let script = "ip link set lo down && ip link set lo up && cat /proc/1/comm && echo fine";
    assert_eq!(daemon.ok(&[&["run", "--rm"][..], &flags, &["busybox", "sh", "-c", script]].concat()), "sleep\nfine");
    let script = "ping -c 1 -W 5 web > /dev/null && echo reached";
    assert_eq!(daemon.ok(&["run", "--rm", "--network", "inside", "busybox", "sh", "-c", script]), "reached");
    let usual = ["run", "--rm", "--user", "worker", "busybox", "sh", "-c", "ip -4 addr show eth0 | grep -c inet"];
    assert_eq!(daemon.ok(&usual), "1");
    daemon.ok(&["run", "-d", "-p", "18078:80", "busybox", "httpd", "-f", "-h", "/etc"]);
    let answer = testkit::internet::get_soon(daemon.sandbox(), (Ipv4Addr::LOCALHOST, 18078), "/hostname");
    assert_eq!(answer.body.trim().len(), 12, "the host name of the container: {answer:?}");
    // Other ids have no rights over what they share.
    let flags = ["--userns", "auto", "--network", "container:web", "--cap-add", "ALL"];
    let script = "ip link set lo down || echo refused; ls /sys/class/net; echo x > /sys/class/net/lo/mtu || echo fine";
    let said = daemon.ok(&[&["run", "--rm"][..], &flags, &["busybox", "sh", "-c", script]].concat());
    assert_eq!(said, "refused\neth0\nlo\nfine", "and see nothing of the host's");
    // Nor is the host reached by another container.
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "hosts",
        "--userns",
        "host",
        "--network",
        "host",
        "--pid",
        "host",
        "busybox",
        "sleep",
        "60",
    ]);
    for flag in ["--network", "--pid"] {
        daemon.fails(&["run", "--rm", flag, "container:hosts", "busybox", "true"], 125).saying(flag);
    }
    // What is shared by another container is the first one's.
    daemon.ok(&["run", "-d", "--name", "first", "--userns", "host", "busybox", "sleep", "60"]);
    daemon.ok(&["run", "-d", "--name", "between", "--network", "container:first", "busybox", "sleep", "60"]);
    let flags = ["--network", "container:between", "--cap-add", "NET_ADMIN"];
    let script = "ip link set lo down || echo refused; ls /sys/class/net";
    let said = daemon.ok(&[&["run", "--rm"][..], &flags, &["busybox", "sh", "-c", script]].concat());
    assert_eq!(said, "refused\neth0\nlo");
}

#[test]
fn what_is_mounted_while_it_runs_is_its_own() {
    let daemon = remapping();
    daemon.ok(&["run", "-d", "--name", "one", "busybox", "sleep", "60"]);
    let volume = ["update", "--mount", "source=store,target=/new/store"];
    daemon.ok(&[&volume[..], &["--mount", "type=tmpfs,target=/cache", "one"]].concat());
    let script = "stat -c '%u:%g %n' /new /new/store /cache && echo x > /new/store/f && echo x > /cache/f && \
                  stat -c '%u:%g' /new/store/f /cache/f";
    let owned = "0:0 /new\n0:0 /new/store\n0:0 /cache\n0:0\n0:0";
    assert_eq!(daemon.ok(&["exec", "one", "sh", "-c", script]), owned);
    let on_disk = daemon.path().join("data/volumes/store/_data/f");
    assert_eq!(std::fs::metadata(on_disk).expect("it was made").uid(), 0);
    daemon.ok(&["restart", "-t", "0", "one"]);
    assert_eq!(daemon.ok(&["exec", "one", "stat", "-c", "%u", "/new/store/f"]), "0");
    let image = ["run", "--rm", "--userns", "auto", "--mount", "type=image,source=busybox,target=/image", "busybox"];
    assert_eq!(daemon.ok(&[&image[..], &["stat", "-c", "%u", "/image", "/image/bin/busybox"]].concat()), "0\n0");
}

#[test]
fn explain_says_who_its_root_is() {
    let daemon = remapping();
    daemon.ok(&["run", "-d", "--name", "kept", "-v", "/:/host:ro", "-v", "data:/data", "busybox", "sleep", "60"]);
    let told: Value = serde_json::from_str(&daemon.ok(&["explain", "--format", "json", "kept"])).expect("JSON");
    assert_eq!(told["Identity"]["UidMap"][0], format!("0 {ROOT} 65536"));
    let user = told["Namespaces"].as_array().expect("a list").iter().find(|one| one["Kind"] == "user").expect("one");
    assert_eq!(user["Own"], true);
    let reach = told["Reach"].as_array().expect("a list");
    assert!(reach.iter().all(|found| found["Severity"] == "low"), "{reach:?}");
    let host = reach.iter().find(|found| found["What"] == "/ of the host").expect("the bind");
    assert!(host["Why"].as_str().expect("a text").contains(&ROOT.to_string()), "{host}");
}

#[test]
fn layers_that_are_directories_have_other_ids_as_well() {
    let daemon = host().argument("--snapshotter=directories").start();
    daemon.import_busybox();
    let script = "stat -c %u /bin/busybox && echo x > /bin/new && stat -c %u /bin/new && cat /proc/self/uid_map";
    let said = daemon.ok(&["run", "--rm", "--userns", "remap", "busybox", "sh", "-c", script]);
    assert_eq!(said.split_whitespace().collect::<Vec<_>>(), ["0", "0", "0", &ROOT.to_string(), "65536"]);
}
