// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask order`: which functions the OCI runtime, the engine's client and the daemon execute, for the linker to lay
//! side by side.
//!
//! The executable has some thirty megabytes of code, of which starting a container executes nine hundred functions, asking
//! the daemon for one not many more, and the daemon itself some thousands. The kernel maps what is touched in pieces of
//! 64 KiB: scattered over all, they cost several times the memory and the page faults. The list is a hint to the linker
//! (`crates/cli/build.rs`): a name that no longer exists is passed over, a function that is missing lies where it would
//! have lain. Write it anew when `tests/tests/memory.rs` says that something has grown.

use std::collections::HashSet;
use std::error::Error;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::Daemon;
use testkit::corten::binary;
use testkit::entries::{self, Entered, Functions};
use testkit::process::command;

use crate::{Outcome, bench, cargo};

/// Where the list is.
const LIST: &str = "crates/cli/link-order.txt";
/// What the daemon makes ready behind an answer is made by then.
const REST: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(60);

/// What a client asks for; the daemon does it in the same order.
const ASKED: &[&[&str]] = &[
    &["run", "--rm", "busybox", "true"],
    &["run", "-d", "--name", "one", "busybox", "sleep", "1000"],
    &["exec", "one", "true"],
    &["ps"],
    &["logs", "one"],
    &["rm", "-f", "one"],
];
/// What a daemon does beside that, day by day.
const MORE: &[&[&str]] = &[
    &["run", "--rm", "--network", "none", "busybox", "true"],
    &["run", "-d", "--name", "two", "-p", "127.0.0.1::80", "-v", "data:/data", "-m", "64m", "busybox", "sleep", "1000"],
    &["inspect", "two"],
    &["stats", "--no-stream", "two"],
    &["top", "two"],
    &["stop", "-t", "0", "two"],
    &["start", "two"],
    &["kill", "two"],
    &["wait", "two"],
    &["rm", "two"],
    &["images"],
    &["ps", "-a"],
    &["events", "--until", "0s"],
];

/// Runs the commands of a container's life, and writes down which functions they execute.
pub(crate) fn run() -> Outcome {
    cargo::build_release()?;
    let directory = tempfile::Builder::new().prefix("corten-order-").tempdir_in("/run")?;
    bench::bundle(directory.path())?;
    let symbols = symbols(&binary())?;
    let functions = Functions::of(&binary(), symbols.iter().map(|(address, _)| *address))?;
    let mut order = Order { symbols, functions, seen: HashSet::new(), list: String::new() };
    let lives: [&[&str]; 6] = [
        &["run", "one"],
        &["create", "two"],
        &["state", "two"],
        &["exec", "two", "true"],
        &["start", "two"],
        &["delete", "two"],
    ];
    for words in lives {
        let mut runtime = command(binary());
        runtime.args(["oci", "--root"]).arg(directory.path().join("state")).args(words).current_dir(&directory);
        order.command(&runtime)?;
        // What was started has ended by then: it is /bin/true.
        std::thread::sleep(REST);
    }
    let daemon = Daemon::with_busybox();
    for words in ASKED {
        let mut client = command(binary());
        client.args(["-H", &daemon.host()]).args(*words);
        order.command(&client)?;
    }
    daemon.stop();
    order.daemon(&daemon)?;
    std::fs::write(cargo::root().join(LIST), &order.list)?;
    println!("{} functions in {LIST}", order.seen.len());
    Ok(())
}

/// The functions that were executed, in the order in which each was so first.
struct Order {
    symbols: Vec<(u64, String)>,
    functions: Functions,
    seen: HashSet<u64>,
    list: String,
}

impl Order {
    /// Runs a command, and takes down what it executes.
    fn command(&mut self, command: &Command) -> Outcome {
        let child = entries::stopped(command).spawn()?;
        let entered = self.functions.follow(child)?;
        self.add(entered.iter());
        Ok(())
    }

