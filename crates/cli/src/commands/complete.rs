// SPDX-License-Identifier: Apache-2.0
//! `corten __complete`: what may stand at the end of a command line, for the scripts of `corten completion`. It never
//! starts a daemon, waits for none for long, and says nothing of what goes wrong: somebody is typing.

use std::time::Duration;

use clap::{Arg, ArgAction, Command};
use client::{Client, Endpoint, ListOptions, Wish};

use super::completion::line;
use crate::failure::Failure;
use crate::{environment, printer, process};

/// How long a daemon may think about names.
const PATIENCE: Duration = Duration::from_secs(2);
/// Says to the script that files may stand there.
const FILES: &str = ":files\n";
/// Commands that are about containers that run.
const OF_RUNNING: &[&str] = &["attach", "exec", "kill", "pause", "port", "stats", "stop", "top"];

/// Say what may stand at the end of a command line
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The words of the line, the last of which is being typed
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORD")]
    words: Vec<String>,
}

pub(crate) fn run(args: &Args, definition: &Command, wish: Wish) -> Result<u8, Failure> {
    let (last, before) = args.words.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let mut position = Position::new(definition);
    position.walk(before);
    let wish =
        Wish { host: position.root("host").or(wish.host), context: position.root("context").or(wish.context), ..wish };
    let mut text = String::new();
    match position.expected(last) {
        Expected::Flags => {
            for flag in position.command.get_arguments().filter(|flag| !flag.is_hide_set()) {
                for long in flag.get_long_and_visible_aliases().unwrap_or_default() {
                    offer(&mut text, last, &format!("--{long}"), &about(flag.get_help()));
                }
            }
        }
        Expected::Commands => {
            for command in position.command.get_subcommands().filter(|command| !command.is_hide_set()) {
                offer(&mut text, last, command.get_name(), &about(command.get_about()));
            }
        }
        Expected::Value(arg, index) => value(&mut text, &position, arg, index, last, &wish),
        Expected::Nothing => text.push_str(FILES),
    }
    printer::data(text.as_bytes());
    Ok(0)
}

fn about(help: Option<&clap::builder::StyledStr>) -> String {
    help.map(ToString::to_string).unwrap_or_default()
}

fn offer(text: &mut String, typed: &str, word: &str, about: &str) {
    if word.starts_with(typed) {
        line(text, word, about);
    }
}

/// How far a command line has been understood.
struct Position<'a> {
    command: &'a Command,
    /// The names of the commands on the way here.
    path: Vec<&'a str>,
    /// Arguments that are no flags, so far.
    positionals: usize,
    /// A flag whose value is still to come.
    open: Option<&'a Arg>,
    /// That no flags come any more.
    no_flags: bool,
    /// What flags before the first command say.
    root: Vec<(String, String)>,
}

/// What may stand in a place.
enum Expected<'a> {
    Flags,
    Commands,
    /// The value of an argument, and which of its values it is.
    Value(&'a Arg, usize),
    Nothing,
}

impl<'a> Position<'a> {
    fn new(command: &'a Command) -> Position<'a> {
        Position { command, path: Vec::new(), positionals: 0, open: None, no_flags: false, root: Vec::new() }
    }

    fn walk(&mut self, words: &[String]) {
        words.iter().for_each(|word| self.step(word));
    }

    fn step(&mut self, word: &str) {
        if let Some(flag) = self.open.take() {
            self.note(flag, word);
        } else if !self.no_flags && word == "--" {
            self.no_flags = true;
        } else if let Some(long) = word.strip_prefix("--").filter(|_| !self.no_flags) {
            let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            let flag = self.command.get_arguments().find(|arg| arg.get_long() == Some(name));
            match (flag, value) {
                (Some(flag), Some(value)) => self.note(flag, value),
                (Some(flag), None) if takes_a_word(flag) => self.open = Some(flag),
                _ => {}
            }
        } else if let Some(shorts) = word.strip_prefix('-').filter(|rest| !self.no_flags && !rest.is_empty()) {
            // Those before the last take no value, or have it right behind.
            let mut letters = shorts.chars();
            while let Some(letter) = letters.next() {
                let flag = self.command.get_arguments().find(|arg| arg.get_short() == Some(letter));
                if let Some(flag) = flag.filter(|flag| takes_a_word(flag)) {
                    match letters.as_str() {
                        "" => self.open = Some(flag),
                        value => self.note(flag, value),
                    }
                    break;
                }
            }
        } else if let Some(command) = self.command.find_subcommand(word).filter(|_| self.positionals == 0) {
            self.command = command;
            self.path.push(command.get_name());
        } else {
            self.positionals += 1;
            // Behind the image and the container everything is the command's.
            self.no_flags |= self.command.get_positionals().any(Arg::is_trailing_var_arg_set);
        }
    }

    fn note(&mut self, flag: &Arg, value: &str) {
        if self.path.is_empty() {
            self.root.push((flag.get_id().to_string(), value.to_owned()));
        }
    }

    fn root(&self, id: &str) -> Option<String> {
        self.root.iter().rfind(|(name, _)| name == id).map(|(_, value)| value.clone())
    }

    fn expected(&self, last: &str) -> Expected<'a> {
        if let Some(flag) = self.open {
            return Expected::Value(flag, 0);
        }
        if last.starts_with('-') && !self.no_flags {
            return Expected::Flags;
        }
        if self.command.has_subcommands() && self.positionals == 0 {
            return Expected::Commands;
        }
        let many = |arg: &Arg| matches!(arg.get_action(), ArgAction::Append);
        let mut left = self.positionals;
        for arg in self.command.get_positionals() {
            if many(arg) || left == 0 {
                return Expected::Value(arg, left);
            }
            left -= 1;
        }
        Expected::Nothing
    }
}

