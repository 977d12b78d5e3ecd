// SPDX-License-Identifier: Apache-2.0
//! The bridge network: attach, release, adopt, shut down.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use errors::{Classify, Kind};
use firewall::{Firewall, FirewallError, Published, connection};
use netlink::{Batch, Protocol as NetlinkProtocol, Socket, route};
use oci::ContainerId;
use rustix::io::Errno;

use crate::bridge::{self, Bridge, Wanted};
use crate::claim::Claim;
use crate::config::Config;
use crate::endpoint::{Description, Endpoint, PortMapping, Protocol, PublishedPort, hardware_address};
use crate::error::NetworkError;
use crate::lease::Leases;
use crate::pool::{INTERFACE_PREFIX, Pool, Slot};
use crate::port_holder::PortHolder;
use crate::subnet::Subnet;
use crate::{port, setting};

/// A bridge network. All calls block for microseconds to milliseconds, and may come from any thread of the network
/// namespace that the bridge is to be in.
#[derive(Debug)]
pub struct Network {
    config: Config,
    pool: Pool,
    running: Mutex<Option<Running>>,
}

/// What there is once the first container was attached.
#[derive(Debug)]
struct Running {
    bridge: Bridge,
    socket: Socket,
    firewall: Firewall,
    leases: Leases<Attachment>,
    enabled_forwarding: bool,
    /// Keeps other processes from managing the same bridge and table.
    _claims: [Claim; 2],
}

/// What is remembered of an attached container.
#[derive(Debug)]
struct Attachment {
    container: ContainerId,
    host_interface: String,
    rules: Vec<Published>,
    ports: Vec<PublishedPort>,
    /// Sockets bound to the published ports.
    _reservations: Vec<OwnedFd>,
}

impl Network {
    /// Takes note of the configuration; nothing is made, read or changed yet.
    ///
    /// # Errors
    /// Names that no interface or table can have; a subnet smaller than /30 or larger than /8.
    pub fn open(config: Config) -> Result<Network, NetworkError> {
        config.validate()?;
        let pool = Pool::new(config.pool);
        Ok(Network { config, pool, running: Mutex::new(None) })
    }

    /// Makes the bridge and the table and fills the pool, so that the first `attach` need not.
    pub fn prepare(&self) -> Result<(), NetworkError> {
        let mut running = self.lock();
        self.set_up(&mut running).map(|_| ())
    }

    /// Gives a container a network namespace, with an address, a default route and its ports published.
    ///
    /// # Errors
    /// A port that is taken, an address the host does not have, no address left. Nothing is left behind then.
    pub fn attach(&self, id: &ContainerId, ports: &[PortMapping]) -> Result<(OwnedFd, Endpoint), NetworkError> {
        let bridge = self.set_up(&mut self.lock())?.bridge;
        let slot = self.pool.take(bridge.index)?;
        let attached = self.attach_slot(slot, id, ports);
        self.pool.refill();
        attached
    }

    fn attach_slot(
        &self,
        slot: Slot,
        id: &ContainerId,
        ports: &[PortMapping],
    ) -> Result<(OwnedFd, Endpoint), NetworkError> {
        let endpoint = match self.admit(id, ports, slot.host_interface()) {
            Ok(endpoint) => endpoint,
            Err(error) => {
                self.pool.give_back(slot);
                return Err(error);
            }
        };
        match slot.configure(&endpoint) {
            Ok(namespace) => Ok((namespace, endpoint)),
            Err(error) => {
                if let Err(error) = self.release(&endpoint) {
                    tracing::warn!(error = %errors::chain(&error), "a failed attachment is not wholly undone");
                }
                Err(error)
            }
        }
    }

    /// A network namespace with nothing but loopback, which is up.
    pub fn isolated(&self) -> Result<OwnedFd, NetworkError> {
        self.pool.take_isolated()
    }

    /// Withdraws a container's ports and ends its lease; returns at once. Its interfaces go when the last descriptor of
    /// its namespace is closed. To release what is released already is no error.
    ///
    /// # Errors
    /// The packet filter could not be changed. The lease then stays, so that nobody inherits the ports.
    pub fn release(&self, endpoint: &Endpoint) -> Result<(), NetworkError> {
        let mut running = self.lock();
        match running.as_mut() {
            Some(running) => running.release(endpoint, &self.config),
            None => Ok(()),
        }
    }

