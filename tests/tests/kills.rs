// SPDX-License-Identifier: Apache-2.0
//! `kill -9` of the daemon and of shims at random, while containers come and go: after each, every container's state is
//! the kernel's, and what was acknowledged holds.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use end_to_end::chance::{Chance, number};
use end_to_end::network::serve;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::leftovers::{Leftovers, parent};
use testkit::{Daemon, Finished, Running, internet};

/// Those that run all the time; one is started again when it ends, one has a published port.
const STEADY: [&str; 4] = ["plain", "other", "always", "port"];
const PORT: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 8080);
/// Clients at once.
const CLIENTS: usize = 6;
/// Those that come and go, at most.
const CROWD: usize = 8;

/// Who is killed.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Daemon,
    /// And its successor as soon as it answers.
    DaemonTwice,
    Shim(&'static str),
    Both(&'static str),
}

impl Victim {
    fn drawn(chance: &mut Chance) -> Victim {
        let shim = *chance.pick(&STEADY);
        [Victim::Daemon, Victim::DaemonTwice, Victim::Shim(shim), Victim::Both(shim)][chance.below(4)]
    }

    fn shim(self) -> Option<&'static str> {
        match self {
            Victim::Shim(name) | Victim::Both(name) => Some(name),
            Victim::Daemon | Victim::DaemonTwice => None,
        }
    }

    fn is_daemon(self) -> bool {
        !matches!(self, Victim::Shim(_))
    }
}

/// What an acknowledged command promises of its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Promise {
    Gone,
    Here,
    Status(&'static str),
}

/// A command under way, and what it promises when it is acknowledged.
struct Chore {
    container: String,
    promise: Promise,
    running: Running,
}

/// The containers that come and go, with their last known status. Of one whose last command was not acknowledged nothing
/// is known but that its state is the kernel's.
type Crowd = BTreeMap<String, Option<&'static str>>;

fn chores(daemon: &Daemon, crowd: &mut Crowd, chance: &mut Chance, round: usize) -> Vec<Chore> {
    let mut known: Vec<(String, Option<&str>)> = crowd.iter().map(|(name, status)| (name.clone(), *status)).collect();
    let mut chores = Vec::new();
    for number in 0..CLIENTS {
        let is_new = known.is_empty() || (crowd.len() + number < CROWD && chance.below(2) == 0);
        let (container, words, promise): (String, Vec<&str>, Promise) = if is_new {
            let name = format!("c{round}-{number}");
            match chance.below(4) {
                0 => (name, vec!["run", "-d", "--name", "NAME", "busybox", "sleep", "600"], Promise::Status("running")),
                1 => {
                    let words =
                        vec!["run", "-d", "--restart", "unless-stopped", "--name", "NAME", "busybox", "sleep", "600"];
                    (name, words, Promise::Status("running"))
                }
                2 => (name, vec!["create", "--name", "NAME", "busybox", "sleep", "600"], Promise::Status("created")),
                _ => (name, vec!["run", "--rm", "--name", "NAME", "busybox", "true"], Promise::Gone),
            }
        } else {
            let (name, status) = known.swap_remove(chance.below(known.len()));
            let running = Promise::Status("running");
            let choices: &[(&[&str], Promise)] = match status {
                Some("running") => &[
                    (&["stop", "-t", "0", "NAME"], Promise::Status("exited")),
                    (&["kill", "-s", "KILL", "NAME"], Promise::Here),
                    (&["pause", "NAME"], Promise::Status("paused")),
                    (&["restart", "-t", "0", "NAME"], running),
                    (&["exec", "NAME", "true"], running),
                    (&["rm", "-f", "NAME"], Promise::Gone),
                ],
                Some("paused") => &[(&["unpause", "NAME"], running), (&["rm", "-f", "NAME"], Promise::Gone)],
                Some(_) => &[(&["start", "NAME"], running), (&["rm", "NAME"], Promise::Gone)],
                None => &[(&["rm", "-f", "NAME"], Promise::Gone), (&["restart", "-t", "0", "NAME"], running)],
            };
            let (words, promise) = chance.pick(choices);
            (name, words.to_vec(), *promise)
        };
        let words: Vec<&str> = words.into_iter().map(|word| if word == "NAME" { &container } else { word }).collect();
        let running = daemon.spawn(&words);
        chores.push(Chore { container, promise, running });
    }
    chores
}

