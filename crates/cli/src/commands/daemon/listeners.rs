// SPDX-License-Identifier: Apache-2.0
//! Where the daemon listens, and who may connect there.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use client::Address;
use engine_api::{AuthorizationHook, ListenError, Listener, Protection, ServerTls, TlsFiles};
use errors::{Kind, kind_of_io};

use crate::failure::Failure;

/// The group that may use the socket where nobody names one, if this host has it.
const DEFAULT_GROUP: &str = "corten";
/// The first descriptor that a service manager hands over (`sd_listen_fds(3)`).
const FIRST_INHERITED: u32 = 3;

/// The flags of listening.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// An address to listen on: unix:///PATH, tcp://HOST:PORT, fd://; may be given more than once [default: corten.sock in
    /// the exec root]
    #[arg(short = 'H', long, value_name = "ADDRESS")]
    pub(super) host: Vec<String>,
    /// The group whose members may use the unix socket, and so be root; empty for root alone [default: corten, if
    /// there is one]
    #[arg(short = 'G', long, value_name = "GROUP")]
    group: Option<String>,
    /// Serve TCP with TLS; implied by --tlsverify, without which it is refused
    #[arg(long)]
    tls: bool,
    /// Serve TCP to clients with a certificate of --tlscacert only
    #[arg(long)]
    tlsverify: bool,
    /// The authority of clients' certificates, in PEM
    #[arg(long, value_name = "FILE")]
    tlscacert: Option<PathBuf>,
    /// The daemon's certificate, in PEM
    #[arg(long, value_name = "FILE")]
    tlscert: Option<PathBuf>,
    /// The key of the daemon's certificate, in PEM
    #[arg(long, value_name = "FILE")]
    tlskey: Option<PathBuf>,
    /// The socket of a program that is asked about each request and each answer, and may say no (Docker's authorization
    /// protocol): unix:///PATH; may be given more than once
    #[arg(long, value_name = "ADDRESS")]
    authorization_hook: Vec<String>,
    /// Serve TCP on a loopback address without TLS: every user of this host can be root then
    #[arg(long)]
    insecure: bool,
}

/// Where to listen, understood and read, with nothing listened on yet.
pub(super) struct Plan {
    addresses: Vec<Address>,
    gid: Option<u32>,
    protection: Protection,
    hooks: Vec<AuthorizationHook>,
}

impl Plan {
    /// What `args` ask for; `usual` is the socket where no address is named.
    pub(super) fn of(args: &Args, usual: &Path) -> Result<Plan, Failure> {
        let mut addresses = args.host.iter().map(|text| text.parse()).collect::<Result<Vec<Address>, _>>()?;
        if let Some(address) = addresses.iter().find(|address| matches!(address, Address::Ssh(_))) {
            let text = format!("a daemon cannot listen on {address}: clients reach it by ssh:// as it is");
            return Err(Failure::new(Kind::InvalidArgument, text));
        }
        if addresses.is_empty() {
            addresses.push(Address::Unix(usual.to_owned()));
        }
        let gid = match args.group.as_deref() {
            Some("") => None,
            Some(name) => Some(group(name)?.ok_or_else(|| {
                Failure::new(Kind::NotFound, format!("there is no group \"{name}\" for the socket"))
                    .with_hint(format!("make it: groupadd {name}; or give --group another, or \"\" for root alone"))
            })?),
            None => group(DEFAULT_GROUP)?,
        };
        let protection = protection(args)?;
        // The rest is seen when the addresses are known; this much before anything is made.
        if let (Protection::None, Some(Address::Tcp(tcp))) =
            (&protection, addresses.iter().find(|address| matches!(address, Address::Tcp(_))))
        {
            return Err(ListenError::Unprotected(tcp.authority(false)).into());
        }
        let hooks = args.authorization_hook.iter().map(|address| hook(address)).collect::<Result<_, _>>()?;
        Ok(Plan { addresses, gid, protection, hooks })
    }

    /// The unix sockets among the addresses.
    pub(super) fn sockets(&self) -> Vec<PathBuf> {
        let socket = |address: &Address| match address {
            Address::Unix(path) => Some(path.clone()),
            _ => None,
        };
        self.addresses.iter().filter_map(socket).collect()
    }

    /// The certificates, to be read anew when they change.
    pub(super) fn tls(&self) -> Option<Arc<ServerTls>> {
        match &self.protection {
            Protection::Tls(tls) => Some(Arc::clone(tls)),
            _ => None,
        }
    }

    /// Who is asked about requests.
    pub(super) fn hooks(&self) -> Vec<AuthorizationHook> {
        self.hooks.clone()
    }

    /// Listens everywhere.
    pub(super) async fn listen(&self) -> Result<Vec<Listener>, Failure> {
        let mut listeners = Vec::new();
        for address in &self.addresses {
            match address {
                Address::Unix(path) => {
                    if let Some(directory) = path.parent() {
                        fs::create_dir_all(directory)
                            .map_err(|error| super::cannot("make the directory", directory, &error))?;
                    }
                    listeners.push(Listener::unix(path, self.gid)?);
                }
                Address::Tcp(tcp) => {
                    let authority = tcp.authority(self.tls().is_some());
                    listeners.extend(Listener::tcp(&authority, &self.protection).await?);
                }
                Address::Inherited => listeners.extend(self.inherit()?),
                // Refused when the plan was made.
                Address::Ssh(_) => {}
            }
        }
        Ok(listeners)
    }

