// SPDX-License-Identifier: Apache-2.0
//! Where the daemon listens: unix sockets, TCP with mutual TLS, and sockets that a service manager made.

use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use errors::{Classify, Kind, kind_of_io};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::tls::ServerTls;

/// Owner and group may connect. Whoever may connect is root on this host.
const SOCKET_MODE: u32 = 0o660;
/// How many may wait to be accepted; the kernel's own limit (`net.core.somaxconn`) is lower.
const BACKLOG: i32 = i32::MAX;
/// How many may be connected at once over a unix socket: a thousand `run`s have three connections each.
const UNIX_CONNECTIONS: usize = 8192;
/// How many may be connected at once over TCP, so that whoever comes from outside takes no descriptor from who is here.
const TCP_CONNECTIONS: usize = 1024;
/// After so long without a byte a TCP client is asked whether it is still there, …
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// … so often, …
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// … and so many times, before it counts as gone.
const KEEPALIVE_PROBES: u32 = 4;

/// A socket that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Somebody listens there.
    #[error("a daemon listens on {} already", .0.display())]
    Taken(PathBuf),
    /// The socket cannot be made.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The socket.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on tcp://{address}")]
    Tcp {
        /// It.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Everybody could be root.
    #[error("tcp://{0} would let everybody who reaches it be root on this host")]
    Unprotected(String),
    /// A service manager gave something else than a socket.
    #[error("descriptor {number} of the service manager is no socket to listen on")]
    Foreign {
        /// Its number.
        number: u32,
        /// Why it cannot be used.
        #[source]
        source: io::Error,
    },
}

impl Classify for ListenError {
    fn kind(&self) -> Kind {
        match self {
            ListenError::Taken(_) => Kind::Conflict,
            ListenError::Io { source, .. } | ListenError::Tcp { source, .. } => kind_of_io(source),
            ListenError::Unprotected(_) | ListenError::Foreign { .. } => Kind::InvalidArgument,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            ListenError::Taken(_) => Some("stop it first, or give this one another -H and --exec-root".into()),
            ListenError::Unprotected(_) => Some(
                "have clients show certificates (--tlsverify --tlscacert --tlscert --tlskey), or connect over ssh://; \
                 --insecure allows a loopback address without them"
                    .into(),
            ),
            _ => None,
        }
    }
}

/// How TCP is protected.
#[derive(Debug, Clone, Default)]
pub enum Protection {
    /// Not at all, so TCP is refused.
    #[default]
    None,
    /// By this host's own users alone, on loopback addresses: each of them can be root.
    LoopbackOnly,
    /// By clients' certificates.
    Tls(Arc<ServerTls>),
}

/// A socket that is listened on.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    name: String,
}

#[derive(Debug)]
enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener, Option<Arc<ServerTls>>),
}

/// A client that has just connected.
pub(crate) enum Accepted {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(TcpStream, Arc<ServerTls>),
}

