// SPDX-License-Identifier: Apache-2.0
//! Leaving a terminal by keys with Docker's command line, which leaves it to the daemon to look for them.

use std::time::{Duration, Instant};

use end_to_end::docker_cli::command;
use testkit::terminal::Terminal;
use testkit::{Daemon, Finished};

fn terminal(daemon: &Daemon, arguments: &[&str]) -> Terminal {
    Terminal::start(daemon.sandbox(), &command(daemon, arguments), 24, 80)
}

fn says(daemon: &Daemon, words: &str) -> Finished {
    let begun = Instant::now();
    loop {
        let found = daemon.corten(&["exec", "shell", "cat", "/said"]);
        if found.stdout.contains(words) || begun.elapsed() > Duration::from_secs(20) {
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn dockers_command_line_leaves_a_terminal_by_keys() {
    let daemon = Daemon::with_busybox();
    let mut run = terminal(&daemon, &["run", "-it", "--name", "shell", "busybox", "sh"]);
    run.expect("/ #");
    // The first of the two keys alone reaches the shell, which then goes back in its history.
    run.send("echo one > /said\n");
    assert!(says(&daemon, "one").stdout.contains("one"));
    run.send("\u{10}\u{11}");
    run.wait();
    assert_eq!(daemon.inspect("shell")["State"]["Status"], "running", "it left, and the container goes on");

    let mut attach = terminal(&daemon, &["attach", "--detach-keys", "ctrl-a,x", "shell"]);
    attach.send("echo two > /said\n");
    assert!(says(&daemon, "two").stdout.contains("two"));
    attach.send("\u{1}x");
    attach.wait();
    assert_eq!(daemon.inspect("shell")["State"]["Status"], "running");

    let mut exec = terminal(&daemon, &["exec", "-it", "shell", "sh"]);
    exec.expect("/ #");
    exec.send("\u{10}\u{11}");
    exec.wait();
    let mut wrong = terminal(&daemon, &["attach", "--detach-keys", "ctrl-1", "shell"]);
    wrong.expect("400");
    assert_ne!(wrong.wait(), 0);
    daemon.ok(&["rm", "-f", "shell"]);
    daemon.assert_no_container_left();
}
