// SPDX-License-Identifier: Apache-2.0
//! Corten as the runtime of Debian's Docker, beside runc: the same commands, the same answers.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use end_to_end::docker_runtime::{Peer, both_agree, both_show, daemon};

/// Every container of a test that is not about networks.
const NETWORK: [&str; 2] = ["--network", "none"];

/// These flags and the network.
fn with<'a>(flags: &[&'a str]) -> Vec<&'a str> {
    [flags, &NETWORK].concat()
}

#[test]
fn exit_codes_are_the_commands_or_say_why_there_was_none() {
    let docker = daemon("runc");
    let cases: [(&[&str], &[&str], i32, &str); 9] = [
        (&[], &["true"], 0, ""),
        (&[], &["false"], 1, ""),
        (&[], &["sh", "-c", "exit 3"], 3, ""),
        (&[], &["no-such-command"], 127, "executable file not found in $PATH"),
        (&[], &["/no/such/file"], 127, "no such file or directory"),
        (&[], &["/etc/not-executable"], 126, "permission denied"),
        (&[], &["/etc"], 126, "permission denied"),
        (&["--no-such-flag"], &["true"], 125, "no-such-flag"),
        (&["-v", "/etc/hostname:/etc"], &["true"], 125, "not a directory"),
    ];
    for (flags, command, code, words) in cases {
        both_show(&docker, &format!("{flags:?} {command:?}"), &code.to_string(), |peer| {
            let done = peer.run(&with(flags), command);
            // The runtime's own words come with Docker's around them.
            if code != 0 && !words.is_empty() {
                done.fails(code).saying(words).code.to_string()
            } else {
                done.code.to_string()
            }
        });
    }
    let broken = docker.path().join("broken");
    fs::write(&broken, "neither a program nor a script\n").expect("a file");
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).expect("a mode");
    let volume = format!("{}:/broken", broken.display());
    // runc's `start` succeeds and its container ends with 1; ours fails, so that Docker says what happened: 125.
    both_show(&docker, "exec format error", "told", |peer| {
        let done = peer.run(&with(&["-v", &volume]), &["/broken"]);
        let code = if peer.runtime == "corten" { 125 } else { 1 };
        done.fails(code).saying("exec format error");
        "told".into()
    });
    both_show(&docker, "killed", "137", |peer| {
        let name = peer.start("killed", &with(&[]), &["sleep", "100"]);
        peer.ok(&["kill", &name]);
        peer.ok(&["wait", &name])
    });
}

#[test]
fn streams_and_terminals() {
    let docker = daemon("runc");
    both_show(&docker, "both outputs", "out\n|err\n", |peer| {
        let done = peer.run(&with(&[]), &["sh", "-c", "echo out; echo err >&2"]).ok();
        format!("{}|{}", done.stdout, done.stderr)
    });
    both_show(&docker, "input", "2\n", |peer| {
        peer.run_with_input(&with(&["-i"]), &["wc", "-l"], b"one\ntwo\n").ok().stdout
    });
    let megabyte = vec![b'x'; 1 << 20];
    both_show(&docker, "a megabyte of input", "1048576\n", |peer| {
        peer.run_with_input(&with(&["-i"]), &["wc", "-c"], &megabyte).ok().stdout
    });
    both_show(&docker, "a terminal without one outside", "/dev/pts/0\r\n", |peer| {
        peer.run(&with(&["-t"]), &["tty"]).ok().stdout
    });
    both_show(&docker, "a terminal and its size", "0", |peer| {
        let arguments = ["run", "--rm", "-it", "--runtime", peer.runtime, "--network", "none", "busybox", "sh"];
        let mut terminal = peer.docker.terminal(&arguments, 33, 77);
        terminal.expect("/ # ");
        // Docker sets the size some time after the start.
        terminal.send("until stty size 2>&1 | grep '33 77'; do sleep 0.1; done; echo seen$((40+2))\r");
        terminal.expect("seen42");
        terminal.send("until stty size | grep '40 100'; do sleep 0.1; done; ls -l /proc/self/fd/0\r");
        terminal.resize_until(40, 100, "/dev/pts/0");
        terminal.send("exit\r");
        terminal.wait().to_string()
    });
    both_show(&docker, "logs", "1\n2\n|3\n", |peer| {
        let name = peer.start("logs", &with(&[]), &["sh", "-c", "echo 1; echo 2; echo 3 >&2"]);
        peer.ok(&["wait", &name]);
        let done = peer.docker(&["logs", &name]).ok();
        format!("{}|{}", done.stdout, done.stderr)
    });
}