    /// Takes over what a former daemon left: exactly these containers are attached afterwards, the table says exactly
    /// what they published, and interfaces of ours that belong to none of them are gone. With no container, bridge and
    /// table go as well, and so does what was prepared.
    ///
    /// # Errors
    /// Containers that cannot have been attached together; a kernel that refuses. A published port that somebody took
    /// meanwhile is only warned of: its traffic goes to the container all the same.
    pub fn adopt(&self, live: &[(ContainerId, Endpoint)]) -> Result<(), NetworkError> {
        self.pool.stop();
        let mut running = self.lock();
        *running = None;
        match live.first() {
            Some((_, first)) => {
                let subnet = Subnet::of(first.address, first.prefix);
                let mut adopted = Running::start(&self.config, Wanted::Adopted(subnet), live)?;
                adopted.delete_strays(live)?;
                self.pool.serve(adopted.bridge.index);
                *running = Some(adopted);
                Ok(())
            }
            None => remove_remains(&self.config),
        }
    }

    /// Lets go of all prepared namespaces, and removes bridge and table unless containers are attached and
    /// `keep_if_used` is set: they then go on working, and the next daemon adopts them.
    pub fn shutdown(&self, keep_if_used: bool) -> Result<(), NetworkError> {
        self.pool.stop();
        let mut guard = self.lock();
        let Some(mut running) = guard.take() else { return Ok(()) };
        if keep_if_used && running.leases.count() > 0 {
            return Ok(());
        }
        running.firewall.delete()?;
        bridge::delete(&mut running.socket, &self.config.bridge)
    }

    /// What the network looks like now.
    pub fn describe(&self) -> Description {
        let prepared = self.pool.count();
        let guard = self.lock();
        let running = guard.as_ref();
        Description {
            bridge: self.config.bridge.clone(),
            table: self.config.table.clone(),
            subnet: running.map(|running| running.bridge.subnet),
            gateway: running.map(|running| running.bridge.subnet.gateway()),
            attached: running.map_or(0, |running| running.leases.count()),
            published: running.map_or(0, |running| running.leases.holders().map(|held| held.ports.len()).sum()),
            prepared,
            enabled_forwarding: running.is_some_and(|running| running.enabled_forwarding),
        }
    }

    fn admit(&self, id: &ContainerId, ports: &[PortMapping], interface: &str) -> Result<Endpoint, NetworkError> {
        let mut running = self.lock();
        self.set_up(&mut running)?.admit(id, ports, interface, &self.config)
    }

