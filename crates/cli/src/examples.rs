// SPDX-License-Identifier: Apache-2.0
//! Examples, for the help and the manual pages: what a command is mostly called for.

use std::fmt::Write as _;

use clap::Command;

use crate::help::STYLES;

/// A command by its path, then lines and what each does.
type Example = (&'static str, &'static [(&'static str, &'static str)]);

const EXAMPLES: &[Example] = &[
    ("attach", &[("attach web", "see what it writes, and type to it; Ctrl-P Ctrl-Q leaves it running")]),
    ("commit", &[("commit web web:patched", "an image of web as it is now")]),
    (
        "context create",
        &[
            ("context create far --docker host=ssh://me@far.example", "the daemon of another machine, over SSH"),
            (
                "context create prod --docker host=tcp://10.0.0.7:2376,ca=ca.pem,cert=cert.pem,key=key.pem",
                "the same over TLS",
            ),
        ],
    ),
    (
        "context use",
        &[("context use far", "its daemon is meant from now on"), ("context use default", "this host's own again")],
    ),
    ("container prune", &[("container prune --filter until=24h", "those made more than a day ago")]),
    ("copy", &[("copy docker://debian:12 oci:debian", "an image into a directory, without a daemon")]),
    ("create", &[("create --name job debian:12 make", "start it later: corten start -a job")]),
    (
        "daemon",
        &[
            ("daemon", "on this host's socket"),
            ("daemon -H fd://", "on the sockets of a service manager"),
            (
                "daemon -H tcp://0.0.0.0:2376 --tlsverify --tlscacert ca.pem --tlscert server.pem --tlskey server-key.pem",
                "for clients with certificates",
            ),
        ],
    ),
    ("events", &[("events --since 1h --filter event=die", "what ended in the last hour, and what ends from now on")]),
    ("exec", &[("exec -it web sh", "a shell in a running container"), ("exec -e DEBUG=1 web env", "with a variable")]),
    ("image prune", &[("image prune -a", "remove all images that no container has")]),
    ("images", &[("images --filter dangling=true -q", "the ids of images without a name")]),
    ("inspect", &[("inspect -f '{{.State.Status}}' web", "one value")]),
    ("load", &[("load -i debian.tar", "images from an archive")]),
    (
        "login",
        &[
            ("login registry.example", "asks for user and password"),
            ("login -u me --password-stdin < file", "asks nothing"),
        ],
    ),
    (
        "logs",
        &[("logs -f --tail 10 web", "the last ten lines, and what comes"), ("logs --since 10m -t web", "with times")],
    ),
    ("ps", &[("ps -a", "those that do not run, too"), ("ps -aq --filter status=exited", "ids, to give to rm")]),
    ("pull", &[("pull debian:12", "from Docker's registry"), ("pull registry.example/team/app", "from another one")]),
    ("push", &[("push registry.example/team/app", "the image of that name")]),
    ("rm", &[("rm -f web", "even though it runs")]),
    (
        "run",
        &[
            ("run --rm -it debian:12", "a shell in a new container that is removed at the end"),
            ("run -d --name web -p 8080:80 nginx", "a server in the background, on the host's port 8080"),
            (
                "run --rm -v \"$PWD\":/src -w /src -u \"$(id -u)\" gcc make",
                "this directory in the container, as yourself",
            ),
            ("run -m 512m --cpus 0.5 --read-only debian:12 true", "with limits"),
        ],
    ),
    ("save", &[("save -o debian.tar debian:12", "an archive that docker load reads, too")]),
    ("stats", &[("stats", "all containers, every second"), ("stats --no-stream web", "one of them, once")]),
    ("stop", &[("stop -t 30 web", "give it half a minute")]),
    (
        "system prune",
        &[
            ("system prune", "what is unused: containers that do not run, networks, images without a name"),
            ("system prune -af --volumes", "images with names and volumes without one as well, without asking"),
        ],
    ),
    ("system service install", &[("system service install --print", "show the units without writing them")]),
    ("update", &[("update -m 1g --restart unless-stopped web", "while it runs")]),
];

/// The help of `root` and all below it, with their examples.
pub(crate) fn add(root: Command) -> Command {
    with_examples(root, "")
}

/// The commands of all examples, without the program's name.
#[cfg(test)]
pub(crate) fn lines() -> impl Iterator<Item = &'static str> {
    EXAMPLES.iter().flat_map(|(_, lines)| lines.iter().map(|(line, _)| *line))
}

fn with_examples(mut command: Command, path: &str) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    for name in names {
        let below = if path.is_empty() { name.clone() } else { format!("{path} {name}") };
        command = command.mut_subcommand(name, |sub| with_examples(sub, &below));
    }
    // The group's commands are the short ones.
    let short = path.strip_prefix("container ").or(path.strip_prefix("image ")).unwrap_or(path);
    let found =
        EXAMPLES.iter().find(|(name, _)| *name == path).or_else(|| EXAMPLES.iter().find(|(name, _)| *name == short));
    match found {
        Some((_, lines)) => command.after_help(text(lines)),
        None => command,
    }
}

fn text(lines: &[(&str, &str)]) -> String {
    let (header, literal) = (STYLES.get_header(), STYLES.get_literal());
    let mut text = format!("{header}Examples:{header:#}");
    for (line, why) in lines {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  {literal}corten {line}{literal:#}\n      {why}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        let (mut words, mut quoted) = (vec![String::new()], false);
        for letter in line.chars().take_while(|letter| *letter != '<') {
            match letter {
                '\'' | '"' => quoted = !quoted,
                ' ' if !quoted => words.push(String::new()),
                // Every word has one.
                other => words.last_mut().unwrap().push(other),
            }
        }
        words.retain(|word| !word.is_empty());
        words
    }

    #[test]
    fn every_example_is_understood_and_stands_at_its_command() {
        for (path, lines) in EXAMPLES {
            let mut root = crate::cli::definition();
            let found = path.split(' ').try_fold(&mut root, |command, name| command.find_subcommand_mut(name));
            let help = found.unwrap_or_else(|| panic!("{path}")).render_help().to_string();
            // Long lines are wrapped.
            let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
            for (line, why) in *lines {
                assert!(help.contains(line) && help.contains(why), "{path}: {help}");
                let line: Vec<String> = std::iter::once("corten".to_owned()).chain(words(line)).collect();
                if let Err(error) = crate::cli::definition().try_get_matches_from(&line) {
                    panic!("{line:?}: {error}");
                }
            }
        }
    }
}