#[test]
fn exec_in_a_running_container() {
    let docker = daemon("runc");
    let look = |what: &str, expected: &str, flags: &[&str], script: &str| {
        both_show(&docker, what, expected, |peer| {
            let name = peer.name("target");
            if peer.docker(&["inspect", &name]).code != 0 {
                peer.start("target", &with(&["-e", "A=image"]), &["sleep", "1000"]);
            }
            let done = peer.docker(&[&["exec"], flags, &[&name, "sh", "-c", script]].concat());
            format!("{} {}", done.code, done.stdout)
        });
    };
    look("output", "0 hello\n", &[], "echo hello");
    look("exit code", "42 ", &[], "exit 42");
    look("a terminal", "0 /dev/pts/0\r\n", &["-t"], "tty");
    look("user", "0 1000:1001\n", &["-u", "worker"], "echo $(id -u):$(id -g)");
    look("numbers", "0 5:6\n", &["-u", "5:6"], "echo $(id -u):$(id -g)");
    look("directory", "0 /tmp\n", &["-w", "/tmp"], "pwd");
    look("environment", "0 image more\n", &["-e", "B=more"], "echo $A $B");
    look("in the background", "0 ", &["-d"], "echo done > /tmp/done");
    look("what that did", "0 done\n", &[], "until cat /tmp/done 2>/dev/null; do sleep 0.1; done");
    for (command, code, words) in [
        ("no-such-command", 126..=127, "executable file not found in $PATH"),
        ("/etc/not-executable", 126..=126, "permission denied"),
    ] {
        both_agree(&docker, command, |peer| {
            let done = peer.docker(&["exec", &peer.name("target"), command]);
            assert!(code.contains(&done.code), "{done}");
            let said = format!("{}{}", done.stdout, done.stderr);
            assert!(said.contains(words), "{done}");
            done.code.to_string()
        });
    }
    both_show(&docker, "input", "0 2\n", |peer| {
        let done = peer.docker.finish(&["exec", "-i", &peer.name("target"), "wc", "-l"], b"one\ntwo\n");
        format!("{} {}", done.code, done.stdout)
    });
    both_show(&docker, "its end", "137", |peer| {
        let name = peer.name("target");
        let inside = peer.docker.spawn(&["exec", &name, "sleep", "1000"], b"");
        peer.ok(&["exec", &name, "sh", "-c", "until pidof sleep | grep -q ' '; do sleep 0.1; done"]);
        peer.ok(&["kill", &name]);
        inside.wait().code.to_string()
    });
}

