// SPDX-License-Identifier: Apache-2.0
//! The name servers in the network namespaces of containers that are in user-defined networks: when they begin and end.

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use dns::{Names, Serving, Upstream};
use network::Endpoint;
use oci::ContainerId;

use super::sandbox::namespace_of;
use crate::Engine;
use crate::container::{Container, Record};
use crate::error::EngineError;
use crate::rootfs;

/// The name servers there are, by container.
#[derive(Debug)]
pub(crate) struct NameServers {
    server: dns::Server,
    meaning: Arc<Meaning>,
    serving: Mutex<HashMap<ContainerId, Serving>>,
}

/// What names mean: the engine says so, once it is there.
#[derive(Default)]
struct Meaning(OnceLock<Weak<Engine>>);

impl std::fmt::Debug for Meaning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meaning").finish_non_exhaustive()
    }
}

impl Meaning {
    /// `None` while the daemon begins or ends.
    fn engine(&self) -> Option<Arc<Engine>> {
        self.0.get().and_then(Weak::upgrade)
    }
}

impl Names for Meaning {
    fn addresses(&self, asker: &ContainerId, name: &str) -> Option<Vec<IpAddr>> {
        self.engine()?.resolve_name(asker, name)
    }

    fn name_of(&self, asker: &ContainerId, address: IpAddr) -> Option<String> {
        self.engine()?.resolve_address(asker, address)
    }

    fn may_forward(&self, asker: &ContainerId) -> bool {
        self.engine().is_some_and(|engine| engine.leads_outside(asker))
    }
}

impl NameServers {
    /// There are none yet. Their tasks will be `runtime`'s.
    pub(crate) fn new(runtime: tokio::runtime::Handle) -> NameServers {
        let meaning = Arc::new(Meaning::default());
        let server = dns::Server::new(Arc::clone(&meaning) as Arc<dyn Names>, runtime);
        NameServers { server, meaning, serving: Mutex::default() }
    }

    /// From now on the engine says what names mean.
    pub(crate) fn ask(&self, engine: &Arc<Engine>) {
        // Called once: there is one engine.
        let _ = self.meaning.0.set(Arc::downgrade(engine));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ContainerId, Serving>> {
        // Every change is a single insertion or removal: a panic cannot leave it half-changed.
        self.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Gives a container's network namespace a name server, if it is in a user-defined network and has none yet. With
    /// `anew` it had one of a former daemon's.
    ///
    /// # Errors
    /// The namespace cannot be entered, or its packet filter cannot be changed.
    pub(super) fn begin_names(
        &self,
        record: &Record,
        endpoints: &[Endpoint],
        namespace: &OwnedFd,
        anew: bool,
    ) -> Result<(), EngineError> {
        if !rootfs::has_resolver(endpoints) || self.name_servers.lock().contains_key(&record.id) {
            return Ok(());
        }
        let namespace = namespace.try_clone().map_err(EngineError::io("hold", "the network namespace"))?;
        let upstreams: Vec<Upstream> = match &record.spec.naming.servers[..] {
            [] => rootfs::name_servers()?.into_iter().map(Upstream::of_host).collect(),
            own => own.iter().copied().map(Upstream::of_container).collect(),
        };
        let serving = self.name_servers.server.serve(&record.id, namespace, &upstreams, anew)?;
        self.name_servers.lock().insert(record.id.clone(), serving);
        Ok(())
    }

    /// The same for a container that a former daemon left running. It goes on without names where that fails.
    pub(crate) fn resume_names(&self, container: &Container) {
        let record = container.record();
        let Some(running) = record.state.running() else { return };
        let resumed = namespace_of(running).and_then(|namespace| match namespace {
            Some(namespace) => self.begin_names(&record, &running.endpoints, &namespace, true),
            // It has just ended.
            None => Ok(()),
        });
        if let Err(error) = resumed {
            let error = errors::chain(&error);
            tracing::error!(container = %record.id, error, "a running container has no name server");
        }
    }

    /// A container has ended, or did not start: its sockets keep its network namespace no longer.
    pub(crate) fn end_names(&self, container: &ContainerId) {
        drop(self.name_servers.lock().remove(container));
    }

    /// Whether a container has a network that is not internal.
    fn leads_outside(&self, container: &ContainerId) -> bool {
        let registry = self.registry();
        let Some(container) = registry.by_id.get(container) else { return false };
        container.with_record(|record| {
            record.state.running().is_some_and(|running| running.endpoints.iter().any(|end| end.gateway.is_some()))
        })
    }
}