/// Whether a flag has the next word as its value.
fn takes_a_word(flag: &Arg) -> bool {
    flag.get_action().takes_values() && !flag.is_require_equals_set()
}

/// What a value may be: one of those that are listed, the name of something, or a file.
fn value(text: &mut String, position: &Position<'_>, arg: &Arg, index: usize, typed: &str, wish: &Wish) {
    let listed = arg.get_possible_values();
    if !listed.is_empty() {
        for value in listed.iter().filter(|value| !value.is_hide_set()) {
            offer(text, typed, value.get_name(), &about(value.get_help()));
        }
        return;
    }
    let names = arg.get_value_names().unwrap_or_default();
    let name = names.get(index).or(names.last().filter(|_| names.len() == 1)).map(|name| name.as_str());
    let group = position.path.first().copied().unwrap_or_default();
    let names = match (name.unwrap_or_default(), group) {
        ("CONTEXT", _) | ("NAME", "context") => contexts(),
        ("NAME", _) if arg.get_id() == "context" => contexts(),
        ("VOLUME", "volume") | ("NAME", "volume") => ask(wish, Things::Volumes),
        ("NETWORK", _) | ("NAME", "network") => ask(wish, Things::Networks),
        ("CONTAINER", _) => {
            let is_running = position.path.last().is_some_and(|command| OF_RUNNING.contains(command));
            ask(wish, if is_running { Things::Running } else { Things::Containers })
        }
        ("IMAGE", _) => ask(wish, Things::Images),
        // Of `inspect`.
        ("NAME", "inspect") => [ask(wish, Things::Containers), ask(wish, Things::Images)].concat(),
        _ => {
            text.push_str(FILES);
            return;
        }
    };
    names.iter().for_each(|(name, about)| offer(text, typed, name, about));
}

type Names = Vec<(String, String)>;

#[derive(Clone, Copy)]
enum Things {
    Containers,
    Running,
    Images,
    Networks,
    Volumes,
}

fn contexts() -> Names {
    let (all, _) = client::contexts::ContextStore::of_user(environment::variable).list().unwrap_or_default();
    let named = all.iter().map(|context| (context.name.clone(), context.description().to_owned()));
    std::iter::once((client::contexts::DEFAULT_CONTEXT.to_owned(), "this host's own daemon".to_owned()))
        .chain(named)
        .collect()
}

/// The names that the daemon knows; none when it cannot be asked.
fn ask(wish: &Wish, things: Things) -> Names {
    let Ok(endpoint) = Endpoint::resolve(wish, environment::variable) else { return Names::new() };
    // Whoever only types starts nothing.
    let client = Client::new(Endpoint { start: None, ..endpoint });
    let Ok(runtime) = process::small_event_loop() else { return Names::new() };
    let names = runtime.block_on(async { tokio::time::timeout(PATIENCE, names(&client, things)).await });
    names.ok().and_then(Result::ok).unwrap_or_default()
}

async fn names(client: &Client, things: Things) -> Result<Names, client::ClientError> {
    Ok(match things {
        Things::Containers | Things::Running => {
            let all = matches!(things, Things::Containers);
            let list = client.list_containers(ListOptions { all, ..ListOptions::default() }).await?;
            list.into_iter()
                .filter_map(|container| {
                    let name = container.names?.into_iter().next()?;
                    let about =
                        [container.image, container.status].into_iter().flatten().collect::<Vec<_>>().join(", ");
                    Some((name.trim_start_matches('/').to_owned(), about))
                })
                .collect()
        }
        Things::Images => {
            let list = client.list_images(false, &[]).await?;
            list.into_iter().flat_map(|image| image.repo_tags).map(|name| (name, "image".to_owned())).collect()
        }
        Things::Networks => described(client.network_names().await?, "network"),
        Things::Volumes => {
            let list = client.list_volumes(&[]).await?;
            described(list.into_iter().map(|volume| volume.name).collect(), "volume")
        }
    })
}

fn described(names: Vec<String>, about: &str) -> Names {
    names.into_iter().map(|name| (name, about.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is expected behind these words, in one word.
    fn expected(words: &str, last: &str) -> String {
        let definition = crate::cli::definition();
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        let mut position = Position::new(&definition);
        position.walk(&words);
        match position.expected(last) {
            Expected::Flags => format!("flags of {}", position.path.join(" ")),
            Expected::Commands => format!("commands of {}", position.path.join(" ")),
            Expected::Value(arg, index) => {
                let names = arg.get_value_names().unwrap_or_default();
                names.get(index).or(names.last()).map_or_else(|| arg.get_id().to_string(), ToString::to_string)
            }
            Expected::Nothing => "nothing".into(),
        }
    }

    #[test]
    fn the_place_in_the_line_decides() {
        for (words, last, wanted) in [
            ("", "", "commands of "),
            ("-H unix:///x --context", "", "NAME"),
            ("-H unix:///x", "ru", "commands of "),
            ("container", "", "commands of container"),
            ("container rm", "-", "flags of container rm"),
            ("rm -f", "", "CONTAINER"),
            ("rm -f one", "", "CONTAINER"),
            ("run -it --rm", "", "IMAGE"),
            ("run --name", "", "NAME"),
            ("run --name=x -m 5m -p8080:80", "", "IMAGE"),
            ("run -it busybox", "-", "COMMAND"),
            ("exec one", "", "COMMAND"),
            ("ps -q", "--f", "flags of ps"),
            ("context use", "", "NAME"),
        ] {
            assert_eq!(expected(words, last), wanted, "{words}|{last}");
        }
    }
}
