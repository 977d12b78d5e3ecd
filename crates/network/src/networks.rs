// SPDX-License-Identifier: Apache-2.0
//! All bridge networks of a daemon: reserve and remove, attach and join, release, adopt, shut down.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use netlink::{Protocol as NetlinkProtocol, Socket, route};
use oci::ContainerId;

use crate::cable::{self, Cable};
use crate::config::{AddressPool, Config};
use crate::endpoint::{Description, Endpoint, FIRST_INTERFACE, PortMapping, PublishedPort};
use crate::error::NetworkError;
use crate::id::NetworkId;
use crate::ip::Ip;
use crate::pool::{Pool, Slot};
use crate::running::{Guest, Running};
use crate::sandbox::Sandbox;
use crate::spec::{BridgeSpec, BridgeWish};
use crate::subnet::Subnet;
use crate::{adoption, bridge, forwarding, namespace};

/// The bridge networks. All calls block for microseconds to milliseconds, and may come from any thread of the network
/// namespace that the bridges are to be in.
#[derive(Debug)]
pub struct Networks {
    config: Config,
    pool: Pool,
    state: Mutex<State>,
}

/// What is known, and what there is.
#[derive(Debug, Default)]
struct State {
    /// The networks beside the default bridge. Their bridges are made when they are needed.
    known: BTreeMap<NetworkId, BridgeSpec>,
    running: Option<Running>,
}

/// The wish for a place in a network.
#[derive(Debug, Clone)]
pub struct Join<'a> {
    /// Who wants it.
    pub container: &'a ContainerId,
    /// Where.
    pub network: &'a NetworkId,
    /// Its address; the next free one when absent.
    pub address: Option<Ipv4Addr>,
    /// Its IPv6 address, in a network that has IPv6; a free one when absent.
    pub ipv6: Option<Ipv6Addr>,
    /// Its hardware address; one that goes with the address when absent.
    pub mac: Option<[u8; 6]>,
}

/// The prefix of one host's unique local addresses, and of one network among them (RFC 4193, section 3.1).
const SITE: u8 = 48;
const SITE_NETWORK: u8 = 64;

/// Who got an address in a network.
struct Admitted {
    endpoint: Endpoint,
    /// The number of the network's bridge.
    bridge: u32,
    spec: BridgeSpec,
    /// It is to tell its neighbours which hardware address goes with its address now.
    announces: bool,
}

impl Networks {
    /// Takes note of the configuration; nothing is made, read or changed yet.
    ///
    /// # Errors
    /// Names that no interface or table can have; a subnet smaller than /30 or larger than /8.
    pub fn open(config: Config) -> Result<Networks, NetworkError> {
        config.validate()?;
        let pool = Pool::new(config.pool, config.traits.clone());
        Ok(Networks { config, pool, state: Mutex::default() })
    }

    /// Makes the default bridge and the table and fills the pool, so that the first `attach` need not.
    pub fn prepare(&self) -> Result<(), NetworkError> {
        self.bring_up(&mut self.lock(), &NetworkId::bridge()).map(|_| ())
    }

    /// Decides how a new network will be, and keeps its subnet and its bridge's name from others. Nothing is made yet.
    ///
    /// # Errors
    /// What cannot be; a subnet or an interface's name that is taken; no free subnet.
    pub fn reserve(&self, wish: BridgeWish) -> Result<BridgeSpec, NetworkError> {
        wish.validate()?;
        let mut state = self.lock();
        let mut socket = Socket::open(NetlinkProtocol::Route)?;
        let taken = self.taken(&state, &mut socket)?;
        let same_name = |spec: &BridgeSpec| spec.bridge == wish.bridge;
        if wish.bridge == self.config.bridge
            || state.known.values().any(same_name)
            || route::link(&mut socket, &wish.bridge)?.is_some()
        {
            return Err(NetworkError::InterfaceExists { bridge: wish.bridge });
        }
        let subnet = choose(&mut socket, wish.ipv4.subnet, &taken, || Ok(self.config.address_pools.clone()))?;
        let subnet6 = match &wish.ipv6 {
            Some(_) if !forwarding::is_possible() => return Err(NetworkError::NoIpv6),
            Some(layout) => {
                let taken: Vec<Subnet<Ipv6Addr>> =
                    state.known.values().filter_map(|spec| Some(spec.ipv6.as_ref()?.subnet)).collect();
                let site = || Ok(vec![AddressPool { base: site(wish.site)?, size: SITE_NETWORK }]);
                Some(choose(&mut socket, layout.subnet, &taken, site)?)
            }
            None => None,
        };
        let spec = wish.decide(subnet, subnet6)?;
        state.known.insert(spec.id.clone(), spec.clone());
        Ok(spec)
    }