#[test]
fn signals_stop_and_restart() {
    let docker = daemon("runc");
    let heeding = ["sh", "-c", "trap 'echo heard; exit 7' USR1 TERM; echo ready; while :; do sleep 0.05; done"];
    let deaf = ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"];
    let ready = |peer: &Peer<'_>, name: &str| {
        while !peer.ok(&["logs", name]).contains("ready") {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    for verb in [&["kill", "-s", "USR1"][..], &["stop"], &["kill", "-s", "15"]] {
        both_show(&docker, verb[0], "7 ready\nheard", |peer| {
            let name = peer.start("heeding", &with(&[]), &heeding);
            ready(&peer, &name);
            peer.ok(&[verb, &[&name]].concat());
            let code = peer.ok(&["wait", &name]);
            let said = peer.ok(&["logs", &name]);
            peer.ok(&["rm", &name]);
            format!("{code} {said}")
        });
    }
    both_show(&docker, "one that does not stop", "137", |peer| {
        let name = peer.start("deaf", &with(&[]), &deaf);
        ready(&peer, &name);
        peer.ok(&["stop", "-t", "1", &name]);
        peer.ok(&["wait", &name])
    });
    both_show(&docker, "killing what has ended", "1", |peer| {
        peer.docker(&["kill", &peer.name("deaf")]).fails(1).saying("is not running").code.to_string()
    });
    both_show(&docker, "started again", "true 0", |peer| {
        let name = peer.name("deaf");
        peer.ok(&["start", &name]);
        peer.ok(&["restart", "-t", "0", &name]);
        let state = peer.inspect(&name, "{{.State.Running}} {{.State.ExitCode}}");
        peer.ok(&["rm", "-f", &name]);
        state
    });
    both_show(&docker, "restarted on failure", "2 3", |peer| {
        let name = peer.start("failing", &with(&["--restart", "on-failure:2"]), &["sh", "-c", "exit 3"]);
        peer.await_inspect(&name, "{{.RestartCount}} {{.State.Status}}", "2 exited");
        peer.inspect(&name, "{{.RestartCount}} {{.State.ExitCode}}")
    });
    both_show(&docker, "health", "healthy", |peer| {
        let check = ["--health-cmd", "test -e /tmp/well", "--health-interval", "200ms", "--health-retries", "100"];
        let name = peer.start("health", &with(&check), &["sleep", "1000"]);
        peer.await_inspect(&name, "{{.State.Health.Status}}", "starting");
        peer.ok(&["exec", &name, "touch", "/tmp/well"]);
        peer.await_inspect(&name, "{{.State.Health.Status}}", "healthy");
        peer.inspect(&name, "{{.State.Health.Status}}")
    });
}

/// What the kernel says of a process's privileges.
const PRIVILEGES: &str = "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp)' /proc/self/status";

#[test]
fn privileges() {
    let docker = daemon("runc");
    let profile = docker.path().join("profile.json");
    let forbidding = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}"#;
    fs::write(&profile, forbidding).expect("a file");
    let profile = format!("seccomp={}", profile.display());
    let cases: [&[&str]; 10] = [
        &[],
        &["--cap-drop", "ALL"],
        &["--cap-drop", "ALL", "--cap-add", "NET_ADMIN", "--cap-add", "CHOWN"],
        &["--user", "worker"],
        &["--user", "1234:5678", "--group-add", "99", "--group-add", "audience"],
        &["--user", "worker", "--cap-add", "NET_RAW"],
        &["--security-opt", "no-new-privileges"],
        &["--security-opt", "seccomp=unconfined"],
        &["--security-opt", &profile],
        &["--read-only"],
    ];
    for flags in cases {
        let seen = both_agree(&docker, &format!("{flags:?}"), |peer| {
            peer.script(&with(flags), &format!("{PRIVILEGES}; id; umask; pwd; echo $HOME $PATH; ulimit -n"))
        });
        assert!(seen.contains("CapEff"), "{seen}");
    }
    // runc fails where the machine lacks one of the capabilities asked for: this one may.
    let corten = Peer { docker: &docker, runtime: "corten" };
    let bounding = |status: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).expect("a bounding set");
        u64::from_str_radix(line.trim(), 16).expect("a number")
    };
    // The last that this Docker knows is CAP_AUDIT_READ.
    let known = (1 << 38) - 1;
    let ours = bounding(&fs::read_to_string("/proc/self/status").expect("/proc"));
    assert_eq!(bounding(&corten.script(&with(&["--privileged"]), "cat /proc/self/status")) & known, ours & known);
    both_show(&docker, "a profile", "1", |peer| {
        peer.run(&with(&["--security-opt", &profile]), &["mkdir", "/tmp/x"])
            .fails(1)
            .saying("not permitted")
            .code
            .to_string()
    });
    // What hides a path is each runtime's own, and runc leaves a hybrid host's unified hierarchy out.
    let masked = "cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | wc -c; ls /proc/acpi /sys/firmware 2>/dev/null; \
                  touch /proc/sys/kernel/x 2>&1; mount -t tmpfs none /mnt 2>&1; ls /dev | sort; cut -d' ' -f2 /proc/mounts | grep -v unified | sort; grep -E ' /(proc|sys|dev)' /proc/mounts | grep -vE 'tmpfs|unified' | cut -d' ' -f2-4 | sort";
    let hidden = both_agree(&docker, "what is hidden", |peer| peer.script(&with(&[]), masked));
    assert!(hidden.starts_with("0\n"), "{hidden}");
}

