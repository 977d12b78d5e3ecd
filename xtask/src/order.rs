// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask order`: which functions the OCI runtime and the engine's client execute, for the linker to lay side by side.
//!
//! The executable has some fifteen megabytes of code, of which starting a container executes nine hundred functions, and
//! asking the daemon for one not many more. The kernel maps what is touched in pieces of 64 KiB: scattered over all, they cost three times the memory and a quarter of
//! the page faults of a start. The list is a hint to the linker (`crates/cli/build.rs`): a name that no longer exists is
//! passed over, a function that is missing lies where it would have lain. Write it anew when
//! `tests/tests/memory.rs` says that a start has grown.

use std::collections::HashSet;
use std::error::Error;
use std::path::Path;
use std::process::{Command, Stdio};

use testkit::Daemon;
use testkit::corten::binary;
use testkit::process::command;
use testkit::trace;

use crate::{Outcome, bench, cargo};

/// Where the list is.
const LIST: &str = "crates/cli/link-order.txt";

/// Runs the commands of a container's life, and writes down which functions they execute.
pub(crate) fn run() -> Outcome {
    cargo::build_release()?;
    let directory = tempfile::Builder::new().prefix("corten-order-").tempdir_in("/run")?;
    bench::bundle(directory.path())?;
    let mut functions = Functions { symbols: symbols(&binary())?, seen: HashSet::new(), list: String::new() };
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
        functions.of(&runtime)?;
        // What was started has ended by then: it is /bin/true.
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    let daemon = Daemon::with_busybox();
    let asked: [&[&str]; 6] = [
        &["run", "--rm", "busybox", "true"],
        &["run", "-d", "--name", "one", "busybox", "sleep", "1000"],
        &["exec", "one", "true"],
        &["ps"],
        &["logs", "one"],
        &["rm", "-f", "one"],
    ];
    for words in asked {
        let mut client = command(binary());
        client.args(["-H", &daemon.host()]).args(words);
        functions.of(&client)?;
    }
    std::fs::write(cargo::root().join(LIST), &functions.list)?;
    println!("{} functions in {LIST}", functions.seen.len());
    Ok(())
}

/// Those that were executed, in the order in which each was so first.
struct Functions {
    symbols: Vec<(u64, String)>,
    seen: HashSet<String>,
    list: String,
}

impl Functions {
    /// Runs a command, and takes down what it executes.
    fn of(&mut self, command: &Command) -> Outcome {
        for address in trace::addresses(command)? {
            for name in at(&self.symbols, address) {
                if self.seen.insert(name.to_owned()) {
                    self.list.push_str(name);
                    self.list.push('\n');
                }
            }
        }
        Ok(())
    }
}

/// The functions of a program, by address.
fn symbols(program: &Path) -> Result<Vec<(u64, String)>, Box<dyn Error>> {
    let output =
        command("nm").args(["--defined-only", "--numeric-sort"]).arg(program).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("nm {}: {}", program.display(), output.status).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(symbol).collect())
}

/// `0000000000668000 T name`: functions are of type t, w or i, in either case.
fn symbol(line: &str) -> Option<(u64, String)> {
    let mut words = line.split(' ');
    let (address, kind, name) = (words.next()?, words.next()?, words.next()?);
    matches!(kind, "T" | "t" | "W" | "w" | "i").then_some(())?;
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
            "0000000000001000 T first",
            "0000000000001000 t alias",
            "0000000000001100 D data",
            "0000000000001200 i last",
        ];
        let symbols: Vec<_> = lines.into_iter().filter_map(symbol).collect();
        assert_eq!(at(&symbols, 0x11ff).collect::<Vec<_>>(), ["alias", "first"]);
        assert_eq!(at(&symbols, 0x1200).collect::<Vec<_>>(), ["last"]);
        assert_eq!(at(&symbols, 0xfff).count(), 0);
    }
}
