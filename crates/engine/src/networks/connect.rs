// SPDX-License-Identifier: Apache-2.0
//! `network connect` and `network disconnect`, of containers that run and of those that do not.

use std::sync::Arc;

use network::{Endpoint, NetworkId, Sandbox};

use super::attachment::{self, Attachment, EndpointWish};
use super::sandbox::{again, namespace_of};
use super::{HOST, Network};
use crate::Engine;
use crate::container::{Container, Record, Running, State};
use crate::error::EngineError;
use crate::request::NetworkMode;
use crate::rootfs;

impl Engine {
    /// Puts a container into one more network: at once if it runs, else when it starts. Durable when this returns.
    ///
    /// # Errors
    /// No such network or container; it is in it already, or shares the network of the host or of another container;
    /// wishes that cannot be granted. Nothing is changed then.
    pub async fn connect(
        self: &Arc<Self>,
        network: &str,
        container: &str,
        wish: EndpointWish,
    ) -> Result<(), EngineError> {
        let network = network.to_owned();
        self.with_turn(container, "connect to a network", move |engine, container| {
            engine.connect_blocking(container, &network, wish)
        })
        .await
    }

    /// Takes a container out of a network. Durable when this returns. With `force`, a network that was removed may be
    /// named, too.
    ///
    /// # Errors
    /// No such network or container; it is not in it.
    pub async fn disconnect(self: &Arc<Self>, network: &str, container: &str, force: bool) -> Result<(), EngineError> {
        let network = network.to_owned();
        self.with_turn(container, "disconnect from a network", move |engine, container| {
            engine.disconnect_blocking(container, &network, force)
        })
        .await
    }

    async fn with_turn(
        self: &Arc<Self>,
        container: &str,
        what: &'static str,
        work: impl FnOnce(&Engine, &Container) -> Result<(), EngineError> + Send + 'static,
    ) -> Result<(), EngineError> {
        let container = self.container(container)?;
        let turn = Arc::clone(&container.lifecycle).lock_owned().await;
        // A removal may have come first.
        self.container(container.id.as_str())?;
        let engine = Arc::clone(self);
        self.blocking(what, move || {
            let _turn = turn;
            work(&engine, &container)
        })
        .await
    }

    fn connect_blocking(&self, container: &Container, term: &str, wish: EndpointWish) -> Result<(), EngineError> {
        let network = self.find_network(term)?;
        let record = container.record();
        let mut attachments = changeable(&record)?;
        if let Some(none) = attachments.iter().find(|one| one.network == NetworkId::none()) {
            return Err(EngineError::NotTogether { network: network.name, mode: none.name.clone() });
        }
        if attachments.iter().any(|one| one.network == network.id) {
            return Err(EngineError::AlreadyConnected { container: record.name, network: network.name });
        }
        attachment::check(&network, &wish)?;
        let old = record.attachments.clone();
        attachments.push(Attachment { network: network.id.clone(), name: network.name.clone(), wish });
        match record.state.running() {
            None => self.keep_attachments(container, attachments, old)?,
            Some(running) => self.connect_running(container, &record, running, attachments)?,
        }
        self.events.tell_of_network("connect", &network, Some(&container.id));
        Ok(())
    }

    fn connect_running(
        &self,
        container: &Container,
        record: &Record,
        running: &Running,
        attachments: Vec<Attachment>,
    ) -> Result<(), EngineError> {
        let Some(new) = attachments.last().cloned() else { return Ok(()) };
        let mut sandbox = open_sandbox(record, running)?;
        let mut endpoints = running.endpoints.clone();
        endpoints.push(self.join(&container.id, &mut sandbox, &new)?);
        let done = self
            .settle_gateway(&mut sandbox, record, &attachments, &mut endpoints, &record.spec.ports)
            .and_then(|()| {
                self.record_places(container, attachments, &endpoints)?;
                if let Some(namespace) = namespace_of(running)? {
                    self.begin_names(record, &endpoints, &namespace, false)?;
                }
                rootfs::say_connected(&container.dir, record, &endpoints)
            });
        if let Err(error) = done {
            self.undo_connect(container, record, &mut sandbox, endpoints);
            return Err(error);
        }
        Ok(())
    }

    /// Takes back what was done of a connection; what fails of that is told of.
    fn undo_connect(
        &self,
        container: &Container,
        record: &Record,
        sandbox: &mut Sandbox,
        mut endpoints: Vec<Endpoint>,
    ) {
        let Some(new) = endpoints.pop() else { return };
        let warn = |error: &EngineError| {
            tracing::error!(container = %container.id, error = errors::chain(error), "a connection is not wholly undone");
        };
        if let Err(error) = self.network.leave(&new) {
            warn(&error.into());
        }
        let attachments = record.attachments();
        if let Err(error) = self.settle_gateway(sandbox, record, &attachments, &mut endpoints, &record.spec.ports) {
            warn(&error);
        }
        container.update(|now| now.attachments.clone_from(&record.attachments));
        set_endpoints(container, &endpoints);
        if let Err(error) = self.keep(container) {
            warn(&error);
        }
    }