#[test]
fn files_and_devices() {
    let docker = daemon("runc");
    let shared = docker.path().join("shared");
    fs::create_dir(&shared).expect("a directory");
    fs::write(shared.join("file"), "from the host\n").expect("a file");
    let [plain, readonly] = ["", ":ro"].map(|how| format!("{}:/shared{how}", shared.display()));
    let nested = format!("{}:/etc/deep/er/file", shared.join("file").display());
    let cases: [(&str, &[&str], &str); 11] = [
        ("a volume", &["-v", &plain], "cat /shared/file; echo back > /shared/back && echo written"),
        ("a read-only volume", &["-v", &readonly], "cat /shared/file; echo back > /shared/back"),
        (
            "a file where there is no directory",
            &["-v", &nested],
            "cat /etc/deep/er/file; ls -ld /etc/deep/er | cut -c1-10",
        ),
        ("a named volume", &["-v", "named:/data"], "stat -c %u:%g:%a /data; touch /data/x && echo written"),
        ("a read-only root", &["--read-only"], "touch /x; touch /dev/shm/x && echo shm"),
        (
            "a tmpfs",
            &["--tmpfs", "/fast:size=1m,mode=1770,uid=5"],
            "stat -c %u:%a /fast; grep ' /fast ' /proc/mounts | cut -d' ' -f3,4; dd if=/dev/zero of=/fast/x bs=1M count=2 2>&1 | tail -1",
        ),
        ("the size of /dev/shm", &["--shm-size", "3m"], "df -k /dev/shm | tail -1 | awk '{print $2}'"),
        (
            "a device",
            &["--device", "/dev/kmsg:/dev/other:r"],
            "ls -l /dev/other | cut -d' ' -f1; head -c0 /dev/other && echo read; echo x > /dev/other",
        ),
        ("no device", &[], "mknod /tmp/kmsg c 1 11 && head -c1 /tmp/kmsg"),
        (
            "a device rule",
            &["--device-cgroup-rule", "c 1:11 r"],
            "mknod /tmp/kmsg c 1 11 && head -c0 /tmp/kmsg && echo read",
        ),
        ("the directory", &["-w", "/made/for/it"], "pwd; stat -c %a ."),
    ];
    for (what, flags, script) in cases {
        let seen = both_agree(&docker, what, |peer| {
            let done = peer.run(&with(flags), &["sh", "-c", script]);
            format!("{} {}{}", done.code, done.stdout, done.stderr)
        });
        assert!(!seen.contains("docker:"), "{what} did not start: {seen}");
    }
    both_show(&docker, "a directory's copy", "x\n", |peer| {
        let name = peer.start("copy", &with(&[]), &["sleep", "1000"]);
        let file = peer.docker.path().join(peer.name("file"));
        fs::write(&file, "x\n").expect("a file");
        peer.ok(&["cp", &file.to_string_lossy(), &format!("{name}:/tmp/there")]);
        peer.ok(&["exec", &name, "cp", "/tmp/there", "/tmp/back"]);
        peer.ok(&["cp", &format!("{name}:/tmp/back"), &file.to_string_lossy()]);
        fs::read_to_string(file).expect("it was copied")
    });
}

#[test]
fn namespaces_and_settings() {
    let docker = daemon("runc");
    let cases: [(&str, &[&str], &str); 11] = [
        ("host name", &["--uts", "private", "--hostname", "named"], "hostname"),
        ("host's pids", &["--pid", "host"], "test $$ -gt 1 && echo not the first"),
        ("host's ipc", &["--ipc", "host"], "test -d /dev/shm && echo there"),
        ("private ipc", &["--ipc", "private", "--sysctl", "kernel.msgmax=12345"], "cat /proc/sys/kernel/msgmax"),
        ("no ipc mount", &["--ipc", "none"], "grep -c /dev/shm /proc/mounts"),
        ("host's uts", &["--uts", "host"], "test -n $(hostname) && echo named"),
        ("limits", &["--ulimit", "nofile=100:200", "--ulimit", "core=0"], "ulimit -n; ulimit -Hn; ulimit -c"),
        ("an init", &["--init"], "cat /proc/1/comm; test $$ -gt 1 && echo child"),
        ("oom score", &["--oom-score-adj", "123"], "cat /proc/self/oom_score_adj"),
        ("domain name", &["--domainname", "example.org"], "cat /proc/sys/kernel/domainname"),
        ("a wrong setting", &["--ipc", "private", "--sysctl", "kernel.msgmax=words"], "true"),
    ];
    for (what, flags, script) in cases {
        both_agree(&docker, what, |peer| {
            let done = peer.run(&with(flags), &["sh", "-c", script]);
            format!("{} {}", done.code, done.stdout)
        });
    }
    both_show(&docker, "another container's namespaces", "sleep\nsleep\n", |peer| {
        let name = peer.start("owner", &with(&["--ipc", "shareable"]), &["sleep", "1000"]);
        let container = format!("container:{name}");
        let flags = ["--pid", &container, "--ipc", &container, "--network", &container];
        let pids = peer.run(&flags, &["cat", "/proc/1/comm"]).ok().stdout;
        let exec = peer.docker(&["exec", &name, "cat", "/proc/1/comm"]).ok().stdout;
        // Its end is not the other's.
        assert_eq!(peer.inspect(&name, "{{.State.Running}}"), "true");
        pids + &exec
    });
}

