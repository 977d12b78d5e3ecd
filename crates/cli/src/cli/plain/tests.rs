// SPDX-License-Identifier: Apache-2.0
//! Both ways through a command line lead to the same place, whatever stands on it.

use std::cell::Cell;

use clap::{Arg, CommandFactory as _, FromArgMatches as _};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::cli::quick_definition;

/// The commands that have a short way.
const COMMANDS: [&str; 5] = ["create", "exec", "ps", "run", "start"];
/// What values look like, and what looks like something else.
const VALUES: [&str; 13] =
    ["x", "a=b", "=", "", "-", "--", "-x", "a,b", "none", "name=n,alias=a", "80:80", "/a:/b:ro", "run"];
/// What may stand in front of the command.
const BEFORE: [&[&str]; 7] =
    [&[], &[], &["-H", "unix:///x"], &["--host=unix:///x"], &["-cfar"], &["--context", "ps"], &["--tlsverify"]];

fn arguments<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<OsString> {
    std::iter::once("corten").chain(words).map(OsString::from).collect()
}

fn by_clap(arguments: &[OsString]) -> Result<Line, clap::Error> {
    quick_definition().try_get_matches_from(arguments).and_then(|matches| Line::from_arg_matches(&matches))
}

/// Each notation of a flag, right or wrong.
fn notations(arg: &Arg) -> Vec<Vec<String>> {
    let aliases = arg.get_all_aliases().unwrap_or_default();
    let mut flags: Vec<String> = arg.get_long().into_iter().chain(aliases).map(|name| format!("--{name}")).collect();
    flags.extend(arg.get_short().map(|letter| format!("-{letter}")));
    let mut all = Vec::new();
    for flag in flags {
        all.extend([vec![flag.clone()], vec![format!("-{flag}")]]);
        for value in VALUES {
            all.extend([vec![flag.clone(), value.to_owned()], vec![format!("{flag}={value}")]]);
            all.extend((!flag.starts_with("--")).then(|| vec![format!("{flag}{value}")]));
        }
    }
    all
}

/// What a command line of `command` may consist of: what has a short way when nothing else is there, and all else.
fn pieces(command: &str) -> (Vec<Vec<String>>, Vec<Vec<String>>) {
    let root = Line::command();
    let definition = root.find_subcommand(command).unwrap();
    let of_values = VALUES.map(|value| vec![value.to_owned()]);
    let all = definition.get_arguments().filter(|arg| !arg.is_positional()).flat_map(notations).chain(of_values);
    all.partition(|piece| {
        let alone = [&[command.to_owned()], &piece[..]].concat();
        let operands = |number| alone.iter().map(String::as_str).chain(["a", "b"].into_iter().take(number));
        (0..=2).any(|number| line(&arguments(operands(number))).is_some())
    })
}

#[test]
fn whatever_has_a_short_way_is_what_clap_makes_of_it() {
    let commands: Vec<_> = COMMANDS.iter().map(|command| (*command, pieces(command))).collect();
    let lines = prop::sample::select(commands).prop_flat_map(|(command, (short, others))| {
        let piece = prop_oneof![15 => prop::sample::select(short), 1 => prop::sample::select(others)];
        (prop::sample::select(&BEFORE[..]), Just(command), prop::collection::vec(piece, 0..6))
    });
    let (accepted, flags) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(Config { cases: 4000, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&lines, |(before, command, pieces)| {
        let words = before.iter().copied().chain([command]).chain(pieces.iter().flatten().map(String::as_str));
        let words = arguments(words);
        let Some(short) = line(&words) else { return Ok(()) };
        let long = by_clap(&words).map_err(|error| TestCaseError::fail(format!("clap refuses {words:?}: {error}")))?;
        prop_assert_eq!(format!("{short:?}"), format!("{long:?}"), "{:?}", words);
        accepted.set(accepted.get() + 1);
        flags.set(flags.get() + pieces.len());
        Ok(())
    });
    outcome.unwrap();
    // Most lines of pieces that have a short way have one themselves.
    assert!(accepted.get() > 500 && flags.get() > 500, "{accepted:?} lines with {flags:?} pieces");
}

#[test]
fn the_usual_command_lines_have_a_short_way() {
    for usual in [
        "run --rm --network none corten/hello true",
        "run -it --rm debian bash",
        "run -d --name web -p 8080:80 -v data:/data -e A=1 --net=mine nginx nginx -g daemon",
        "run --rm -eA=1 -u 1:1 -w/w --entrypoint /bin/sh --hostname h -l a=b debian -c true --rm -- x",
        "-H unix:///x create -q --name job debian make",
        "exec -it -u root -e A=1 web sh -c ls -l",
        "ps",
        "--context far ps -aq --no-trunc",
        "ps --format {{.ID}}",
        "start -ai web",
        "start one two",
    ] {
        assert!(line(&arguments(usual.split(' '))).is_some(), "{usual}");
    }
}

#[test]
fn what_has_no_short_way_is_clap_s() {
    for other in [
        "",
        "run",
        "run --rm",
        "run --help",
        "run --rm --rm debian",
        "run --rm=true debian",
        "run --name a --name b debian",
        "run --name -x debian",
        "run --n debian",
        "run --e A=1 debian",
        "run -e=A=1 debian",
        "run -i- debian",
        "run -- debian",
        "run --network name= debian",
        "run -m 1g debian",
        "exec web",
        "ps all",
        "start --nothing web",
        "--tlsverify ps",
        "container run debian",
        "runs debian",
    ] {
        assert!(line(&arguments(other.split(' '))).is_none(), "{other}");
    }
    use std::os::unix::ffi::OsStringExt as _;
    let mut no_text = arguments(["run", "debian"]);
    no_text.push(OsString::from_vec(vec![0xff]));
    assert!(line(&no_text).is_none(), "an argument that is no text");
}