/// What is known of the crowd when all have been answered, or not.
fn settle(chores: Vec<Chore>, crowd: &mut Crowd, told: &mut Told) {
    for Chore { container, promise, running } in chores {
        let finished = running.wait();
        let acknowledged = finished.code == 0;
        told.note(&finished);
        match promise {
            Promise::Gone if acknowledged => crowd.remove(&container),
            Promise::Status(status) if acknowledged => crowd.insert(container, Some(status)),
            Promise::Gone | Promise::Here | Promise::Status(_) => crowd.insert(container, None),
        };
    }
}

/// How the commands ended.
#[derive(Debug, Default)]
struct Told {
    acknowledged: usize,
    cut_short: usize,
    refused: usize,
    /// What was said to whom, and how it ended.
    history: Vec<String>,
}

impl Told {
    /// Whether enough was hit for the test to mean something.
    fn is_telling(&self, kills: usize) -> bool {
        self.acknowledged > kills && self.cut_short >= kills / 4
    }

    fn note(&mut self, finished: &Finished) {
        let words = &finished.stderr;
        self.history.push(format!("{} -> {} {}", finished.arguments.join(" "), finished.code, words.trim()));
        let cut =
            ["the daemon did not answer", "broke", "connection", "no daemon"].iter().any(|part| words.contains(part));
        *match (finished.code, cut) {
            (0, _) => &mut self.acknowledged,
            (_, true) => &mut self.cut_short,
            (_, false) => &mut self.refused,
        } += 1;
    }
}

fn state(daemon: &Daemon, name: &str) -> Value {
    daemon.inspect(name)["State"].clone()
}

fn pid_of(daemon: &Daemon, name: &str) -> i32 {
    state(daemon, name)["Pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a process id")
}