    /// The subnets of all networks. The default bridge's is one of them even before there is one.
    fn taken(&self, state: &State, socket: &mut Socket) -> Result<Vec<Subnet>, NetworkError> {
        let mut taken: Vec<Subnet> = state.known.values().map(|spec| spec.ipv4.subnet).collect();
        let running = state.running.as_ref().and_then(|running| running.segments.get(&NetworkId::bridge()));
        taken.push(match running {
            Some(segment) => segment.spec.ipv4.subnet,
            None => bridge::default_subnet(socket, &self.config, &taken)?,
        });
        Ok(taken)
    }

    /// Takes note of a network that was decided before.
    pub fn know(&self, spec: BridgeSpec) {
        self.lock().known.insert(spec.id.clone(), spec);
    }

    /// Makes a reserved network's bridge now.
    ///
    /// # Errors
    /// No such network, or the kernel refuses; nothing is left behind then, and the network stays reserved.
    pub fn establish(&self, network: &NetworkId) -> Result<(), NetworkError> {
        self.bring_up(&mut self.lock(), network).map(|_| ())
    }

    /// Removes a network's bridge, if there is one, and forgets the network.
    ///
    /// # Errors
    /// Containers are attached, or the kernel refuses; the network stays.
    pub fn remove(&self, network: &NetworkId) -> Result<(), NetworkError> {
        let mut state = self.lock();
        if let Some(running) = state.running.as_mut() {
            running.remove(network)?;
        }
        state.known.remove(network);
        Ok(())
    }

    /// Gives a container a network namespace on the default bridge, with an address, a default route and its ports
    /// published.
    ///
    /// # Errors
    /// A port that is taken, an address the host does not have, no address left. Nothing is left behind then.
    pub fn attach(&self, id: &ContainerId, ports: &[PortMapping]) -> Result<(OwnedFd, Endpoint), NetworkError> {
        let bridge = self.bring_up(&mut self.lock(), &NetworkId::bridge())?;
        let slot = self.pool.take(bridge)?;
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
        let guest = Guest {
            container: id,
            address: None,
            ipv6: None,
            mac: None,
            interface: FIRST_INTERFACE,
            host_interface: slot.host_interface(),
            ports,
        };
        let Admitted { endpoint, bridge, announces, .. } = match self.admit(&NetworkId::bridge(), &guest) {
            Ok(admitted) => admitted,
            Err(error) => {
                self.pool.give_back(slot);
                return Err(error);
            }
        };
        let port = slot.port();
        let configured = slot.configure(&endpoint, announces);
        match configured.and_then(|namespace| self.introduce(bridge, port, &endpoint).map(|()| namespace)) {
            Ok(namespace) => Ok((namespace, endpoint)),
            Err(error) => {
                self.release_after_failure(&endpoint);
                Err(error)
            }
        }
    }

    /// Tells the bridge behind which port an endpoint is, and the host who it is: its ports are published already, and who
    /// was sent there before it had its address is asked for again only after a second.
    fn introduce(&self, bridge: u32, port: u32, endpoint: &Endpoint) -> Result<(), NetworkError> {
        match self.lock().running.as_mut() {
            Some(running) => cable::introduce(&mut running.socket, (bridge, port), endpoint),
            None => Err(NetworkError::Unknown(endpoint.network.clone())),
        }
    }

    /// A network namespace with nothing but loopback, which is up.
    pub fn isolated(&self) -> Result<OwnedFd, NetworkError> {
        self.pool.take_isolated()
    }