    /// Starts the daemon, asks it for everything, and takes down what it executes: first what its zygote and shims do, then
    /// what it goes on doing itself, and what its start alone needs, which it lets go of, at the end.
    fn daemon(&mut self, daemon: &Daemon) -> Outcome {
        let mut stopped = entries::stopped(&daemon.command());
        let child = daemon.sandbox().run(move || stopped.spawn())?;
        let pid = Pid::from_raw(i32::try_from(child.id())?);
        let functions = &mut self.functions;
        let entered = std::thread::scope(|scope| -> Result<Vec<Entered>, Box<dyn Error>> {
            let asking = scope.spawn(|| {
                let asked = ask(daemon, pid);
                // It has ended already only when something is wrong, which is told below.
                let _ = kill(pid, Signal::SIGTERM);
                asked
            });
            let entered = functions.follow(child).map_err(|error| error.to_string());
            asking.join().map_err(|_| "the client panicked")??;
            Ok(entered?)
        })?;
        self.add(entered.iter().filter(|entered| !entered.by_first));
        self.add(entered.iter().filter(|entered| entered.part > 0));
        self.add(entered.iter());
        Ok(())
    }

    fn add<'a>(&mut self, entered: impl Iterator<Item = &'a Entered>) {
        for function in entered {
            if self.seen.insert(function.address) {
                for name in at(&self.symbols, function.address) {
                    self.list.push_str(name);
                    self.list.push('\n');
                }
            }
        }
    }
}

/// Waits for a daemon, tells it that its start is over, and asks it for everything, twice: at the first time it makes things
/// ahead for the second.
fn ask(daemon: &Daemon, pid: Pid) -> Result<(), String> {
    let begun = Instant::now();
    while UnixStream::connect(daemon.socket()).is_err() {
        if begun.elapsed() > PATIENCE {
            return Err("the daemon does not listen".to_owned());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(REST);
    kill(pid, entries::ANEW).map_err(|error| error.to_string())?;
    for words in [ASKED, ASKED, MORE].concat() {
        let finished = daemon.corten(words);
        if finished.code != 0 {
            return Err(format!("corten {}: {}", words.join(" "), finished.stderr));
        }
        std::thread::sleep(REST);
    }
    Ok(())
}

/// The functions of a program, by address.
fn symbols(program: &Path) -> Result<Vec<(u64, String)>, Box<dyn Error>> {
    let output = command("nm")
        .args(["--defined-only", "--numeric-sort", "--format=sysv"])
        .arg(program)
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("nm {}: {}", program.display(), output.status).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(symbol).collect())
}

/// `name|0000000000668000|   t  |              FUNC|0000000000000010|     |.text`
fn symbol(line: &str) -> Option<(u64, String)> {
    let mut columns = line.split('|').map(str::trim);
    let (name, address, _, kind) = (columns.next()?, columns.next()?, columns.next()?, columns.next()?);
    // What the C library chooses by the processor has a type of its own. Labels within functions have none.
    (kind == "FUNC" || kind.starts_with("<OS")).then_some(())?;
    Some((u64::from_str_radix(address, 16).ok()?, name.to_owned()))
}

/// All names of the function in which `address` is.
fn at(symbols: &[(u64, String)], address: u64) -> impl Iterator<Item = &str> {
    let end = symbols.partition_point(|(start, _)| *start <= address);
    let start = end.checked_sub(1).map(|last| symbols[last].0);
    symbols[..end].iter().rev().take_while(move |(other, _)| Some(*other) == start).map(|(_, name)| name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_the_function_that_begins_before_it() {
        let lines = [
            "first     |0000000000001000|   T  |              FUNC|0000000000000010|     |.text",
            "alias     |0000000000001000|   t  |              FUNC|0000000000000010|     |.text",
            "a_constant|0000000000001100|   D  |            OBJECT|0000000000000010|     |.data",
            "a_label   |0000000000001180|   t  |            NOTYPE|                |     |.text",
            "last      |0000000000001200|   i  |   <OSspecific>:10|0000000000000010|     |.text",
        ];
        let symbols: Vec<_> = lines.into_iter().filter_map(symbol).collect();
        assert_eq!(at(&symbols, 0x11ff).collect::<Vec<_>>(), ["alias", "first"]);
        assert_eq!(at(&symbols, 0x1200).collect::<Vec<_>>(), ["last"]);
        assert_eq!(at(&symbols, 0xfff).count(), 0);
    }
}
