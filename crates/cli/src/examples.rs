// SPDX-License-Identifier: Apache-2.0
//! Examples, for the help and the manual pages: what a command is mostly called for.

use std::fmt::Write as _;

use clap::Command;

use crate::help::STYLES;
use crate::program;

/// A command by its path, then lines and what each does.
type Example = (&'static str, &'static [(&'static str, &'static str)]);

const EXAMPLES: &[Example] = &[
    ("attach", &[("attach web", "see what it writes, and type to it; Ctrl-P Ctrl-Q leaves it running")]),
    ("commit", &[("commit web web:patched", "an image of web as it is now")]),
    ("completion", &[("completion bash", "to be read by the shell: source <(corten completion bash)")]),
    ("container prune", &[("container prune --filter until=24h", "those made more than a day ago")]),
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
        "context export",
        &[("context export prod prod.tar", "to take it to another machine; its private key is in the file")],
    ),
    ("context import", &[("context import prod prod.tar", "what was exported elsewhere")]),
    ("context inspect", &[("context inspect -f '{{.Endpoints.docker.Host}}' prod", "its daemon's address")]),
    ("context ls", &[("context ls", "all of them; the one in use has a star")]),
    ("context rm", &[("context rm far", "its certificates go as well")]),
    ("context show", &[("context show", "its name alone")]),
    ("context update", &[("context update prod --description 'handle with care'", "the rest stays as it is")]),
    (
        "context use",
        &[("context use far", "its daemon is meant from now on"), ("context use default", "this host's own again")],
    ),
    ("copy", &[("copy docker://debian:12 oci:debian", "an image into a directory, without a daemon")]),
    (
        "cp",
        &[
            ("cp web:/var/log/app.log .", "a file out of a container, whether it runs or not"),
            ("cp conf/. web:/etc/app", "what is in a directory, into one"),
        ],
    ),
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
    ("diff", &[("diff web", "what it has changed in its root file system")]),
    ("events", &[("events --since 1h --filter event=die", "what ended in the last hour, and what ends from now on")]),
    ("exec", &[("exec -it web sh", "a shell in a running container"), ("exec -e DEBUG=1 web env", "with a variable")]),
    ("explain", &[("explain web", "what it is to the kernel, and what of it could reach the host")]),
    ("export", &[("export -o root.tar web", "all of its files, without its volumes")]),
    ("history", &[("history --no-trunc debian:12", "the instructions in full")]),
    ("image prune", &[("image prune -a", "remove all images that no container has")]),
    (
        "image sign",
        &[("image sign --key release.key registry.example/team/app:1", "so that others can tell who made it")],
    ),
    (
        "image verify",
        &[("image verify --key release.pub registry.example/team/app:1", "fails unless that key has signed it")],
    ),
    (
        "image waste",
        &[("image waste registry.example/team/app", "what of it could be smaller, and by which instruction")],
    ),
    ("images", &[("images --filter dangling=true -q", "the ids of images without a name")]),
    ("import", &[("import root.tar mine:1", "an image of one layer, of a file system's archive")]),
    ("info", &[("info", "what there is, and what this host can do"), ("info -f '{{.Driver}}'", "one value")]),
    ("inspect", &[("inspect -f '{{.State.Status}}' web", "one value")]),
    ("kill", &[("kill -s HUP web", "a signal, to its first process")]),
    ("load", &[("load -i debian.tar", "images from an archive")]),
    (
        "login",
        &[
            ("login registry.example", "asks for user and password"),
            ("login -u me --password-stdin < file", "asks nothing"),
        ],
    ),
    ("logout", &[("logout registry.example", "the login is forgotten")]),
    (
        "logs",
        &[("logs -f --tail 10 web", "the last ten lines, and what comes"), ("logs --since 10m -t web", "with times")],
    ),
    ("man", &[("man /usr/local/share/man/man1", "then: man corten-run")]),
    ("network connect", &[("network connect --alias db back store", "others in the network find it as db as well")]),
    (
        "network create",
        &[
            ("network create --subnet 10.5.0.0/16 back", "containers in it find each other by their names"),
            ("network create --internal vault", "no way out"),
        ],
    ),
    ("network disconnect", &[("network disconnect back store", "at once, while it runs")]),
    ("network inspect", &[("network inspect -f '{{json .Containers}}' back", "who is in it")]),
    ("network ls", &[("network ls --filter type=custom", "those that somebody has made")]),
    ("network prune", &[("network prune -f", "without asking")]),
    ("network rm", &[("network rm back", "when no container is in it any more")]),
    ("pause", &[("pause web", "until corten unpause web")]),
    ("port", &[("port web 80/tcp", "where port 80 is reached on the host")]),
    ("ps", &[("ps -a", "those that do not run, too"), ("ps -aq --filter status=exited", "ids, to give to rm")]),
    ("pull", &[("pull debian:12", "from Docker's registry"), ("pull registry.example/team/app", "from another one")]),
    ("push", &[("push registry.example/team/app", "the image of that name")]),
    ("registry serve", &[("registry serve --root /srv/registry --listen 127.0.0.1:5000", "for this host alone")]),
    ("rename", &[("rename web web-old", "the name is free for another one")]),
    ("restart", &[("restart -t 5 web", "killed if it does not end within five seconds")]),
    ("rm", &[("rm -f web", "even though it runs")]),
    ("rmi", &[("rmi debian:11", "the name, and with its last one the image")]),
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
    ("start", &[("start web", "in the background"), ("start -ai job", "with its output and input")]),
    ("stats", &[("stats", "all containers, every second"), ("stats --no-stream web", "one of them, once")]),
    ("stop", &[("stop -t 30 web", "give it half a minute")]),
    ("system check", &[("system check", "reads all of the store; fails if something is broken")]),
    ("system df", &[("system df -v", "each image, container and volume")]),
    ("system dial-stdio", &[("system dial-stdio", "run by ssh:// on the other machine")]),
    ("system leases", &[("system leases", "what programs keep here")]),
    (
        "system prune",
        &[
            ("system prune", "what is unused: containers that do not run, networks, images without a name"),
            ("system prune -af --volumes", "images with names and volumes without one as well, without asking"),
        ],
    ),
    ("system service install", &[("system service install --print", "show the units without writing them")]),
    ("system service status", &[("system service status", "fails where they are not there")]),
    ("system service uninstall", &[("system service uninstall", "the daemon that runs goes on")]),
    ("tag", &[("tag app:latest registry.example/team/app:1", "a further name, to push it by")]),
    (
        "top",
        &[
            ("top web", "its processes as ps -ef lists them"),
            ("top web -o pid,user,stat,rss,args", "with columns of one's own"),
        ],
    ),
    (
        "trust add",
        &[("trust add registry.example/team --key release.pub", "what comes from there must be signed by that key")],
    ),
    ("trust key generate", &[("trust key generate -o release", "release.key, to be kept safe, and release.pub")]),
    ("trust ls", &[("trust ls", "the rules there are")]),
    ("trust rm", &[("trust rm registry.example/team", "signatures do not matter there any more")]),
    ("unpause", &[("unpause web", "where it stood still")]),
    ("update", &[("update -m 1g --restart unless-stopped web", "while it runs")]),
    ("version", &[("version", "of both sides"), ("version -f '{{.Server.Version}}'", "of the daemon alone")]),
    ("volume create", &[("volume create data", "to be mounted with -v data:/var/lib/app")]),
    ("volume inspect", &[("volume inspect -f '{{.Mountpoint}}' data", "where it is on the host")]),
    ("volume ls", &[("volume ls --filter dangling=true", "those that no container has")]),
    ("volume prune", &[("volume prune -a", "those with names as well")]),
    ("volume rm", &[("volume rm data", "with all that is in it")]),
    ("wait", &[("wait job", "blocks until it has ended, and prints its exit code")]),
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
    let of = |wanted: &str| EXAMPLES.iter().find(|(name, _)| *name == wanted);
    let Some((_, lines)) = of(path).or_else(|| of(short(path))) else { return command };
    // What the command itself says below its flags goes on standing there.
    let own = command.get_after_help().map(|own| format!("\n\n{}", own.ansi())).unwrap_or_default();
    command.after_help(text(lines) + &own)
}

/// What a group's command is called outside of its group.
fn short(path: &str) -> &str {
    match path {
        "container ls" => "ps",
        "image ls" => "images",
        "image rm" => "rmi",
        other => {
            ["container ", "image ", "system "].iter().find_map(|group| other.strip_prefix(group)).unwrap_or(other)
        }
    }
}

fn text(lines: &[(&str, &str)]) -> String {
    let (header, literal, program) = (STYLES.get_header(), STYLES.get_literal(), program::name());
    let mut text = format!("{header}Examples:{header:#}");
    for (line, why) in lines {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  {literal}{program} {line}{literal:#}\n      {why}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_an_example() {
        fn check(command: &Command, path: &str) {
            for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
                let path = format!("{path} {}", sub.get_name());
                if sub.has_subcommands() {
                    check(sub, &path);
                } else {
                    let help = sub.clone().render_help().to_string();
                    assert!(help.contains("Examples:"), "{path}: {help}");
                }
            }
        }
        let root = crate::cli::definition();
        check(&root, "corten");
        let ps = root.find_subcommand("ps").unwrap().clone().render_help().to_string();
        assert!(ps.contains("Fields of a template"), "{ps}");
    }

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