    /// Makes of a network namespace with nothing in it, which belongs to a user namespace, what [`Networks::isolated`] gives.
    ///
    /// # Errors
    /// It may not be entered, or the kernel refuses.
    pub fn isolated_in(&self, namespace: OwnedFd) -> Result<OwnedFd, NetworkError> {
        namespace::furnish(namespace)
    }

    /// Gives a container a place in a network, in a namespace that it has or will have: an interface with an address. It
    /// has no default route through it and publishes nothing; see [`Sandbox::set_default_route`], [`Networks::publish`].
    ///
    /// # Errors
    /// No such network, no such address, no address left. Nothing is left behind then.
    pub fn join(&self, sandbox: &mut Sandbox, join: &Join<'_>) -> Result<Endpoint, NetworkError> {
        let (interface, host_interface) = (sandbox.free_interface()?, cable::random_name()?);
        let guest = Guest {
            container: join.container,
            address: join.address,
            ipv6: join.ipv6,
            mac: join.mac,
            interface: &interface,
            host_interface: &host_interface,
            ports: &[],
        };
        let Admitted { endpoint, bridge, spec, announces } = self.admit(join.network, &guest)?;
        let cable = Cable {
            host_interface: &host_interface,
            interface: &interface,
            bridge,
            mac: Some(endpoint.mac),
            mtu: spec.traits.mtu,
            isolated: !spec.traits.inter_container,
        };
        match sandbox.plug(&cable, &endpoint, announces) {
            Ok(()) => Ok(endpoint),
            Err(error) => {
                if let Err(error) = self.leave(&endpoint) {
                    tracing::warn!(error = %errors::chain(&error), "a failed attachment is not wholly undone");
                }
                Err(error)
            }
        }
    }

    /// Removes an endpoint's interface from its container, then releases the endpoint. Blocks for some 25 ms.
    ///
    /// # Errors
    /// The kernel refuses. The lease then stays, so that nobody inherits the address.
    pub fn leave(&self, endpoint: &Endpoint) -> Result<(), NetworkError> {
        let mut socket = Socket::open(NetlinkProtocol::Route)?;
        bridge::delete(&mut socket, &endpoint.host_interface)?;
        self.release(endpoint)
    }

    /// Publishes ports through an endpoint that has none published; or, with `hold`, reserves them as
    /// [`Networks::hold_back`] does.
    ///
    /// # Errors
    /// A port that is taken, an address the host does not have. Nothing is published then.
    pub fn publish(&self, endpoint: &mut Endpoint, ports: &[PortMapping], hold: bool) -> Result<(), NetworkError> {
        if ports.is_empty() {
            return Ok(());
        }
        let mut state = self.lock();
        let running = state.running.as_mut().ok_or_else(|| NetworkError::Unknown(endpoint.network.clone()))?;
        let Some(held) = running.holder_mut(endpoint) else { return Err(NetworkError::Gone) };
        let container = held.container.clone();
        let publication = running.publication(&endpoint.network, &container, endpoint.target(), ports, hold)?;
        if let Some(held) = running.holder_mut(endpoint) {
            endpoint.ports = publication.ports();
            held.publication = publication;
        }
        Ok(())
    }

    /// Publishes other ports through an endpoint in place of some of those it has.
    ///
    /// # Errors
    /// A port that is taken, an address the host does not have. It has the ports it had then.
    pub fn exchange(
        &self,
        endpoint: &mut Endpoint,
        withdrawn: &[PublishedPort],
        wanted: &[PortMapping],
    ) -> Result<(), NetworkError> {
        let mut state = self.lock();
        let running = state.running.as_mut().ok_or_else(|| NetworkError::Unknown(endpoint.network.clone()))?;
        endpoint.ports = running.exchange(endpoint, withdrawn, wanted)?;
        Ok(())
    }

    /// Withdraws the ports that are published through an endpoint.
    ///
    /// # Errors
    /// The packet filter could not be changed. They stay published then.
    pub fn withdraw(&self, endpoint: &mut Endpoint) -> Result<(), NetworkError> {
        let mut state = self.lock();
        if let Some(running) = state.running.as_mut() {
            running.withdraw(endpoint)?;
        }
        endpoint.ports.clear();
        Ok(())
    }

