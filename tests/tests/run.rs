// SPDX-License-Identifier: Apache-2.0
//! `corten run` and its flags.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use end_to_end::life;
use rustix::process::Signal;
use testkit::Daemon;
use testkit::fixtures::image::digest;

#[test]
fn the_exit_code_is_the_commands() {
    life::the_exit_code_is_the_commands();
}

#[test]
fn a_container_runs_in_the_background_and_is_stopped() {
    life::a_container_runs_in_the_background_and_is_stopped();
}

#[test]
fn the_two_outputs_stay_apart_and_the_input_arrives() {
    let daemon = Daemon::with_busybox();
    let both = daemon.corten(&["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2"]).ok();
    assert_eq!((both.stdout.as_str(), both.stderr.as_str()), ("out\n", "err\n"));
    let fed = daemon.spawn_with(&["run", "-i", "--rm", "busybox", "cat"], b"fed\n", &[]).wait().ok();
    assert_eq!(fed.stdout, "fed\n");
    let unfed = daemon.spawn_with(&["run", "--rm", "busybox", "cat"], b"not asked for\n", &[]).wait().ok();
    assert_eq!(unfed.stdout, "");
}

#[test]
fn megabytes_pass_in_both_directions_without_a_byte_lost() {
    let daemon = Daemon::with_busybox();
    let input: Vec<u8> =
        (0..8_000_000u32).map(|n| b"0123456789abcdef"[(n.wrapping_mul(2_654_435_761) >> 28) as usize]).collect();
    let echoed = daemon.spawn_with(&["run", "-i", "--rm", "busybox", "cat"], &input, &[]).wait().ok();
    assert_eq!(echoed.stdout.len(), input.len());
    assert_eq!(digest(echoed.stdout.as_bytes()), digest(&input));
}

#[test]
fn environment_directory_user_and_host_name_are_as_asked() {
    let daemon = Daemon::with_busybox();
    let environment = daemon.ok(&["run", "--rm", "-e", "ONE=1", "-e", "TWO=two words", "busybox", "env"]);
    for line in ["ONE=1", "TWO=two words", "HOME=/root"] {
        assert!(environment.lines().any(|seen| seen == line), "{line} is not in\n{environment}");
    }
    assert!(environment.lines().any(|line| line.starts_with("PATH=") && line.contains("/bin")), "{environment}");
    let passed =
        daemon.spawn_with(&["run", "--rm", "-e", "FROM_CALLER", "busybox", "env"], b"", &[("FROM_CALLER", "here")]);
    assert!(passed.wait().ok().stdout.contains("FROM_CALLER=here\n"));
    assert_eq!(daemon.ok(&["run", "--rm", "-w", "/var", "busybox", "pwd"]), "/var");
    assert_eq!(daemon.ok(&["run", "--rm", "-w", "/made/for/it", "busybox", "pwd"]), "/made/for/it");
    assert_eq!(daemon.ok(&["run", "--rm", "--hostname", "elsewhere", "busybox", "hostname"]), "elsewhere");
    let users = [
        ("worker", "uid=1000(worker) gid=1001(workers) groups=1001(workers),1002(audience)"),
        ("1000:0", "uid=1000(worker) gid=0(root)"),
        ("4242", "uid=4242 gid=0(root)"),
        ("4242:4343", "uid=4242 gid=4343"),
        ("worker:audience", "uid=1000(worker) gid=1002(audience)"),
    ];
    for (user, seen) in users {
        let ids = daemon.ok(&["run", "--rm", "-u", user, "busybox", "id"]);
        assert!(ids.starts_with(seen), "-u {user}: {ids}");
    }
}

#[test]
fn the_host_name_is_the_short_id_and_is_in_the_hosts_file() {
    let daemon = Daemon::with_busybox();
    let id = daemon.ok(&["run", "-d", "busybox", "sleep", "60"]);
    assert_eq!(daemon.ok(&["exec", &id, "hostname"]), &id[..12]);
    let hosts = daemon.ok(&["exec", &id, "cat", "/etc/hosts"]);
    assert!(hosts.contains(&id[..12]) && hosts.contains("localhost"), "{hosts}");
    assert_eq!(daemon.ok(&["exec", &id, "cat", "/etc/hostname"]), &id[..12]);
}

#[test]
fn a_bind_mount_is_the_hosts_directory_and_read_only_when_asked() {
    let daemon = Daemon::with_busybox();
    let shared = daemon.path().join("a directory of the host");
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("question"), "of the host\n").unwrap();
    let bind = format!("{}:/shared", shared.display());
    let script = "cat /shared/question; echo from inside > /shared/answer";
    assert_eq!(daemon.ok(&["run", "--rm", "-v", &bind, "busybox", "sh", "-c", script]), "of the host");
    assert_eq!(std::fs::read_to_string(shared.join("answer")).unwrap(), "from inside\n");
    assert_eq!(std::fs::metadata(shared.join("answer")).unwrap().uid(), 0);
    let refused = daemon.corten(&["run", "--rm", "-v", &format!("{bind}:ro"), "busybox", "touch", "/shared/more"]);
    assert!(refused.code != 0 && refused.stderr.contains("Read-only file system"), "{refused}");
    // A symbolic link in the image decides where below its own root a mount lands, never where on the host.
    let script = "ls -l /var/run >/dev/null 2>&1; cat /run/question";
    assert_eq!(
        daemon.ok(&["run", "--rm", "-v", &format!("{}:/run", shared.display()), "busybox", "sh", "-c", script]),
        "of the host"
    );
}

#[test]
fn an_entrypoint_replaces_the_images_and_takes_the_arguments() {
    let daemon = Daemon::with_busybox();
    assert_eq!(daemon.ok(&["run", "--rm", "--entrypoint", "echo", "busybox", "one", "two"]), "one two");
    assert_eq!(daemon.ok(&["run", "--rm", "--entrypoint", "/bin/hostname", "--hostname", "x", "busybox"]), "x");
}

#[test]
fn a_name_is_taken_once_and_free_as_soon_as_rm_returns() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "mine", "busybox", "sleep", "60"]);
    daemon.fails(&["run", "--name", "mine", "busybox", "true"], 125).saying("mine");
    daemon.ok(&["rm", "-f", "mine"]);
    for _ in 0..5 {
        daemon.corten(&["run", "--rm", "--name", "mine", "busybox", "true"]).ok();
    }
    assert_eq!(daemon.ok(&["ps", "-aq"]), "");
}

#[test]
fn a_signal_to_the_client_reaches_the_command() {
    let daemon = Daemon::with_busybox();
    let script = "trap 'exit 33' TERM; echo ready > /shared/ready; while :; do sleep 0.05; done";
    let bind = format!("{}:/shared", daemon.path().display());
    let client = daemon.spawn(&["run", "--rm", "-v", &bind, "busybox", "sh", "-c", script]);
    while !daemon.path().join("ready").exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    client.signal(Signal::TERM);
    assert_eq!(client.wait().code, 33);
}

#[test]
fn fifty_containers_in_a_row_and_eight_at_once_leave_nothing() {
    let daemon = Daemon::with_busybox();
    for _ in 0..50 {
        daemon.corten(&["run", "--rm", "busybox", "true"]).ok();
    }
    let running: Vec<_> = (0..8).map(|_| daemon.spawn(&["run", "--rm", "busybox", "sleep", "0.2"])).collect();
    for client in running {
        client.wait().ok();
    }
    daemon.assert_no_container_left();
}