#[test]
fn limits_are_in_the_cgroup_and_hold() {
    let docker = daemon("runc");
    let flags = [
        "--memory",
        "64m",
        "--memory-reservation",
        "32m",
        "--cpus",
        "0.5",
        "--cpu-shares",
        "512",
        "--cpuset-cpus",
        "0",
        "--pids-limit",
        "50",
        "--blkio-weight",
        "300",
    ];
    let files = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory/memory.soft_limit_in_bytes memory/memory.memsw.limit_in_bytes \
                 cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us cpu/cpu.shares cpuset/cpuset.cpus pids/pids.max 2>&1 || cat memory.max";
    let seen = both_agree(&docker, "limits", |peer| peer.script(&with(&flags), files));
    assert!(seen.contains("67108864"), "{seen}");
    both_show(&docker, "out of memory", "137 true", |peer| {
        // What is killed is not the container's first process, and that ends later: Docker counts a kill that it hears
        // of before the end, and the two are told to it by threads of the shim that race.
        let eat = "dd if=/dev/zero of=/dev/null bs=200M count=1; code=$?; sleep 2; exit $code";
        // runc itself needs some twenty megabytes of it for a moment.
        let limits = with(&["--memory", "50m", "--memory-swap", "50m"]);
        let tried = |name: &str| {
            let name = peer.start(name, &limits, &["sh", "-c", eat]);
            let code = peer.ok(&["wait", &name]);
            format!("{code} {}", peer.inspect(&name, "{{.State.OOMKilled}}"))
        };
        // By runc, Docker misses it now and then all the same, on a machine with much to do.
        let again = if peer.runtime == "runc" { 1..5 } else { 1..1 };
        again
            .fold(tried("hungry"), |seen, nth| if seen == "137 false" { tried(&format!("hungry-{nth}")) } else { seen })
    });
    both_show(&docker, "too many processes", "refused", |peer| {
        // The threads with which runc enters the container are counted, too.
        let script = "i=0; while [ $i -lt 40 ]; do sleep 5 & i=$((i+1)); done; echo started";
        let done = peer.run(&with(&["--pids-limit", "20"]), &["sh", "-c", script]);
        if done.stderr.contains("can't fork") { "refused".into() } else { done.to_string() }
    });
    both_show(&docker, "a parent", "true", |peer| {
        let parent = format!("{}/below", peer.docker.cgroup());
        let name = peer.start("below", &with(&["--cgroup-parent", &parent]), &["sleep", "1000"]);
        let id = peer.inspect(&name, "{{.Id}}");
        let pid = peer.inspect(&name, "{{.State.Pid}}");
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it runs");
        cgroups
            .lines()
            .filter(|line| line.contains(":pids:"))
            .all(|line| line.ends_with(&format!("{parent}/{id}")))
            .to_string()
    });
    both_agree(&docker, "statistics", |peer| {
        let name = peer.start("counted", &with(&["--memory", "64m"]), &["sleep", "1000"]);
        let stats = || peer.ok(&["stats", "--no-stream", "--format", "{{.PIDs}} {{.MemUsage}}", &name]);
        // The command line shows dashes where the daemon, which looks every second, had nothing for two.
        let said = (0..10).map(|_| stats()).find(|said| !said.contains("--")).expect("statistics");
        let (pids, memory) = said.split_once(' ').unwrap_or_default();
        format!("{pids} {}", memory.split_once(" / ").unwrap_or_default().1)
    });
}