    /// Redirects the ports that are published through an endpoint no longer (`hold`), or again. They stay reserved: who
    /// connects meanwhile is refused, and connections that there are go on. To ask for what is so already is no error.
    ///
    /// # Errors
    /// The packet filter could not be changed. All is as before then.
    pub fn hold_back(&self, endpoint: &Endpoint, hold: bool) -> Result<(), NetworkError> {
        match self.lock().running.as_mut() {
            Some(running) => running.hold_back(endpoint, hold),
            None => Ok(()),
        }
    }

    /// Withdraws a container's ports and ends its lease; returns at once. Its interface goes when the last descriptor of
    /// its namespace is closed. To release what is released already is no error.
    ///
    /// # Errors
    /// The packet filter could not be changed. The lease then stays, so that nobody inherits the ports.
    pub fn release(&self, endpoint: &Endpoint) -> Result<(), NetworkError> {
        match self.lock().running.as_mut() {
            Some(running) => running.release(endpoint),
            None => Ok(()),
        }
    }

    fn release_after_failure(&self, endpoint: &Endpoint) {
        if let Err(error) = self.release(endpoint) {
            tracing::warn!(error = %errors::chain(&error), "a failed attachment is not wholly undone");
        }
    }

    /// Takes over what a former daemon left, with `known` as the networks beside the default bridge: exactly these
    /// containers are attached afterwards, the table says exactly what they published, and interfaces of ours that belong
    /// to none of them are gone, as are bridges that nobody is attached to: they are made again when they are needed.
    ///
    /// # Errors
    /// Containers that cannot have been attached together; a kernel that refuses. A published port that somebody took
    /// meanwhile is only warned of: its traffic goes to the container all the same.
    pub fn adopt(&self, known: Vec<BridgeSpec>, live: &[(ContainerId, Vec<Endpoint>)]) -> Result<(), NetworkError> {
        self.pool.stop();
        let mut state = self.lock();
        state.running = None;
        state.known = known.into_iter().map(|spec| (spec.id.clone(), spec)).collect();
        let adopted = adoption::adopt(&self.config, &state.known, live)?;
        let default = adopted.as_ref().and_then(|running| running.segments.get(&NetworkId::bridge()));
        if let Some(segment) = default {
            self.pool.serve(segment.index);
        }
        state.running = adopted;
        Ok(())
    }

    /// Lets go of all prepared namespaces, and removes the bridges that nobody is attached to, and with the last of them
    /// the table. With `keep_if_used`, those that are used stay: they go on working, and the next daemon adopts them.
    pub fn shutdown(&self, keep_if_used: bool) -> Result<(), NetworkError> {
        self.pool.stop();
        let Some(mut running) = self.lock().running.take() else { return Ok(()) };
        let all: Vec<NetworkId> = running.segments.keys().cloned().collect();
        for id in all {
            let Some(segment) = running.segments.get(&id) else { continue };
            if keep_if_used && segment.leases.count() > 0 {
                continue;
            }
            bridge::delete(&mut running.socket, &segment.spec.bridge)?;
            running.segments.remove(&id);
        }
        if running.segments.is_empty() {
            // First what the table guards.
            forwarding::give_back()?;
            return Ok(running.firewall.delete()?);
        }
        running.replace_table(&[])
    }

    /// What the networks look like now.
    pub fn describe(&self) -> Description {
        let prepared = self.pool.count();
        let state = self.lock();
        let running = state.running.as_ref();
        let default = running.and_then(|running| running.segments.get(&NetworkId::bridge()));
        let segments = running.map_or(0, |running| running.segments.len());
        Description {
            bridge: self.config.bridge.clone(),
            table: self.config.table.clone(),
            subnet: default.map(|segment| segment.spec.ipv4.subnet),
            gateway: default.map(|segment| segment.spec.ipv4.gateway),
            others: segments - usize::from(default.is_some()),
            attached: running.map_or(0, |running| running.holders().count()),
            published: running.map_or(0, |running| running.holders().map(|held| held.publication.count()).sum()),
            prepared,
            enabled_forwarding: running.is_some_and(|running| running.enabled_forwarding),
        }
    }

