// SPDX-License-Identifier: Apache-2.0
//! What `--help` prints, of the whole and of each command.

/// A command, what follows it, and what it does.
const COMMANDS: [(&str, &str, &str); 17] = [
    (
        "create",
        "[-b BUNDLE] [--console-socket PATH] [--pid-file PATH] [--pidfd-socket PATH] [--dry-run] ID",
        "prepare a container from a bundle; its command waits for `start`",
    ),
    ("start", "ID", "execute the command of a created container"),
    (
        "run",
        "[-b BUNDLE] [-d] [--console-socket PATH] [--pid-file PATH] [--pidfd-socket PATH] \
         [--dry-run [--format text|json]] ID",
        "create and start; --dry-run prints what would be done, and by root what only root can do",
    ),
    (
        "exec",
        "[-d] [-t] [-u UID[:GID]] [-e NAME=VALUE] [--cwd PATH] ID COMMAND... | [-p FILE] ID",
        "execute another command in a running container",
    ),
    ("state", "ID", "print a container's state as JSON"),
    ("list", "[-f table|json] [-q]", "list containers"),
    ("ps", "[-f table|json] ID [PS OPTIONS]", "list the processes in a container"),
    ("pause", "ID", "stop all processes of a container"),
    ("resume", "ID", "let them go on"),
    ("update", "[-r FILE] [--memory BYTES] [--pids-limit N] [--cpu-quota US] [...] ID", "change a container's limits"),
    (
        "events",
        "[--stats] [--interval DURATION] ID",
        "print a container's counters, and when it runs out of memory, as JSON lines",
    ),
    ("kill", "[-a] ID [SIGNAL]", "send a signal to a container's first process"),
    ("delete", "[-f] ID", "remove what is left of a stopped container"),
    (
        "checkpoint",
        "[--image-path DIR] [--leave-running] [...] ID",
        "save a running container's processes (by CRIU, when it is installed)",
    ),
    ("restore", "[--image-path DIR] [-b BUNDLE] [-d] [...] ID", "start a container from a checkpoint (by CRIU)"),
    ("spec", "[-b BUNDLE] [--rootless]", "write a sample config.json"),
    ("features", "", "print what this runtime supports as JSON"),
];

const NAME: &str = "corten-oci";

/// The whole command line.
pub(super) fn all() -> String {
    let mut text = format!(
        "NAME:\n   {NAME} - an OCI container runtime, with runc's command line (also: corten oci)\n\n\
         USAGE:\n   {NAME} [--root DIR] [--log FILE] [--log-format text|json] [--debug] [--systemd-cgroup]\n   \
         {NAME:10} [--rootless auto|true|false] COMMAND\n\nCOMMANDS:\n"
    );
    for (name, _, about) in COMMANDS {
        text.push_str(&format!("   {name:11}{about}\n"));
    }
    text
}

/// One command; `None` when there is no such.
pub(super) fn of(command: &str) -> Option<String> {
    let (name, arguments, about) = COMMANDS.iter().find(|(name, ..)| *name == command)?;
    let usage = format!("{NAME} {name} {arguments}");
    Some(format!("NAME:\n   {NAME} {name} - {about}\n\nUSAGE:\n   {}\n", usage.trim_end()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_command_has_its_own_help_and_is_in_that_of_all() {
        for (name, ..) in super::COMMANDS {
            assert!(super::all().contains(&format!("\n   {name} ")), "{name}");
            assert!(super::of(name).unwrap().starts_with(&format!("NAME:\n   corten-oci {name} - ")), "{name}");
        }
        assert_eq!(super::of("no-such-command"), None);
    }
}
