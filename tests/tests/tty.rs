// SPDX-License-Identifier: Apache-2.0
//! `-it`: a real terminal, driven as a person would.

use testkit::Daemon;

#[test]
fn the_terminal_has_the_callers_size_from_the_first_instruction() {
    let daemon = Daemon::with_busybox();
    let mut terminal = daemon.terminal(&["run", "-it", "--rm", "busybox", "stty", "size"], 33, 101);
    assert_eq!(terminal.wait(), 0);
    terminal.expect("33 101");
}

/// The client panicked now and then when its stdin's task ended before the session did.
#[test]
fn a_command_that_ends_at_once_ends_the_client_as_well() {
    let daemon = Daemon::with_busybox();
    for _ in 0..40 {
        assert_eq!(daemon.terminal(&["run", "-it", "--rm", "busybox", "true"], 24, 80).wait(), 0);
    }
}

#[test]
fn a_new_size_reaches_the_container() {
    let daemon = Daemon::with_busybox();
    let script = "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.05; done";
    let mut terminal = daemon.terminal(&["run", "-it", "--rm", "busybox", "sh", "-c", script], 24, 80);
    terminal.expect("ready");
    terminal.resize(47, 133);
    terminal.expect("47 133");
    assert_eq!(terminal.wait(), 0);
}

#[test]
fn it_is_a_shell_at_a_prompt() {
    let daemon = Daemon::with_busybox();
    let mut terminal = daemon.terminal(&["run", "-it", "--rm", "busybox", "sh"], 24, 80);
    terminal.expect("# ");
    terminal.send("tty; test -t 0 && test -t 1 && test -t 2 && echo all-$((40+2))\n");
    terminal.expect("all-42");
    terminal.expect("/dev/");
    terminal.send("exit 12\n");
    assert_eq!(terminal.wait(), 12);
}

#[test]
fn ctrl_c_is_the_containers() {
    let daemon = Daemon::with_busybox();
    let script = "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.05; done";
    let mut terminal = daemon.terminal(&["run", "-it", "--rm", "busybox", "sh", "-c", script], 24, 80);
    terminal.expect("ready");
    terminal.send("\x03");
    terminal.expect("caught");
    assert_eq!(terminal.wait(), 3);
}

#[test]
fn the_detach_keys_leave_it_running_and_the_terminal_as_it_was() {
    let daemon = Daemon::with_busybox();
    let mut terminal = daemon.terminal(&["run", "-it", "--name", "left", "busybox", "sh"], 24, 80);
    terminal.expect("# ");
    assert!(!terminal.echoes(), "a raw terminal echoes nothing itself");
    terminal.send("echo still-$((1+1))\n");
    terminal.expect("still-2");
    terminal.send("\x10\x11");
    assert_eq!(terminal.wait(), 0);
    assert!(terminal.echoes(), "the terminal was not put back");
    assert_eq!(daemon.inspect("left")["State"]["Running"], true);
    assert_eq!(daemon.ok(&["exec", "left", "echo", "reached"]), "reached");
}

#[test]
fn exec_has_a_terminal_of_its_own() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "host", "busybox", "sleep", "60"]);
    let mut terminal = daemon.terminal(&["exec", "-it", "host", "sh"], 41, 99);
    terminal.expect("# ");
    terminal.send("stty size\n");
    terminal.expect("41 99");
    terminal.resize(20, 70);
    terminal.send("stty size\n");
    terminal.expect("20 70");
    terminal.send("exit 4\n");
    assert_eq!(terminal.wait(), 4);
    assert!(terminal.echoes(), "the terminal was not put back");
}

#[test]
fn the_terminal_is_put_back_when_the_command_ends() {
    let daemon = Daemon::with_busybox();
    let mut terminal = daemon.terminal(&["run", "-it", "--rm", "busybox", "true"], 24, 80);
    assert_eq!(terminal.wait(), 0);
    assert!(terminal.echoes());
}

#[test]
fn asking_for_a_terminal_without_one_is_refused_before_anything_is_made() {
    let daemon = Daemon::with_busybox();
    let refused = daemon.corten(&["run", "-it", "--name", "none", "busybox", "true"]);
    assert!(refused.code != 0 && refused.stderr.contains("terminal"), "{refused}");
    assert_eq!(daemon.ok(&["ps", "-aq"]), "");
}
