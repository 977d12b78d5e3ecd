// SPDX-License-Identifier: Apache-2.0
//! The command line as a whole: completion, manual pages, the help, the service's units.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use testkit::Daemon;
use testkit::process::command;

/// The words that may end this line, by `corten __complete`.
#[track_caller]
fn completed(daemon: &Daemon, words: &[&str]) -> Vec<String> {
    let text = daemon.ok(&[&["__complete", "--"], words].concat());
    text.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn names_of_what_there_is_complete_a_line() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "runs", "busybox", "sleep", "60"]);
    daemon.ok(&["create", "--name", "rests", "busybox", "true"]);
    daemon.ok(&["volume", "create", "kept"]);
    for (words, wanted) in [
        (&["rm", ""][..], &["rests", "runs"][..]),
        (&["rm", "-f", "ru"], &["runs"]),
        (&["stop", ""], &["runs"]),
        (&["exec", "-it", ""], &["runs"]),
        (&["container", "inspect", "re"], &["rests"]),
        (&["run", "--rm", "busy"], &["busybox:latest"]),
        (&["run", "--rm", "busybox", ""], &[":files"]),
        (&["volume", "rm", ""], &["kept"]),
        (&["con"], &["container", "context"]),
        (&["system", "serv"], &["service"]),
        (&["run", "--pull", ""], &["always", "missing", "never"]),
        (&["ps", "--no-t"], &["--no-trunc"]),
        (&["import", ""], &[":files"]),
    ] {
        let mut found = completed(&daemon, words);
        found.sort();
        assert_eq!(found, wanted, "{words:?}");
    }
    // Nobody to ask: nothing is said, and nothing is started.
    assert_eq!(completed(&daemon, &["-H", "unix:///nowhere", "rm", ""]), Vec::<String>::new());
}

/// What bash itself completes with our script.
#[test]
fn bash_completes_with_the_script() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "runs", "busybox", "sleep", "60"]);
    let programs = daemon.path().join("programs");
    fs::create_dir(&programs).unwrap();
    std::os::unix::fs::symlink(testkit::corten::binary(), programs.join("corten")).unwrap();
    let complete = |line: &str| {
        let script = format!(
            "source <(corten completion bash)\nCOMP_LINE='{line}' COMP_POINT={}\n_corten_complete\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
            line.len()
        );
        let mut bash = command("bash");
        bash.env("PATH", format!("{}:/usr/bin:/bin", programs.display())).env("CORTEN_HOST", daemon.host());
        bash.arg("--norc").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = daemon.sandbox().run(move || {
            let mut child = bash.spawn().expect("bash is installed");
            child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
            child.wait_with_output().unwrap()
        });
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(complete("corten stop "), "runs");
    assert_eq!(complete("corten image l"), "load\nls");
    // Bash keeps what stands before the colon.
    assert_eq!(complete("corten run busybox:la"), "latest");
    assert_eq!(complete("corten inspect --f"), "--format");
}

#[test]
fn pages_scripts_and_units_are_written() {
    let daemon = Daemon::builder().start();
    let root = daemon.path().join("root");
    let root = root.to_str().unwrap();
    let pages = format!("{root}/man1");
    daemon.ok(&["man", &pages]);
    for page in ["corten.1", "corten-run.1", "corten-container-ls.1", "corten-system-service-install.1"] {
        assert!(fs::read_to_string(format!("{pages}/{page}")).unwrap().contains(".SH NAME"), "{page}");
    }
    for (shell, words) in [("bash", "complete -F"), ("zsh", "#compdef corten"), ("fish", "complete -c corten")] {
        assert!(daemon.ok(&["completion", shell]).contains(words));
    }
    let service = |arguments: &[&str]| daemon.corten(&[&["system", "service"], arguments, &["--root", root]].concat());
    assert!(service(&["install", "--print"]).ok().stdout.contains("ExecStart="));
    assert_eq!(service(&["status"]).code, 1);
    let written = service(&["install", "--group", "docker"]).ok();
    assert_eq!(written.stdout.lines().count(), 2, "{written}");
    service(&["status"]).ok();
    let socket = fs::read_to_string(format!("{root}/etc/systemd/system/corten.socket")).unwrap();
    assert!(
        socket.contains("ListenStream=/run/corten/corten.sock") && socket.contains("SocketGroup=docker"),
        "{socket}"
    );
    service(&["install", "--user"]).fails(1).saying("root");
    service(&["install", "--group", "x\ny"]).fails(1);
    service(&["uninstall"]).ok();
    assert_eq!(service(&["status"]).code, 1);
    assert_eq!(fs::read_dir(format!("{root}/etc/systemd/system")).unwrap().count(), 0);
}

#[test]
fn the_help_has_examples_and_colours_where_they_are_wanted() {
    let daemon = Daemon::builder().start();
    let help = daemon.ok(&["run", "--help"]);
    assert!(help.contains("Examples:") && help.contains("corten run --rm -it") && !help.contains('\x1b'), "{help}");
    assert!(daemon.ok(&["container", "run", "--help"]).contains("Examples:"));
    let mut terminal = daemon.terminal(&["--help"], 200, 120);
    terminal.expect("\x1b[");
    assert_eq!(terminal.wait(), 0);
}