    /// The sockets that the service manager made for this very process.
    fn inherit(&self) -> Result<Vec<Listener>, Failure> {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
        let count = inherited(number("LISTEN_PID"), number("LISTEN_FDS"), std::process::id()).ok_or_else(|| {
            Failure::new(Kind::InvalidArgument, "fd:// needs a service manager that hands over sockets, and none did")
                .with_hint("start the socket unit (systemctl start corten.socket), or give -H another address")
        })?;
        (FIRST_INHERITED..FIRST_INHERITED.saturating_add(count))
            .map(|number| {
                let socket = sys::fds::inherited(number)
                    .map_err(|error| Failure::new(Kind::InvalidArgument, format!("LISTEN_FDS: {error}")))?;
                Ok(Listener::adopt(number, socket, &self.protection)?)
            })
            .collect()
    }
}

/// How many sockets were handed to the process `own`, if any were.
fn inherited(listen_pid: Option<u32>, listen_fds: Option<u32>, own: u32) -> Option<u32> {
    (listen_pid == Some(own)).then_some(listen_fds).flatten().filter(|count| *count > 0)
}

fn hook(address: &str) -> Result<AuthorizationHook, Failure> {
    match address.parse()? {
        Address::Unix(socket) => Ok(AuthorizationHook::new(socket)),
        _ => Err(Failure::new(Kind::InvalidArgument, format!("an authorization hook is a unix socket, not {address}"))),
    }
}

fn protection(args: &Args) -> Result<Protection, Failure> {
    let wrong = |text: &str| Err(Failure::new(Kind::InvalidArgument, text));
    let files = [&args.tlscacert, &args.tlscert, &args.tlskey];
    if !args.tlsverify {
        if args.tls || files.iter().any(|file| file.is_some()) {
            return wrong(
                "TLS without --tlsverify would let everybody who reaches the daemon be root on this host, and is not \
                 supported",
            );
        }
        return Ok(if args.insecure { Protection::LoopbackOnly } else { Protection::None });
    }
    if args.insecure {
        return wrong("--insecure and --tlsverify cannot both be meant");
    }
    let [Some(authority), Some(certificate), Some(key)] = files else {
        return wrong("--tlsverify needs --tlscacert, --tlscert and --tlskey");
    };
    let files = TlsFiles { authority: authority.clone(), certificate: certificate.clone(), key: key.clone() };
    Ok(Protection::Tls(Arc::new(ServerTls::read(files)?)))
}

/// The group that may use the socket where nobody names one, if this host has it.
///
/// # Errors
/// The host's groups cannot be read.
pub(crate) fn default_group() -> Result<Option<String>, Failure> {
    Ok(group(DEFAULT_GROUP)?.map(|_| DEFAULT_GROUP.to_owned()))
}

/// The id of a group of this host, by its name or itself. Without `/etc/group` there are no names.
fn group(name: &str) -> Result<Option<u32>, Failure> {
    if let Ok(gid) = name.parse() {
        return Ok(Some(gid));
    }
    match fs::read("/etc/group") {
        Ok(text) => Ok(group_in(&String::from_utf8_lossy(&text), name)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::new(kind_of_io(&error), format!("cannot read /etc/group: {error}"))),
    }
}

/// `group(5)`: `NAME:PASSWORD:GID:MEMBERS`.
fn group_in(text: &str, name: &str) -> Option<u32> {
    let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.find(|fields| fields.first() == Some(&name)).and_then(|fields| fields.get(2)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn plan(flags: &[&str]) -> Result<Plan, Failure> {
        let line = Line::try_parse_from([&["daemon"], flags].concat()).unwrap();
        Plan::of(&line.args, Path::new("/x/corten.sock"))
    }

    #[test]
    fn the_socket_is_in_the_exec_root_unless_addresses_are_named() {
        assert_eq!(plan(&["--group", ""]).unwrap().sockets(), [PathBuf::from("/x/corten.sock")]);
        let many =
            plan(&["-H", "unix:///a", "-H", "tcp://127.0.0.1:1", "-H", "unix:///b", "--group", "7", "--insecure"])
                .unwrap();
        assert_eq!(many.sockets(), [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert_eq!((many.addresses.len(), many.gid), (3, Some(7)));
    }

    #[test]
    fn what_would_let_everybody_in_or_cannot_be_is_refused() {
        for flags in [
            &["--tls"][..],
            &["--tlscacert", "/a"],
            &["--tlsverify"],
            &["--tlsverify", "--insecure"],
            &["--tlsverify", "--tlscacert", "/nowhere", "--tlscert", "/nowhere", "--tlskey", "/nowhere"],
            &["-H", "ssh://host"],
            &["-H", "tcp://127.0.0.1:1"],
            &["-H", "relative"],
            &["--authorization-hook", "tcp://127.0.0.1:1"],
            &["--group", "no-such-group-here"],
        ] {
            assert!(plan(flags).is_err(), "{flags:?}");
        }
    }

    #[test]
    fn sockets_are_taken_only_by_whom_they_are_meant_for() {
        assert_eq!(inherited(Some(7), Some(2), 7), Some(2));
        for (pid, count) in [(Some(8), Some(2)), (None, Some(2)), (Some(7), None), (Some(7), Some(0))] {
            assert_eq!(inherited(pid, count, 7), None);
        }
    }

    #[test]
    fn a_group_is_found_by_its_whole_name() {
        let text = "root:x:0:\ncorten-users:x:7:\ncorten:x:99:me,you\nbroken";
        assert_eq!(
            (group_in(text, "corten"), group_in(text, "corte"), group_in(text, "broken")),
            (Some(99), None, None)
        );
    }
}