#[test]
fn networks() {
    let docker = daemon("runc");
    let look = "ls /sys/class/net; ip -4 -o addr show | awk '{print $2}' | sort; cat /etc/resolv.conf; ip route | cut -d' ' -f1-3";
    for (what, flags) in [("none", &["--network", "none"][..]), ("host", &["--network", "host"]), ("bridge", &[])] {
        let seen = both_agree(&docker, what, |peer| {
            // The bridge's cables come and go with other containers.
            peer.script(flags, look).lines().filter(|line| !line.starts_with("veth")).collect::<Vec<_>>().join("\n")
        });
        assert!(seen.starts_with(if what == "none" { "lo\n" } else { "" }) && seen.contains("lo"), "{seen}");
    }
    docker.run(&["network", "create", "shared"]).unwrap_or_else(|error| panic!("{error}"));
    both_show(&docker, "two containers by name, a third in the namespace of one", "hello\nhello", |peer| {
        let script = "mkdir /www; echo hello > /www/index.html; exec httpd -f -p 80 -h /www";
        let name = peer.start("server", &["--network", "shared"], &["sh", "-c", script]);
        let fetch = |host: &str| format!("until wget -q -O - http://{host}/; do sleep 0.1; done");
        let by_name = peer.script(&["--network", "shared"], &fetch(&name));
        let within = peer.script(&["--network", &format!("container:{name}")], &fetch("127.0.0.1"));
        format!("{by_name}\n{within}")
    });
    both_show(&docker, "a host name, known to itself", "named\n1", |peer| {
        peer.script(
            &["--hostname", "named", "--add-host", "other:10.0.0.9"],
            "hostname; grep -c '10.0.0.9.other' /etc/hosts",
        )
    });
    both_show(&docker, "a setting of the network", "1", |peer| {
        peer.script(&["--sysctl", "net.ipv4.ip_forward=1"], "cat /proc/sys/net/ipv4/ip_forward")
    });
}

#[test]
fn operations_on_a_running_container() {
    let docker = daemon("runc");
    both_show(&docker, "a pause", "paused 1 running", |peer| {
        let name = peer.start("worker", &with(&[]), &["sleep", "1000"]);
        peer.ok(&["pause", &name]);
        let paused = peer.inspect(&name, "{{.State.Status}}");
        let refused = peer.docker(&["exec", &name, "true"]).fails(1).saying("paused").code;
        peer.ok(&["unpause", &name]);
        format!("{paused} {refused} {}", peer.inspect(&name, "{{.State.Status}}"))
    });
    both_show(&docker, "killed while it is paused", "137", |peer| {
        let name = peer.start("frozen", &with(&[]), &["sleep", "1000"]);
        peer.ok(&["pause", &name]);
        peer.ok(&["kill", &name]);
        peer.ok(&["wait", &name])
    });
    both_show(&docker, "its processes", "COMMAND\nsh\nsleep", |peer| {
        let name = peer.start("family", &with(&[]), &["sh", "-c", "sleep 1000; true"]);
        peer.ok(&["exec", &name, "sh", "-c", "until pidof sleep; do sleep 0.1; done"]);
        peer.ok(&["top", &name, "-o", "pid,comm"])
            .lines()
            .filter_map(|line| line.split_whitespace().nth(1))
            .collect::<Vec<_>>()
            .join("\n")
    });
    both_show(&docker, "other limits", "104857600 30000 77 0", |peer| {
        let name = peer.start("limited", &with(&["--memory", "50m", "--cpus", "0.5"]), &["sleep", "1000"]);
        let new =
            ["--memory", "100m", "--memory-swap", "200m", "--cpus", "0.3", "--pids-limit", "77", "--cpuset-cpus", "0"];
        peer.ok(&[&["update"], &new[..], &[&name]].concat());
        let files = "cd /sys/fs/cgroup; echo $(cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us pids/pids.max cpuset/cpuset.cpus)";
        peer.ok(&["exec", &name, "sh", "-c", files])
    });
}

#[test]
fn images_are_built_with_it() {
    let built = ["runc", "corten"].map(|runtime| {
        let docker = daemon(runtime);
        let context = docker.path().join("context");
        fs::create_dir(&context).expect("a directory");
        let recipe = "FROM busybox\nENV A=b\nRUN echo $A > /made && id -u >> /made && mkdir /work && chown worker /work\n\
                      USER worker\nWORKDIR /work\nRUN id -un > mine && stat -c %U mine >> /work/mine\nCMD cat /made /work/mine\n";
        fs::write(context.join("Dockerfile"), recipe).expect("a file");
        docker.finish(&["build", "--network", "none", "-t", "built", &context.to_string_lossy()], b"").ok();
        fs::write(context.join("Dockerfile"), "FROM busybox\nRUN exit 9\n").expect("a file");
        let failed = docker.finish(&["build", "--network", "none", &context.to_string_lossy()], b"");
        assert!(failed.stderr.contains("returned a non-zero code: 9"), "{failed}");
        // Asked for its version, the runtime answered in a form that Docker reads.
        assert!(!docker.log().contains("runtime version"), "{}", docker.log());
        docker.finish(&["run", "--rm", "--network", "none", "built"], b"").ok().stdout
    });
    assert_eq!(built, ["b\n0\nworker\nworker\n"; 2]);
}