/// Whether a process runs: one that has ended and that nobody has waited for yet does not.
fn is_alive(pid: i64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[track_caller]
fn soon(what: impl Fn() -> Result<(), String>) {
    let begun = Instant::now();
    while let Err(why) = what() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{why}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Every container is what the kernel says, and what was promised.
fn assert_true(daemon: &Daemon, crowd: &mut Crowd) {
    let listed = daemon.ok(&["ps", "-a", "--format", "{{.Names}}"]);
    let listed: Vec<&str> = listed.lines().collect();
    for name in &listed {
        soon(|| {
            let state = state(daemon, name);
            let (status, pid) = (state["Status"].as_str().unwrap_or_default(), state["Pid"].as_i64().unwrap_or(-1));
            let fits = match status {
                "running" | "paused" => is_alive(pid),
                "created" | "exited" => pid == 0,
                _ => false,
            };
            if fits { Ok(()) } else { Err(format!("{name}: {state}")) }
        });
    }
    // Those that were cut short may be there or not; those that should not be there may still be going.
    crowd.retain(|name, status| status.is_some() || listed.contains(&name.as_str()));
    for (name, status) in crowd.iter() {
        if let Some(status) = status {
            soon(|| {
                let state = state(daemon, name);
                if state["Status"] == *status { Ok(()) } else { Err(format!("{name} was {status}, and is {state}")) }
            });
        }
    }
    let strangers = || {
        let all = daemon.ok(&["ps", "-a", "--format", "{{.Names}}"]);
        let strange = all.lines().filter(|name| !STEADY.contains(name) && !crowd.contains_key(*name));
        let strange: Vec<String> = strange.map(str::to_owned).collect();
        if strange.is_empty() { Ok(()) } else { Err(format!("they were removed: {strange:?}")) }
    };
    soon(strangers);
}

/// One round: a crowd of commands, and a kill in the middle of them.
fn play(daemon: &Daemon, crowd: &mut Crowd, chance: &mut Chance, round: usize, victim: Victim, told: &mut Told) {
    let before: Vec<i32> = STEADY.iter().map(|name| pid_of(daemon, name)).collect();
    let shim = victim.shim().map(|name| parent(pid_of(daemon, name)).expect("it lives"));
    let chores = chores(daemon, crowd, chance, round);
    std::thread::sleep(Duration::from_micros(chance.below(40_000) as u64));
    if victim.is_daemon() {
        daemon.kill();
    }
    if let Some(shim) = shim {
        kill_process(Pid::from_raw(shim).expect("an id"), Signal::KILL).expect("it lives");
    }
    settle(chores, crowd, told);
    if victim.is_daemon() {
        daemon.start();
    }
    if matches!(victim, Victim::DaemonTwice) {
        std::thread::sleep(Duration::from_micros(chance.below(20_000) as u64));
        daemon.kill();
        daemon.start();
    }
    for (name, before) in STEADY.iter().zip(before) {
        match victim.shim() == Some(*name) {
            false => assert_eq!(pid_of(daemon, name), before, "{name} was not to be touched"),
            true if *name == "always" => soon(|| {
                let state = state(daemon, name);
                let again = state["Status"] == "running" && state["Pid"] != before;
                if again { Ok(()) } else { Err(format!("{name} was to be started again: {state}")) }
            }),
            true => {
                soon(|| {
                    let state = state(daemon, name);
                    let ended = state["Status"] == "exited" && state["ExitCode"] == 137;
                    if ended { Ok(()) } else { Err(format!("{name} was killed: {state}")) }
                });
                assert!(!is_alive(before.into()), "the command of {name} outlived its shim");
                daemon.ok(&["start", name]);
            }
        }
    }
    assert_eq!(internet::get_soon(daemon.sandbox(), PORT, "/").body, "still here\n");
    assert_true(daemon, crowd);
}

/// Twelve rounds; by hand as many as `CORTEN_KILLS` says, with other chances by `CORTEN_SEED`. A failure names both.
#[test]
fn whoever_is_killed_under_load_every_state_is_right_afterwards() {
    let (kills, seed) = (number("CORTEN_KILLS").unwrap_or(12), number("CORTEN_SEED").unwrap_or(7));
    let host = Leftovers::snapshot();
    let daemon = Daemon::with_busybox();
    for name in ["plain", "other"] {
        daemon.ok(&["run", "-d", "--name", name, "busybox", "sleep", "3600"]);
    }
    daemon.ok(&["run", "-d", "--name", "always", "--restart", "always", "busybox", "sleep", "3600"]);
    serve(&daemon, "port", &["-p", "8080:80"], "still here");
    let (mut chance, mut crowd, mut told) = (Chance::new(seed), Crowd::new(), Told::default());
    for round in 0..kills * 4 {
        // A busy machine may need more of them: clients take longer to begin there.
        if round >= kills && told.is_telling(kills) {
            break;
        }
        let victim = Victim::drawn(&mut chance);
        let case = format!("CORTEN_SEED={seed} CORTEN_KILLS={kills}, round {round}, {victim:?}");
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            play(&daemon, &mut crowd, &mut chance, round, victim, &mut told);
        }));
        assert!(played.is_ok(), "{}\n{case}: see above", told.history.join("\n"));
    }
    let Told { acknowledged, cut_short, refused, .. } = told;
    println!("acknowledged {acknowledged}, cut short {cut_short}, refused {refused}");
    assert!(told.is_telling(kills), "too little was under way");
    let all = daemon.ok(&["ps", "-aq"]);
    let remove: Vec<&str> = ["rm", "-f"].into_iter().chain(all.split_whitespace()).collect();
    daemon.ok(&remove);
    daemon.assert_no_container_left();
    drop(daemon);
    host.assert_host_unchanged();
}
