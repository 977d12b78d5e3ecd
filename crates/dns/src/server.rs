// SPDX-License-Identifier: Apache-2.0
//! The daemon's name server, and what it has for each network namespace.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use oci::ContainerId;
use rustix::net::SocketType;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

use crate::answer::{self, Decision, Turns};
use crate::error::DnsError;
use crate::message::Question;
use crate::opener::{Opener, Sockets, is_ours};
use crate::{Names, Upstream, tcp, udp};

/// So many questions of all namespaces together are under way upstream.
const MOST_UNDER_WAY: usize = 1024;
/// More servers than resolvers themselves ask (resolv.conf(5)).
const MOST_UPSTREAMS: usize = 3;

/// The name server of a daemon. Costs nothing until the first namespace is served.
pub struct Server {
    shared: Arc<Shared>,
    runtime: Handle,
}

/// What all namespaces share.
struct Shared {
    names: Arc<dyn Names>,
    opener: Opener,
    turns: Turns,
    upstream: Arc<Semaphore>,
}

/// What is served in one namespace.
pub(crate) struct Zone {
    shared: Arc<Shared>,
    asker: ContainerId,
    namespace: Arc<OwnedFd>,
    pub(crate) upstreams: Vec<Upstream>,
}

/// A network namespace has a name server as long as this lives.
#[derive(Debug)]
#[must_use]
pub struct Serving {
    tasks: [AbortHandle; 2],
}

impl Drop for Serving {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

impl Server {
    /// A name server that says what `names` means, whose tasks are `runtime`'s.
    pub fn new(names: Arc<dyn Names>, runtime: Handle) -> Server {
        let upstream = Arc::new(Semaphore::new(MOST_UNDER_WAY));
        let shared = Shared { names, opener: Opener::default(), turns: Turns::new(), upstream };
        Server { shared: Arc::new(shared), runtime }
    }

    /// Serves the processes in a network namespace, as `asker`, from now on: when this returns, questions to
    /// 127.0.0.11 are answered. Blocks for about a millisecond. With `anew` a former daemon served them before.
    ///
    /// # Errors
    /// The namespace cannot be entered, has no loopback, or its packet filter cannot be changed.
    pub fn serve(
        &self,
        asker: &ContainerId,
        namespace: OwnedFd,
        upstreams: &[Upstream],
        anew: bool,
    ) -> Result<Serving, DnsError> {
        let namespace = Arc::new(namespace);
        let Sockets { udp, tcp } = self.shared.opener.sockets(&namespace, anew)?;
        let upstreams = upstreams.iter().copied().filter(|server| !is_ours(server.address)).take(MOST_UPSTREAMS);
        let zone = Arc::new(Zone {
            shared: Arc::clone(&self.shared),
            asker: asker.clone(),
            namespace,
            upstreams: upstreams.collect(),
        });
        let _within = self.runtime.enter();
        let udp = tokio::net::UdpSocket::from_std(udp).map_err(DnsError::Socket)?;
        let tcp = tokio::net::TcpListener::from_std(tcp).map_err(DnsError::Socket)?;
        let udp = self.runtime.spawn(udp::serve(Arc::clone(&zone), udp)).abort_handle();
        let tcp = self.runtime.spawn(tcp::serve(zone, tcp)).abort_handle();
        Ok(Serving { tasks: [udp, tcp] })
    }
}

impl Zone {
    pub(crate) fn decide(&self, question: &Question<'_>) -> Decision {
        answer::decide(question, &self.asker, &*self.shared.names, &self.shared.turns)
    }

    /// The right to ask upstream servers one question; `None` when too many are under way.
    pub(crate) fn turn_upstream(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.shared.upstream).try_acquire_owned().ok()
    }

    /// A socket to ask `server` from.
    pub(crate) async fn asking(&self, server: Upstream, kind: SocketType) -> Result<OwnedFd, DnsError> {
        self.shared.opener.asking(&self.namespace, server, kind).await
    }
}