impl Listener {
    /// Listens on the unix socket `path`, mode 0660 and of group `gid`; a socket that a dead daemon left there is replaced.
    ///
    /// # Errors
    /// Somebody listens there already, or the socket cannot be made.
    pub fn unix(path: &Path, gid: Option<u32>) -> Result<Listener, ListenError> {
        let failed = |action| move |source| ListenError::Io { action, path: path.to_owned(), source };
        if StdUnixStream::connect(path).is_ok() {
            return Err(ListenError::Taken(path.to_owned()));
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("replace")(error)),
            _ => {}
        }
        let errno = |action| move |errno: Errno| failed(action)(errno.into());
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
        let socket = socket.map_err(errno("make a socket for"))?;
        let address = SocketAddrUnix::new(path).map_err(errno("listen on"))?;
        rustix::net::bind(&socket, &address).map_err(errno("listen on"))?;
        // Nobody can connect before it is listened on, whatever the umask leaves of the mode until here.
        if gid.is_some() {
            std::os::unix::fs::chown(path, None, gid).map_err(failed("set the group of"))?;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed("set the mode of"))?;
        rustix::net::listen(&socket, BACKLOG).map_err(errno("listen on"))?;
        let listener = UnixListener::from_std(socket.into()).map_err(failed("listen on"))?;
        Ok(Listener { socket: Socket::Unix(listener), name: format!("unix://{}", path.display()) })
    }

    /// Listens on `address` (host and port), on all that the host's name stands for.
    ///
    /// # Errors
    /// The address is not protected, or cannot be listened on.
    pub async fn tcp(address: &str, protection: &Protection) -> Result<Vec<Listener>, ListenError> {
        let failed = |source| ListenError::Tcp { address: address.to_owned(), source };
        let all: Vec<SocketAddr> = tokio::net::lookup_host(address).await.map_err(failed)?.collect();
        // All are judged before the first is listened on.
        let all: Vec<_> =
            all.into_iter().map(|one| Ok((one, protected(one, protection)?))).collect::<Result<_, ListenError>>()?;
        let mut listeners = Vec::new();
        for (one, tls) in all {
            let listener = TcpListener::bind(one).await.map_err(failed)?;
            let name = format!("tcp://{}", listener.local_addr().unwrap_or(one));
            listeners.push(Listener { socket: Socket::Tcp(listener, tls), name });
        }
        Ok(listeners)
    }

    /// Listens on a socket that a service manager made, its descriptor `number`.
    ///
    /// # Errors
    /// It is no such socket, or TCP that is not protected.
    pub fn adopt(number: u32, socket: OwnedFd, protection: &Protection) -> Result<Listener, ListenError> {
        let foreign = |source: io::Error| ListenError::Foreign { number, source };
        if !sockopt::socket_acceptconn(&socket).map_err(|errno| foreign(errno.into()))? {
            return Err(foreign(io::ErrorKind::InvalidInput.into()));
        }
        match sockopt::socket_domain(&socket).map_err(|errno| foreign(errno.into()))? {
            AddressFamily::UNIX => {
                let listener = StdUnixListener::from(socket);
                listener.set_nonblocking(true).map_err(foreign)?;
                let listener = UnixListener::from_std(listener).map_err(foreign)?;
                Ok(Listener { socket: Socket::Unix(listener), name: format!("descriptor {number}, a unix socket") })
            }
            AddressFamily::INET | AddressFamily::INET6 => {
                let listener = StdTcpListener::from(socket);
                listener.set_nonblocking(true).map_err(foreign)?;
                let address = listener.local_addr().map_err(foreign)?;
                let tls = protected(address, protection)?;
                let listener = TcpListener::from_std(listener).map_err(foreign)?;
                let name = format!("descriptor {number}, tcp://{address}");
                Ok(Listener { socket: Socket::Tcp(listener, tls), name })
            }
            _ => Err(foreign(io::ErrorKind::Unsupported.into())),
        }
    }

    /// How many clients it serves at once; further ones wait.
    pub(crate) fn capacity(&self) -> usize {
        match self.socket {
            Socket::Unix(_) => UNIX_CONNECTIONS,
            Socket::Tcp(..) => TCP_CONNECTIONS,
        }
    }

    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        match &self.socket {
            Socket::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
            Socket::Tcp(listener, tls) => {
                let (stream, _) = listener.accept().await?;
                if let Err(error) = prepare(&stream) {
                    // It may be gone already; whoever serves it will see.
                    tracing::debug!(%error, "a connection is slower than it could be");
                }
                Ok(match tls {
                    Some(tls) => Accepted::Tls(stream, Arc::clone(tls)),
                    None => Accepted::Tcp(stream),
                })
            }
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The TLS of a listener on `address`, when it is protected.
fn protected(address: SocketAddr, protection: &Protection) -> Result<Option<Arc<ServerTls>>, ListenError> {
    match protection {
        Protection::Tls(tls) => Ok(Some(Arc::clone(tls))),
        Protection::LoopbackOnly if address.ip().to_canonical().is_loopback() => Ok(None),
        Protection::LoopbackOnly | Protection::None => Err(ListenError::Unprotected(address.to_string())),
    }
}

/// Answers go out at once, and a client whose machine is gone is noticed.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcp_without_certificates_is_for_loopback_and_only_when_it_is_said() {
        let is_fine = |address: &str, protection: &Protection| protected(address.parse().unwrap(), protection).is_ok();
        for address in ["127.0.0.1:2375", "[::1]:2375", "[::ffff:127.0.0.1]:1"] {
            assert!(is_fine(address, &Protection::LoopbackOnly) && !is_fine(address, &Protection::None), "{address}");
        }
        for address in ["0.0.0.0:2375", "[::]:2375", "10.0.0.1:2375", "[fe80::1]:2375"] {
            assert!(!is_fine(address, &Protection::LoopbackOnly), "{address}");
        }
    }
}
