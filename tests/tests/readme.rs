// SPDX-License-Identifier: Apache-2.0
//! What the README promises to somebody with a fresh clone.

use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use testkit::corten::binary;
use testkit::sandbox::Sandbox;

fn readme() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).expect("the README")
}

#[test]
fn the_readme_names_the_two_commands() {
    for command in ["cargo run --release -- run --rm corten/hello", "cargo xtask test"] {
        assert!(readme().contains(command), "{command:?} is not in the README");
    }
}

#[test]
fn the_binary_is_static() {
    let ldd = testkit::process::command("ldd").arg(binary()).output().unwrap();
    let text = String::from_utf8_lossy(&ldd.stdout).into_owned() + &String::from_utf8_lossy(&ldd.stderr);
    assert!(text.contains("not a dynamic executable") || text.contains("statically linked"), "{text}");
}

/// `sys::early` spares a container's launcher the C library's first start: the executable's entry is its, which keeps the
/// stack pointer before anything else.
#[cfg(target_arch = "x86_64")]
#[test]
fn the_binary_begins_before_the_c_library() {
    let program = std::fs::read(binary()).unwrap();
    let number = |at: usize, size: usize| {
        let bytes = program[at..at + size].iter().rev();
        bytes.fold(0_usize, |number, byte| number << 8 | usize::from(*byte))
    };
    // elf(5): the entry's address, and of each program header the file offset, address and size.
    let (entry, table, size, count) = (number(24, 8), number(32, 8), number(54, 2), number(56, 2));
    let headers = (0..count).map(|index| table + index * size);
    let segments = headers.map(|at| (number(at + 8, 8), number(at + 16, 8), number(at + 32, 8)));
    let (offset, address, _) = { segments }.find(|(_, start, size)| (*start..start + size).contains(&entry)).unwrap();
    let first = &program[entry - address + offset..];
    assert!(first.starts_with(&[0x31, 0xed, 0x48, 0x89, 0xe3]), "{:x?}", &first[..16]);
}

/// In its own namespaces and directories, with no daemon there yet and no other program to be found.
fn corten(sandbox: &Sandbox, directory: &Path, arguments: &'static [&'static str]) -> Output {
    let directory = directory.to_owned();
    sandbox.run(move || {
        testkit::process::command(binary())
            .args(arguments)
            .env_clear()
            .env("PATH", "/nonexistent")
            .env("CORTEN_DATA_ROOT", directory.join("data"))
            .env("CORTEN_EXEC_ROOT", directory.join("exec"))
            .stdin(std::process::Stdio::null())
            .output()
            .expect("the binary starts")
    })
}

#[test]
fn the_first_command_starts_a_daemon_and_runs_a_container() {
    let sandbox = Sandbox::new();
    let directory = tempfile::Builder::new().prefix("corten-test-").tempdir().unwrap();
    let output = corten(&sandbox, directory.path(), &["run", "--rm", "corten/hello"]);
    let second = corten(&sandbox, directory.path(), &["run", "--rm", "corten/hello"]);
    let pid_text = std::fs::read_to_string(directory.path().join("exec/corten.pid")).unwrap_or_default();
    let pid = pid_text.trim().parse().ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        kill_process(pid, Signal::TERM).expect("the daemon that was started runs");
        let begun = Instant::now();
        while test_kill_process(pid).is_ok() && !is_zombie(pid) {
            assert!(begun.elapsed() < Duration::from_secs(10), "the daemon does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    for output in [&output, &second] {
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.to_lowercase().contains("pid"), "{text}");
    }
    assert!(pid.is_some(), "the daemon left no pidfile");
    let begun = Instant::now();
    while sandbox.interfaces() != ["lo"] {
        assert!(begun.elapsed() < Duration::from_secs(10), "links are left: {:?}", sandbox.interfaces());
        std::thread::sleep(Duration::from_millis(20));
    }
    let left: Vec<String> = sandbox.mounts().into_iter().filter(|m| m.contains("corten-test-")).collect();
    assert!(left.is_empty(), "{left:?}");
}

fn is_zombie(pid: Pid) -> bool {
    std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).is_ok_and(|stat| stat.contains(") Z "))
}

#[test]
fn asked_for_its_version_or_help_it_touches_nothing() {
    let sandbox = Sandbox::new();
    let directory = tempfile::tempdir().unwrap();
    for arguments in [&["--version"][..], &["--help"][..], &["run", "--help"][..]] {
        let output = corten(&sandbox, directory.path(), arguments);
        assert!(output.status.success() && !output.stdout.is_empty(), "{arguments:?}: {output:?}");
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

fn is_flag(line: &str) -> bool {
    line.trim_start().strip_prefix('-').is_some_and(|rest| !rest.starts_with(' '))
}

/// The flags in a help text whose line says nothing beside their name.
fn undocumented(help: &str) -> Vec<String> {
    let lines: Vec<&str> = help.lines().collect();
    let flags = lines.iter().enumerate().filter(|(_, line)| line.starts_with(' ') && is_flag(line));
    flags
        .filter(|(index, line)| {
            let beside = line.trim().split_once("  ").is_some_and(|(_, words)| !words.trim().is_empty());
            let below = lines.get(index + 1).is_some_and(|next| next.starts_with("          ") && !is_flag(next));
            !beside && !below
        })
        .map(|(_, line)| line.trim().to_owned())
        .collect()
}

#[test]
fn a_flag_without_a_word_about_it_is_noticed() {
    assert_eq!(
        undocumented("Options:\n  -a, --all  Show all\n  -q, --quiet\n      --name <NAME>\n          The name\n"),
        ["-q, --quiet"]
    );
}

#[test]
fn every_flag_of_every_command_says_what_it_does() {
    let help = |arguments: &[&str]| {
        let output = testkit::process::command(binary()).args(arguments).arg("--help").output().unwrap();
        assert!(output.status.success(), "{arguments:?} --help: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let top = help(&[]);
    let commands: Vec<&str> = top
        .lines()
        // They stand below several headings, the last of which is that of the flags.
        .skip_while(|line| !line.contains("ommands:"))
        .take_while(|line| !line.starts_with("Options"))
        // What stands further in goes on about the command before.
        .filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '))?.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    for wanted in [
        "run", "ps", "logs", "exec", "inspect", "stop", "kill", "start", "wait", "rm", "images", "rmi", "info",
        "version",
    ] {
        assert!(commands.contains(&wanted), "{wanted} is not in\n{top}");
    }
    for command in commands {
        let silent = undocumented(&help(&[command]));
        assert!(silent.is_empty(), "corten {command} --help says nothing about {silent:?}");
    }
}