    fn set_up<'a>(&self, running: &'a mut Option<Running>) -> Result<&'a mut Running, NetworkError> {
        if let Some(running) = running.as_mut()
            && !running.bridge_stands(&self.config)?
        {
            tracing::warn!(bridge = self.config.bridge, "somebody deleted the bridge; it is made again");
            self.pool.stop();
            running.rebuild(&self.config)?;
            self.pool.serve(running.bridge.index);
        }
        if running.is_none() {
            let wanted = match self.config.subnet {
                Some((address, prefix)) => Wanted::Configured(Subnet::of(address, prefix)),
                None => Wanted::Any,
            };
            let started = Running::start(&self.config, wanted, &[])?;
            self.pool.serve(started.bridge.index);
            return Ok(running.insert(started));
        }
        running.as_mut().ok_or_else(|| NetworkError::BridgeVanished { bridge: self.config.bridge.clone() })
    }

    /// A panic under this lock would be a bug; what it guards is kept in order by the kernel's refusals.
    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// Bridge, table and settings, for the containers that live already.
    fn start(config: &Config, wanted: Wanted, live: &[(ContainerId, Endpoint)]) -> Result<Running, NetworkError> {
        let claims = Claim::both(config)?;
        let mut socket = Socket::open(NetlinkProtocol::Route)?;
        let firewall = Firewall::open(&config.table)?;
        let bridge = bridge::establish(&mut socket, config, wanted)?;
        let leases = Leases::new(bridge.subnet);
        let mut running = Running { bridge, socket, firewall, leases, enabled_forwarding: false, _claims: claims };
        match running.populate(config, live) {
            Ok(()) => Ok(running),
            Err(error) => {
                if bridge.created {
                    bridge::delete_after_failure(&mut running.socket, &config.bridge);
                }
                Err(error)
            }
        }
    }

    fn populate(&mut self, config: &Config, live: &[(ContainerId, Endpoint)]) -> Result<(), NetworkError> {
        for (id, endpoint) in live {
            let attachment = Attachment::adopted(id, endpoint);
            self.leases.claim(endpoint.address, attachment).map_err(|refused| NetworkError::AddressTaken {
                container: refused.container.to_string(),
                address: endpoint.address,
                subnet: self.bridge.subnet,
            })?;
        }
        // The table guards the host's loopback against what the setting after it opens.
        self.replace_table(config, &[])?;
        self.enabled_forwarding = setting::switch_on("/proc/sys/net/ipv4/ip_forward")?;
        self.connect(config)
    }

    /// Whether the bridge is still the one we know.
    fn bridge_stands(&mut self, config: &Config) -> Result<bool, NetworkError> {
        let link = route::link_by_index(&mut self.socket, self.bridge.index)?;
        Ok(link.is_some_and(|link| link.name == config.bridge))
    }

    /// Makes the bridge again, for those who were attached to it.
    fn rebuild(&mut self, config: &Config) -> Result<(), NetworkError> {
        self.bridge = bridge::establish(&mut self.socket, config, Wanted::Adopted(self.bridge.subnet))?;
        self.connect(config)
    }

    /// Makes the bridge reach the host's loopback, and if it is new, those containers that had another before.
    fn connect(&mut self, config: &Config) -> Result<(), NetworkError> {
        setting::write(&format!("/proc/sys/net/ipv4/conf/{}/route_localnet", config.bridge), "1")?;
        if !self.bridge.created {
            return Ok(());
        }
        for held in self.leases.holders() {
            let mut batch = Batch::new();
            route::enslave(&mut batch, &held.host_interface, self.bridge.index);
            route::hairpin(&mut batch, &held.host_interface);
            match self.socket.execute(&mut batch) {
                // The container ended, and nobody released it yet.
                Err(error) if error.refusal() == Some(Errno::NODEV) => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Address, ports and their rules: all or nothing.
    fn admit(
        &mut self,
        id: &ContainerId,
        ports: &[PortMapping],
        interface: &str,
        config: &Config,
    ) -> Result<Endpoint, NetworkError> {
        let subnet = self.bridge.subnet;
        let Some(address) = self.leases.free_address() else {
            return Err(NetworkError::NoFreeAddress { subnet, capacity: self.leases.capacity() });
        };
        let (mut reservations, mut published) = (Vec::with_capacity(ports.len()), Vec::with_capacity(ports.len()));
        for mapping in ports {
            let (socket, port) = port::reserve(mapping).map_err(|error| self.name_holder(error, id, &published))?;
            reservations.push(socket);
            published.push(port);
        }
        let attachment = Attachment {
            container: id.clone(),
            host_interface: interface.to_owned(),
            rules: published.iter().map(|port| port.to_rule(address)).collect(),
            ports: published.clone(),
            _reservations: reservations,
        };
        match self.firewall.publish(&attachment.rules) {
            // Somebody emptied the packet filter, as host firewalls do when they are reloaded.
            Err(error) if error.is_missing() => self.replace_table(config, &attachment.rules)?,
            other => other?,
        }
        warn_if_failed(connection::redirect_flows(&attachment.rules));
        self.leases.claim(address, attachment).map_err(|refused| NetworkError::AddressTaken {
            container: refused.container.to_string(),
            address,
            subnet,
        })?;
        Ok(Endpoint {
            address,
            prefix: subnet.prefix(),
            gateway: subnet.gateway(),
            mac: hardware_address(address),
            host_interface: interface.to_owned(),
            ports: published,
        })
    }

    fn release(&mut self, endpoint: &Endpoint, config: &Config) -> Result<(), NetworkError> {
        // The address may be another container's by now; the interface's name is never used again.
        let held = self.leases.holder(endpoint.address);
        let Some(held) = held.filter(|held| held.host_interface == endpoint.host_interface) else { return Ok(()) };
        let datagrams = held.ports.iter().any(|port| port.protocol == Protocol::Udp);
        let withdrawn = match self.firewall.withdraw(&held.rules) {
            Err(error) if error.is_missing() => {
                let held = self.leases.end(endpoint.address);
                self.replace_table(config, &[]).inspect_err(|_| {
                    // Cannot fail: the lease was ended just above.
                    let _ = held.map(|held| self.leases.claim(endpoint.address, held));
                })
            }
            Err(error) => Err(error.into()),
            Ok(()) => {
                self.leases.end(endpoint.address);
                Ok(())
            }
        };
        if datagrams && withdrawn.is_ok() {
            warn_if_failed(connection::end_flows(endpoint.address));
        }
        withdrawn
    }

    /// The table as it must be for all that are attached, and one that is about to be.
    fn replace_table(&mut self, config: &Config, coming: &[Published]) -> Result<(), NetworkError> {
        let subnet = self.bridge.subnet;
        let bridge =
            firewall::Bridge { name: config.bridge.clone(), network: subnet.network(), prefix: subnet.prefix() };
        let attached = self.leases.holders().flat_map(|held| &held.rules);
        let published: Vec<Published> = attached.chain(coming).copied().collect();
        Ok(self.firewall.replace(&[bridge], &published)?)
    }

    /// If the port is one of ours, says whose.
    fn name_holder(&self, error: NetworkError, id: &ContainerId, wanted: &[PublishedPort]) -> NetworkError {
        let NetworkError::PortTaken { address, port, protocol, holder } = error else { return error };
        let collides = |held: &PublishedPort| {
            let same_address = held.host_ip.is_none_or(|held| held == address) || address.is_unspecified();
            same_address && held.host_port == port && held.protocol == protocol
        };
        let container = if wanted.iter().any(collides) {
            Some(id)
        } else {
            self.leases.holders().find(|held| held.ports.iter().any(collides)).map(|held| &held.container)
        };
        let holder = container.map(|id| PortHolder::Container(id.short().to_owned())).or(holder);
        NetworkError::PortTaken { address, port, protocol, holder }
    }

    /// Deletes ports of our bridge that we named and that belong to nobody.
    fn delete_strays(&mut self, live: &[(ContainerId, Endpoint)]) -> Result<(), NetworkError> {
        for link in route::links(&mut self.socket)? {
            let ours = link.master == Some(self.bridge.index) && link.name.starts_with(INTERFACE_PREFIX);
            if ours && !live.iter().any(|(_, endpoint)| endpoint.host_interface == link.name) {
                bridge::delete(&mut self.socket, &link.name)?;
            }
        }
        Ok(())
    }
}

impl Attachment {
    fn adopted(id: &ContainerId, endpoint: &Endpoint) -> Attachment {
        let mut reservations = Vec::new();
        for published in &endpoint.ports {
            match port::reserve_again(published) {
                Ok(socket) => reservations.push(socket),
                Err(error) => {
                    tracing::warn!(container = %id, error = %errors::chain(&error), "a published port is no longer reserved");
                }
            }
        }
        Attachment {
            container: id.clone(),
            host_interface: endpoint.host_interface.clone(),
            rules: endpoint.ports.iter().map(|port| port.to_rule(endpoint.address)).collect(),
            ports: endpoint.ports.clone(),
            _reservations: reservations,
        }
    }
}

/// Flows of the past that go where they went are no reason to refuse a container.
fn warn_if_failed(forgotten: Result<usize, FirewallError>) {
    if let Err(error) = forgotten {
        tracing::warn!(error = %errors::chain(&error), "UDP senders that never pause may miss a change of published ports");
    }
}

/// Removes what a daemon without containers left. If another process manages it, it is not what we left.
fn remove_remains(config: &Config) -> Result<(), NetworkError> {
    let _claims = match Claim::both(config) {
        Err(NetworkError::Managed { .. }) => return Ok(()),
        other => other?,
    };
    let mut socket = Socket::open(NetlinkProtocol::Route)?;
    let bridge = match bridge::find(&mut socket, &config.bridge) {
        // Not ours. Whoever attaches a container will hear of it.
        Err(NetworkError::NotABridge { .. }) => return Ok(()),
        other => other?,
    };
    match Firewall::open(&config.table) {
        Ok(mut firewall) => firewall.delete()?,
        // A kernel without a packet filter has no table of ours.
        Err(error) if bridge.is_none() && error.kind() == Kind::Unsupported => {}
        Err(error) => return Err(error.into()),
    }
    let Some(bridge) = bridge else { return Ok(()) };
    for link in route::links(&mut socket)? {
        if link.master == Some(bridge.index) && link.name.starts_with(INTERFACE_PREFIX) {
            bridge::delete(&mut socket, &link.name)?;
        }
    }
    bridge::delete(&mut socket, &config.bridge)
}
