// SPDX-License-Identifier: Apache-2.0
//! Docker's own help beside `docs/cli.md` and `docs/run-flags.md`: every command and every flag that Docker has is there,
//! or refused by name.

use std::collections::{BTreeMap, BTreeSet};

use testkit::process::command;

/// The help of one of Docker's commands; no daemon is asked.
fn help(path: &[&str]) -> String {
    let mut docker = command("docker");
    docker.args(path).arg("--help").env("DOCKER_HOST", "unix:///nowhere").env("DOCKER_CONFIG", "/nowhere");
    let output = docker.output().expect("docker is installed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The flags that a help lists, with their letters.
fn flags(help: &str) -> Vec<(Option<char>, String)> {
    let one = |line: &str| {
        let line = line.trim_start();
        let (letter, rest) = match line.strip_prefix('-')?.split_once(", --") {
            Some((letter, rest)) if letter.len() == 1 => (letter.chars().next(), rest),
            _ => (None, line.strip_prefix("--")?),
        };
        Some((letter, rest.split([' ', '=']).next()?.to_owned()))
    };
    help.lines().filter(|line| line.starts_with("  ")).filter_map(one).filter(|(_, name)| name != "help").collect()
}

/// The commands that a help lists.
fn commands(help: &str) -> Vec<String> {
    let is_command = |line: &&str| line.starts_with("  ") && line[2..].starts_with(|c: char| c.is_ascii_lowercase());
    let names = help.lines().filter(is_command).filter_map(|line| line.split_whitespace().next());
    names.map(|name| name.trim_end_matches('*').to_owned()).collect()
}

/// The names between backquotes in a line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// What the documentation says of each command: its flags, with their letters.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/");
    let read = |name: &str| std::fs::read_to_string(format!("{root}{name}")).expect("the page is there");
    let mut known = BTreeMap::<String, BTreeSet<String>>::new();
    for line in read("cli.md").lines().filter(|line| line.starts_with("| `")) {
        let mut names = quoted(line);
        let command = names.next().unwrap_or_default().to_owned();
        known.entry(command).or_default().extend(names.flat_map(|names| names.split(", ")).map(str::to_owned));
    }
    let run: BTreeSet<String> = read("run-flags.md")
        .lines()
        .filter(|line| line.starts_with("| `-"))
        .filter_map(|line| quoted(line).next())
        .flat_map(|names| names.split(", "))
        .map(str::to_owned)
        .collect();
    known.insert("run".into(), run.clone());
    known.insert("create".into(), run);
    known
}

/// What is answered with its reason, by the page's words.
fn refused() -> BTreeSet<String> {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/cli.md")).expect("the page is there");
    let section = page.split("## Commands that Docker has beside these").nth(1).unwrap_or_default();
    quoted(section.split("\n## ").next().unwrap_or_default()).map(str::to_owned).collect()
}

#[test]
fn every_command_and_flag_of_dockers_is_documented() {
    let (known, refused) = (documented(), refused());
    let mut missing = Vec::new();
    let mut seen = 0;
    let mut paths: Vec<Vec<String>> = commands(&help(&[])).into_iter().map(|name| vec![name]).collect();
    while let Some(path) = paths.pop() {
        let name = path.join(" ");
        // `trust` has another meaning here, and says so.
        if path[0] == "trust"
            || refused.contains(&path[0])
            || refused.contains(&name)
            || refused.contains(path.last().unwrap_or(&name))
        {
            continue;
        }
        let words: Vec<&str> = path.iter().map(String::as_str).collect();
        let help = help(&words);
        let below = if help.contains("\nCommands:\n") { commands(&help) } else { Vec::new() };
        if !below.is_empty() {
            paths.extend(below.into_iter().map(|sub| [path.clone(), vec![sub]].concat()));
            continue;
        }
        // What stands in a group as it does alone is documented once.
        let Some(ours) = known.get(&name).or_else(|| known.get(*words.last().unwrap_or(&""))) else {
            missing.push(format!("the command {name}"));
            continue;
        };
        seen += 1;
        for (letter, flag) in flags(&help) {
            let names = [Some(format!("--{flag}")), letter.map(|letter| format!("-{letter}"))];
            let lacking = names.into_iter().flatten().filter(|wanted| !ours.contains(wanted));
            missing.extend(lacking.map(|wanted| format!("{name} {wanted}")));
        }
    }
    assert!(missing.is_empty(), "Docker has, and docs/cli.md and run-flags.md have not: {}", missing.join(", "));
    assert!(seen > 60, "Docker's help was not understood: {seen} commands");
}

#[test]
fn every_flag_of_dockerds_is_documented() {
    let output = command("/usr/sbin/dockerd").arg("--help").output().expect("dockerd is installed");
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/daemon.md")).expect("it is there");
    let rows = page.lines().filter(|line| line.starts_with("| `-")).filter_map(|line| quoted(line).next());
    let known: BTreeSet<&str> = rows.flat_map(|names| names.split(", ")).collect();
    let theirs = flags(&String::from_utf8_lossy(&output.stdout));
    // A version that is asked for is the program's: `corten --version`.
    let of_daemon = theirs.iter().filter(|(_, name)| name != "version");
    let missing: Vec<String> =
        of_daemon.map(|(_, name)| format!("--{name}")).filter(|name| !known.contains(&name[..])).collect();
    assert!(missing.is_empty(), "dockerd has, and docs/daemon.md has not: {}", missing.join(", "));
    assert!(theirs.len() > 60, "dockerd's help was not understood: {theirs:?}");
}
