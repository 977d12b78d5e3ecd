// SPDX-License-Identifier: Apache-2.0
//! The thread that enters containers' network namespaces: a socket belongs for good to the one it is opened in.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use firewall::{Firewall, Published, Transport, connection};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tokio::sync::oneshot;

use crate::error::DnsError;
use crate::{ADDRESS, Upstream};

/// The table in containers' namespaces.
const TABLE: &str = "corten-names";
const PORT: u16 = 53;

/// A namespace's sockets, on ports that port 53 is redirected to.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) udp: UdpSocket,
    pub(crate) tcp: TcpListener,
}

/// What is done in a namespace. It must not wait for anybody.
type Job = Box<dyn FnOnce() + Send>;

/// Has things done in namespaces, by a thread that is there from the first time on.
#[derive(Debug, Default)]
pub(crate) struct Opener {
    thread: Mutex<Option<Sender<Job>>>,
}

impl Opener {
    /// Opens a namespace's sockets, and redirects port 53 of our address to them. With `anew` another daemon's sockets may
    /// have been there before.
    pub(crate) fn sockets(&self, namespace: &Arc<OwnedFd>, anew: bool) -> Result<Sockets, DnsError> {
        let (answer, answered) = mpsc::sync_channel(1);
        // Who asks waits until it is answered.
        self.within(namespace, move |entered| drop(answer.send(entered.and_then(|()| listen(anew)))))?;
        answered.recv().map_err(|_| DnsError::ThreadEnded)?
    }

    /// A socket from which an upstream server is asked, not yet connected.
    pub(crate) async fn asking(
        &self,
        namespace: &Arc<OwnedFd>,
        server: Upstream,
        kind: SocketType,
    ) -> Result<OwnedFd, DnsError> {
        let open = move || {
            let family = if server.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            rustix::net::socket_with(family, kind, flags, None).map_err(|errno| DnsError::Socket(errno.into()))
        };
        if server.from_host {
            return open();
        }
        let (answer, answered) = oneshot::channel();
        // Who asks may have gone meanwhile, with the container.
        self.within(namespace, move |entered| drop(answer.send(entered.and_then(|()| open()))))?;
        answered.await.map_err(|_| DnsError::ThreadEnded)?
    }

    /// Has `work` done in a namespace, which is told whether it could be entered.
    fn within(
        &self,
        namespace: &Arc<OwnedFd>,
        work: impl FnOnce(Result<(), DnsError>) + Send + 'static,
    ) -> Result<(), DnsError> {
        let namespace = Arc::clone(namespace);
        let job: Job = Box::new(move || {
            let entered = sys::namespace::setns(namespace.as_fd(), sys::process::CloneFlags::NEWNET);
            work(entered.map_err(DnsError::Enter));
        });
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = match thread.take() {
            Some(jobs) => jobs,
            None => start()?,
        };
        let sent = jobs.send(job);
        // One that has ended is replaced the next time.
        *thread = sent.is_ok().then_some(jobs);
        sent.map_err(|_| DnsError::ThreadEnded)
    }
}

/// The thread ends with the last who could send it a job. Between two jobs it is at home: whoever stays in a container's
/// namespace keeps that, and its interfaces, from going when the container does.
fn start() -> Result<Sender<Job>, DnsError> {
    let home = std::fs::File::open("/proc/thread-self/ns/net").map_err(DnsError::Thread)?;
    let (jobs, waiting) = mpsc::channel::<Job>();
    let run = move || {
        for job in waiting {
            job();
            if let Err(error) = sys::namespace::setns(home.as_fd(), sys::process::CloneFlags::NEWNET) {
                // The next job starts another thread.
                tracing::error!(%error, "the thread of the name servers cannot leave a container's namespace, and ends");
                return;
            }
        }
    };
    std::thread::Builder::new().name("names".to_owned()).spawn(run).map_err(DnsError::Thread)?;
    Ok(jobs)
}

fn listen(anew: bool) -> Result<Sockets, DnsError> {
    let any_port = SocketAddrV4::new(ADDRESS, 0);
    let udp = UdpSocket::bind(any_port).map_err(DnsError::Socket)?;
    let tcp = TcpListener::bind(any_port).map_err(DnsError::Socket)?;
    udp.set_nonblocking(true).and_then(|()| tcp.set_nonblocking(true)).map_err(DnsError::Socket)?;
    let ports = [
        redirected(Transport::Udp, udp.local_addr().map_err(DnsError::Socket)?.port()),
        redirected(Transport::Tcp, tcp.local_addr().map_err(DnsError::Socket)?.port()),
    ];
    let mut firewall = Firewall::open(TABLE).map_err(DnsError::Redirect)?;
    firewall.replace_within(&ports).map_err(DnsError::Redirect)?;
    if anew {
        // Who asks from one port all the time would go on asking the former daemon's.
        connection::redirect_flows(&ports).map_err(DnsError::Redirect)?;
    }
    Ok(Sockets { udp, tcp })
}

fn redirected(transport: Transport, port: u16) -> Published {
    Published {
        transport,
        host_address: Some(ADDRESS.into()),
        host_port: PORT,
        container_address: ADDRESS.into(),
        container_port: port,
    }
}

/// Connects a socket that asks by UDP.
pub(crate) async fn connect_udp(socket: OwnedFd, server: IpAddr) -> io::Result<tokio::net::UdpSocket> {
    let socket = tokio::net::UdpSocket::from_std(UdpSocket::from(socket))?;
    socket.connect((server, PORT)).await?;
    Ok(socket)
}

/// Connects a socket that asks by TCP.
pub(crate) async fn connect_tcp(socket: OwnedFd, server: IpAddr) -> io::Result<tokio::net::TcpStream> {
    let socket = tokio::net::TcpSocket::from_std_stream(std::net::TcpStream::from(socket));
    socket.connect((server, PORT).into()).await
}

/// Whether this is our own address: no upstream server, or questions would go round.
pub(crate) fn is_ours(address: IpAddr) -> bool {
    address == IpAddr::V4(ADDRESS) || address == IpAddr::V4(Ipv4Addr::UNSPECIFIED)
}
