// SPDX-License-Identifier: Apache-2.0
//! `corten system service`: the units by which systemd starts the daemon, and its socket before it.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use errors::{Kind, kind_of_io};

use super::daemon;
use crate::cli::Context;
use crate::failure::Failure;
use crate::printer;

/// Where an administrator's units are, below the root.
const DIRECTORY: &str = "etc/systemd/system";

/// Have systemd start the daemon, at boot or with the first client
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write corten.service and corten.socket
    Install(Install),
    /// Remove them
    Uninstall(Place),
    /// Say whether they are there
    Status(Place),
}

#[derive(Debug, clap::Args)]
struct Install {
    #[command(flatten)]
    place: Place,
    /// The group whose members may use the socket, and so be root [default: corten, if there is one, else root]
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Print the units instead of writing them
    #[arg(long)]
    print: bool,
}

#[derive(Debug, clap::Args)]
struct Place {
    /// The root of the file system that they are for
    #[arg(long, value_name = "DIRECTORY", default_value = "/")]
    root: PathBuf,
    /// For the daemon of a user; refused, as the daemon needs root
    #[arg(long)]
    user: bool,
}

impl Place {
    fn directory(&self) -> Result<PathBuf, Failure> {
        if self.user {
            return Err(Failure::new(
                Kind::Unsupported,
                "--user: only root can run the daemon, so a user's service could not start",
            )
            .with_hint("install it for the host, and let the user into the socket's group"));
        }
        Ok(self.root.join(DIRECTORY))
    }
}

pub(crate) async fn run(args: Args, _: &Context) -> Result<u8, Failure> {
    match args.command {
        Command::Install(args) => install(&args),
        Command::Uninstall(place) => uninstall(&place),
        Command::Status(place) => status(&place),
    }
}

fn install(args: &Install) -> Result<u8, Failure> {
    let directory = args.place.directory()?;
    let program = std::env::current_exe()
        .map_err(|error| Failure::new(Kind::Internal, format!("cannot tell where this program is: {error}")))?;
    let group = match &args.group {
        Some(name) => name.clone(),
        None => daemon::default_group()?.unwrap_or_else(|| "root".to_owned()),
    };
    let units = units(&program, &group)?;
    if args.print {
        for (name, text) in &units {
            printer::data(format!("# {}\n{text}\n", directory.join(name).display()).as_bytes());
        }
        return Ok(0);
    }
    fs::create_dir_all(&directory).map_err(|error| failed("make", &directory, &error))?;
    for (name, text) in &units {
        let path = directory.join(name);
        write(&path, text).map_err(|error| failed("write", &path, &error))?;
        printer::line(&path.display().to_string());
    }
    printer::note("Now: systemctl daemon-reload && systemctl enable --now corten.socket corten.service");
    Ok(0)
}

/// The units for the executable `program` and the socket's `group`, with their names.
fn units(program: &Path, group: &str) -> Result<[(&'static str, String); 2], Failure> {
    let wrong = |text: String| Failure::new(Kind::InvalidArgument, text);
    // systemd has its own rules for words: what would need them is refused rather than quoted.
    let is_plain = |text: &str, more: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c) || more.contains(c))
    };
    let program = program.to_str().filter(|path| is_plain(path, "/+")).ok_or_else(|| {
        wrong(format!("{} cannot stand in a unit: move the program to a path of plain letters", program.display()))
    })?;
    if !is_plain(group, "") {
        return Err(wrong(format!("\"{group}\" cannot be a group's name")));
    }
    let service = format!(
        "[Unit]\n\
         Description=Corten container engine\n\
         After=network-online.target nss-lookup.target firewalld.service nftables.service\n\
         Wants=network-online.target\n\
         Requires=corten.socket\n\n\
         [Service]\n\
         Type=notify\n\
         ExecStart={program} daemon -H fd://\n\
         # Reads the certificates anew.\n\
         ExecReload=/bin/kill -HUP $MAINPID\n\
         Restart=on-failure\n\
         RestartSec=2\n\
         # Containers outlive the daemon.\n\
         KillMode=process\n\
         Delegate=yes\n\
         LimitNOFILE=1048576\n\
         TasksMax=infinity\n\
         OOMScoreAdjust=-500\n\n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    );
    let socket = format!(
        "[Unit]\n\
         Description=Socket of the Corten container engine\n\n\
         [Socket]\n\
         ListenStream={}/corten.sock\n\
         SocketMode=0660\n\
         SocketUser=root\n\
         SocketGroup={group}\n\n\
         [Install]\n\
         WantedBy=sockets.target\n",
        client::DEFAULT_EXEC_ROOT
    );
    Ok([("corten.service", service), ("corten.socket", socket)])
}

/// Whoever reads a unit finds the whole of it or what was there before.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("part");
    let mut file = fs::File::create(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

fn uninstall(place: &Place) -> Result<u8, Failure> {
    let directory = place.directory()?;
    for name in ["corten.socket", "corten.service"] {
        let path = directory.join(name);
        match fs::remove_file(&path) {
            Ok(()) => printer::line(&path.display().to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("remove", &path, &error)),
        }
    }
    printer::note("Now: systemctl disable --now corten.socket corten.service; systemctl daemon-reload");
    Ok(0)
}

/// 0 when both units are there, 1 otherwise, as `systemctl is-enabled` has it.
fn status(place: &Place) -> Result<u8, Failure> {
    let directory = place.directory()?;
    let (mut text, mut all) = (String::new(), true);
    for name in ["corten.service", "corten.socket"] {
        let path = directory.join(name);
        let there = path.try_exists().map_err(|error| failed("look at", &path, &error))?;
        all &= there;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}: {}", path.display(), if there { "installed" } else { "not installed" });
    }
    printer::data(text.as_bytes());
    Ok(if all { 0 } else { 1 })
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(kind_of_io(error), format!("cannot {what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_systemd_would_read_otherwise_gets_into_a_unit() {
        let [(_, service), (_, socket)] = units(Path::new("/usr/local/bin/corten"), "docker").unwrap();
        assert!(service.contains("\nExecStart=/usr/local/bin/corten daemon -H fd://\n"), "{service}");
        assert!(
            socket.contains("\nListenStream=/run/corten/corten.sock\n") && socket.contains("\nSocketGroup=docker\n")
        );
        for (program, group) in
            [("/a b/corten", "x"), ("/a%n/corten", "x"), ("/corten", ""), ("/corten", "x\nExecStart=/y")]
        {
            assert!(units(Path::new(program), group).is_err(), "{program} {group}");
        }
    }
}
