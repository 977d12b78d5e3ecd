// SPDX-License-Identifier: Apache-2.0
//! The short way through a command line: what most of them are made of is understood without clap, to which making its
//! definition of `run` alone costs a third of what `run` takes in this process.
//!
//! A command has a short way when its arguments are [`Plain`]: they say which of their flags are switches or keep their
//! value as it is given. Whatever else stands on a command line (another flag, another notation, an operand too few) is
//! clap's to understand or to refuse, and so is a flag that is new. What clap refuses is never understood here, and what
//! is understood here is what clap makes of it: the tests compare both for every flag there is.

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::slice::Iter;

use super::{AnyCommand, Command, Global, Line};

/// Arguments of which a command line can be understood without clap. What is not given is as by default in both.
pub(crate) trait Plain: Default {
    /// Where the value of the flag goes that is called `name`: a letter, or a word without its hyphens.
    fn flag(&mut self, name: &str) -> Option<Place<'_>>;

    /// What stands beside the flags; nothing may, unless this says otherwise.
    fn operands(&mut self) -> Option<Operands<'_>> {
        None
    }
}

/// Where the value of a flag goes.
pub(crate) enum Place<'a> {
    /// It has none, and is given or not.
    Switch(&'a mut bool),
    /// It has one.
    Value(&'a mut dyn Keep),
}

/// What keeps values of a flag.
pub(crate) trait Keep {
    /// Keeps `text`, or leaves it to clap to say what is wrong.
    fn keep(&mut self, text: &str) -> Option<()>;
}

/// What stands beside the flags.
pub(crate) struct Operands<'a> {
    /// Where it goes.
    pub(crate) list: &'a mut Vec<String>,
    /// How many there must be.
    pub(crate) least: usize,
    /// Whether flags behind the first of them are none: they belong to the command that is named here.
    pub(crate) trailing: bool,
}

impl Keep for Option<String> {
    fn keep(&mut self, text: &str) -> Option<()> {
        self.replace(text.to_owned()).is_none().then_some(())
    }
}

impl Keep for Vec<String> {
    fn keep(&mut self, text: &str) -> Option<()> {
        self.push(text.to_owned());
        Some(())
    }
}

impl Plain for Global {
    fn flag(&mut self, name: &str) -> Option<Place<'_>> {
        Some(match name {
            "H" | "host" => Place::Value(&mut self.host),
            "c" | "context" => Place::Value(&mut self.context),
            _ => return None,
        })
    }
}

/// What the arguments say, when the short way leads there.
pub(super) fn line(arguments: &[OsString]) -> Option<Line> {
    let mut words = arguments.get(1..)?.iter();
    let mut global = Global::default();
    let name = loop {
        let word = words.next()?.to_str()?;
        if !word.starts_with('-') {
            break word;
        }
        flag(&mut global, word, &mut words)?;
    };
    let command = match name {
        "create" => Command::Create(command(words)?),
        "exec" => Command::Exec(command(words)?),
        "ps" => Command::Ps(command(words)?),
        "run" => Command::Run(command(words)?),
        "start" => Command::Start(command(words)?),
        _ => return None,
    };
    Some(Line { global, command: AnyCommand::OfTheDaemon(Box::new(command)) })
}

/// The arguments of a command.
fn command<Args: Plain>(mut words: Iter<'_, OsString>) -> Option<Args> {
    let mut args = Args::default();
    while let Some(word) = words.next() {
        let word = word.to_str()?;
        if word.starts_with('-') {
            flag(&mut args, word, &mut words)?;
            continue;
        }
        let Operands { list, trailing, .. } = args.operands()?;
        list.push(word.to_owned());
        if trailing {
            for word in words.by_ref() {
                list.push(word.to_str()?.to_owned());
            }
        }
    }
    let enough = args.operands().is_none_or(|operands| operands.list.len() >= operands.least);
    enough.then_some(args)
}

/// One word of flags, `--name`, `--name=value`, `-n` or several letters, with the value that may follow it.
fn flag(args: &mut impl Plain, word: &str, words: &mut Iter<'_, OsString>) -> Option<()> {
    if let Some(long) = word.strip_prefix("--") {
        let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
        // A letter has one hyphen.
        return match (args.flag(name).filter(|_| name.len() > 1)?, value) {
            (Place::Switch(given), None) => turn_on(given),
            (Place::Switch(_), Some(_)) => None,
            (Place::Value(place), Some(value)) => place.keep(value),
            (Place::Value(place), None) => place.keep(following(words)?),
        };
    }
    let mut letters = word.strip_prefix('-').filter(|letters| !letters.is_empty())?;
    while let Some(letter) = letters.chars().next() {
        let (name, behind) = letters.split_at(letter.len_utf8());
        match args.flag(name)? {
            Place::Switch(given) => turn_on(given)?,
            Place::Value(place) if behind.is_empty() => return place.keep(following(words)?),
            // `-e=A=1` is rare, and what its first `=` means is clap's to know.
            Place::Value(_) if behind.starts_with('=') => return None,
            Place::Value(place) => return place.keep(behind),
        }
        letters = behind;
    }
    Some(())
}

/// A switch is given once.
fn turn_on(given: &mut bool) -> Option<()> {
    (!std::mem::replace(given, true)).then_some(())
}

/// The value behind a flag. What begins with a hyphen may be none.
fn following<'a>(words: &mut Iter<'a, OsString>) -> Option<&'a str> {
    words.next()?.to_str().filter(|word| !word.starts_with('-'))
}