    /// An address in a network.
    fn admit(&self, id: &NetworkId, guest: &Guest<'_>) -> Result<Admitted, NetworkError> {
        let mut state = self.lock();
        let bridge = self.bring_up(&mut state, id)?;
        let running = state.running.as_mut().ok_or_else(|| NetworkError::Unknown(id.clone()))?;
        let endpoint = running.admit(id, guest)?;
        let segment = running.segments.get(id).ok_or_else(|| NetworkError::Unknown(id.clone()))?;
        let announces = segment.must_announce(&endpoint);
        Ok(Admitted { endpoint, bridge, spec: segment.spec.clone(), announces })
    }

    /// Sees to it that a network's bridge is there; its number.
    fn bring_up(&self, state: &mut State, id: &NetworkId) -> Result<u32, NetworkError> {
        if let Some(running) = state.running.as_mut()
            && let Some(segment) = running.segments.get(id)
        {
            let index = segment.index;
            if running.stands(id)? {
                return Ok(index);
            }
            tracing::warn!(network = %id, "somebody deleted the bridge; it is made again");
            return self.serve_default(id, true, |running| running.rebuild(id), running);
        }
        let spec = self.spec(state, id)?;
        match state.running.as_mut() {
            Some(running) => self.serve_default(id, false, |running| running.add(&spec), running),
            None => {
                let mut running = Running::open(&self.config)?;
                let index = self.serve_default(id, false, |running| running.add(&spec), &mut running);
                if index.is_ok() {
                    state.running = Some(running);
                } else if let Err(error) = forwarding::give_back().and_then(|()| Ok(running.firewall.delete()?)) {
                    tracing::warn!(error = %errors::chain(&error), "a packet filter table without bridges is left behind");
                }
                index
            }
        }
    }

    /// Makes a bridge; when it is the default one, the pool prepares namespaces for it from then on.
    fn serve_default(
        &self,
        id: &NetworkId,
        again: bool,
        make: impl FnOnce(&mut Running) -> Result<u32, NetworkError>,
        running: &mut Running,
    ) -> Result<u32, NetworkError> {
        let is_default = *id == NetworkId::bridge();
        if is_default && again {
            self.pool.stop();
        }
        let index = make(running)?;
        if is_default {
            self.pool.serve(index);
        }
        Ok(index)
    }

    /// How a network is to be.
    fn spec(&self, state: &State, id: &NetworkId) -> Result<BridgeSpec, NetworkError> {
        if *id != NetworkId::bridge() {
            return state.known.get(id).cloned().ok_or_else(|| NetworkError::Unknown(id.clone()));
        }
        let mut socket = Socket::open(NetlinkProtocol::Route)?;
        let taken: Vec<Subnet> = state.known.values().map(|spec| spec.ipv4.subnet).collect();
        let subnet = bridge::default_subnet(&mut socket, &self.config, &taken)?;
        Ok(BridgeSpec::default_bridge(&self.config, subnet))
    }

    /// A panic under this lock would be a bug; what it guards is kept in order by the kernel's refusals.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The subnet that is asked for, if it can be had, or one that collides with nothing.
fn choose<A: Ip>(
    socket: &mut Socket,
    wanted: Option<Subnet<A>>,
    taken: &[Subnet<A>],
    pools: impl FnOnce() -> Result<Vec<AddressPool<A>>, NetworkError>,
) -> Result<Subnet<A>, NetworkError> {
    let Some(wanted) = wanted else { return bridge::free_subnet(socket, &pools()?, taken) };
    if let Some(&other) = taken.iter().find(|taken| taken.overlaps(wanted)) {
        return Err(NetworkError::SubnetOfAnother { wanted: A::any(wanted), other: A::any(other) });
    }
    bridge::refuse_neighbours(socket, wanted)?;
    Ok(wanted)
}

/// This host's own unique local addresses: those that it has, or some that no other host has, as far as chance goes.
fn site(known: Option<Subnet<Ipv6Addr>>) -> Result<Subnet<Ipv6Addr>, NetworkError> {
    let address = match known {
        Some(known) => known.network(),
        None => {
            let [a, b, c, d, e] = cable::random()?;
            Ipv6Addr::from([0xfd, a, b, c, d, e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        }
    };
    Ok(Subnet::of(address, SITE))
}