    fn disconnect_blocking(&self, container: &Container, term: &str, force: bool) -> Result<(), EngineError> {
        let record = container.record();
        let network = match self.find_network(term) {
            Ok(network) => network,
            Err(error) if force => gone(&record, term).ok_or(error)?,
            Err(error) => return Err(error),
        };
        let mut attachments = changeable(&record)?;
        let Some(at) = attachments.iter().position(|one| one.network == network.id) else {
            return Err(EngineError::NotConnected { container: record.name, network: network.name });
        };
        attachments.remove(at);
        match record.state.running() {
            None => self.keep_attachments(container, attachments, record.attachments.clone())?,
            Some(running) => self.disconnect_running(container, &record, running, attachments, &network)?,
        }
        self.events.tell_of_network("disconnect", &network, Some(&container.id));
        Ok(())
    }

    fn disconnect_running(
        &self,
        container: &Container,
        record: &Record,
        running: &Running,
        attachments: Vec<Attachment>,
        network: &Network,
    ) -> Result<(), EngineError> {
        let mut sandbox = open_sandbox(record, running)?;
        let mut endpoints = running.endpoints.clone();
        let Some(at) = endpoints.iter().position(|endpoint| endpoint.network == network.id) else {
            // It began without: it is in no network at all.
            return self.record_places(container, attachments, &endpoints);
        };
        let left = endpoints.remove(at);
        self.network.leave(&left)?;
        // It is out of it, whatever fails from here on. Ports that the kernel chose stay what they were.
        let ports = match left.ports.is_empty() {
            true => record.spec.ports.clone(),
            false => {
                let wishes = &record.spec.ports;
                left.ports.iter().enumerate().map(|(at, port)| again(port, wishes.get(at))).collect()
            }
        };
        let settled = self.settle_gateway(&mut sandbox, record, &attachments, &mut endpoints, &ports);
        self.record_places(container, attachments, &endpoints)?;
        settled?;
        rootfs::say_disconnected(&container.dir, record, &left)
    }

    /// Makes the record say where a running container is now.
    fn record_places(
        &self,
        container: &Container,
        attachments: Vec<Attachment>,
        endpoints: &[Endpoint],
    ) -> Result<(), EngineError> {
        container.update(|record| record.attachments = Some(attachments));
        if !set_endpoints(container, endpoints) {
            // It has ended meanwhile, and released what it had: all but what is new.
            let name = container.with_record(|record| record.name.clone());
            return Err(EngineError::WrongState { name, status: "exited", verb: "change the networks of" });
        }
        // It may have become ready, or no longer be, since its ports were given their new place.
        self.hold_ports_back(&container.record(), endpoints)?;
        self.keep(container)
    }

    /// For a container that does not run.
    fn keep_attachments(
        &self,
        container: &Container,
        new: Vec<Attachment>,
        old: Option<Vec<Attachment>>,
    ) -> Result<(), EngineError> {
        container.update(|record| record.attachments = Some(new));
        self.keep(container).inspect_err(|_| container.update(|record| record.attachments = old))
    }
}

/// Says where a container is, if it still runs.
fn set_endpoints(container: &Container, endpoints: &[Endpoint]) -> bool {
    container.update(|record| match &mut record.state {
        State::Running(running) => {
            running.endpoints = endpoints.to_vec();
            true
        }
        _ => false,
    })
}

/// A container's networks, if they may be changed.
fn changeable(record: &Record) -> Result<Vec<Attachment>, EngineError> {
    match &record.spec.network {
        NetworkMode::Host => Err(EngineError::SharedNetwork { name: record.name.clone(), with: HOST.to_owned() }),
        NetworkMode::Container(_) => {
            let with = record.spec.network.docker();
            Err(EngineError::SharedNetwork { name: record.name.clone(), with })
        }
        NetworkMode::Bridge | NetworkMode::None | NetworkMode::User(_) => Ok(record.attachments()),
    }
}

/// A network that was removed, as a container's record still has it.
fn gone(record: &Record, term: &str) -> Option<Network> {
    let attachment =
        record.attachments.iter().flatten().find(|one| one.name == term || one.network.as_str() == term)?;
    Some(Network {
        id: attachment.network.clone(),
        name: attachment.name.clone(),
        created: record.created,
        driver: super::NetworkDriver::Bridge,
        internal: false,
        attachable: false,
        ipam: None,
        ipv6: None,
        options: Default::default(),
        labels: Default::default(),
    })
}

fn open_sandbox(record: &Record, running: &Running) -> Result<Sandbox, EngineError> {
    match namespace_of(running)? {
        Some(namespace) => Ok(Sandbox::open(namespace)?),
        None => {
            let name = record.name.clone();
            Err(EngineError::WrongState { name, status: "exited", verb: "change the networks of" })
        }
    }
}
