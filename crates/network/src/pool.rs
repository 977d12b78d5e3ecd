// SPDX-License-Identifier: Apache-2.0
//! Prepared network namespaces.
//!
//! Making one costs about a millisecond and a half, taking one from here next to nothing. A thread refills what was
//! taken, but lets a moment pass first: just then a container is starting, and wants the processor and the kernel's
//! network lock more.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use netlink::Batch;
use netlink::route::{self, Address};

use crate::cable::{self, Cable, Ends};
use crate::endpoint::{Endpoint, FIRST_INTERFACE};
use crate::error::NetworkError;
use crate::namespace::{self, Namespace};
use crate::setting;
use crate::spec::Traits;

/// How long nothing must have been taken before the pool is refilled, unless it is nearly empty.
const QUIET: Duration = Duration::from_millis(15);
/// How many namespaces without a network are kept, at most.
const ISOLATED: usize = 2;

/// A namespace with one end of a veth pair in it; the other is a port of the bridge.
#[derive(Debug)]
pub(crate) struct Slot {
    namespace: Namespace,
    ends: Ends,
    host_interface: String,
    /// The number of the bridge.
    bridge: u32,
}

impl Slot {
    fn make(bridge: u32, traits: &Traits) -> Result<Slot, NetworkError> {
        let mut namespace = namespace::create()?;
        let host_interface = cable::random_name()?;
        let cable = Cable {
            host_interface: &host_interface,
            interface: FIRST_INTERFACE,
            bridge,
            mac: None,
            mtu: traits.mtu,
            isolated: !traits.inter_container,
        };
        let ends = cable.lay(&mut namespace)?;
        Ok(Slot { namespace, ends, host_interface, bridge })
    }

    /// The number of the bridge's port.
    pub(crate) fn port(&self) -> u32 {
        self.ends.port
    }

    /// The name of the host's end.
    pub(crate) fn host_interface(&self) -> &str {
        &self.host_interface
    }

    /// Gives the container its addresses and its route, in one send. The hardware address comes last but one, because
    /// its change makes an interface that is told to announce itself to its neighbours.
    pub(crate) fn configure(mut self, endpoint: &Endpoint, announce: bool) -> Result<OwnedFd, NetworkError> {
        if announce {
            let descriptor = self.namespace.descriptor.as_fd();
            namespace::inside(descriptor, || setting::announces_itself(&endpoint.interface))?;
        }
        let mut batch = Batch::new();
        let address = Address { link: self.ends.interface, address: endpoint.address, prefix: endpoint.prefix };
        route::add_address(&mut batch, address);
        route::set_hardware_address(&mut batch, self.ends.interface, endpoint.mac);
        if let Some(gateway) = endpoint.gateway {
            route::add_default_route(&mut batch, self.ends.interface, gateway);
        }
        self.namespace.socket.execute(&mut batch)?;
        Ok(self.namespace.descriptor)
    }
}

/// The prepared namespaces, and the thread that makes them.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    size: usize,
    /// How the bridge behaves that slots are made for.
    traits: Traits,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    slots: VecDeque<Slot>,
    isolated: VecDeque<Namespace>,
    /// The number of the bridge to make slots for; without, none are made.
    bridge: Option<u32>,
    /// Whether anybody ever wanted a namespace without a network.
    isolated_wanted: bool,
    last_taken: Option<Instant>,
    stop: bool,
}

/// What the pool lacks most.
enum Lack {
    Slot(u32),
    Isolated,
}

impl Pool {
    /// An empty pool that will hold `size` namespaces for a bridge that behaves so.
    pub(crate) fn new(size: usize, traits: Traits) -> Pool {
        let shared = Shared { size, traits, state: Mutex::default(), changed: Condvar::new() };
        Pool { shared: Arc::new(shared), worker: Mutex::new(None) }
    }

    /// Begins to prepare namespaces for this bridge.
    pub(crate) fn serve(&self, bridge: u32) {
        self.shared.lock().bridge = Some(bridge);
        self.refill();
    }

    /// A namespace with its veth pair in place: from the pool, or made now.
    /// Nothing is refilled before [`Pool::refill`] is called.
    pub(crate) fn take(&self, bridge: u32) -> Result<Slot, NetworkError> {
        let taken = self.shared.lock().take_slot(bridge);
        match taken {
            Some(slot) => Ok(slot),
            None => Slot::make(bridge, &self.shared.traits),
        }
    }

    /// Takes back what was not used after all.
    pub(crate) fn give_back(&self, slot: Slot) {
        let mut state = self.shared.lock();
        if state.slots.len() < self.shared.size && state.bridge == Some(slot.bridge) {
            state.slots.push_front(slot);
        }
    }

    /// A namespace with nothing but loopback.
    pub(crate) fn take_isolated(&self) -> Result<OwnedFd, NetworkError> {
        let taken = {
            let mut state = self.shared.lock();
            state.isolated_wanted = true;
            state.last_taken = Some(Instant::now());
            state.isolated.pop_front()
        };
        self.refill();
        let namespace = match taken {
            Some(namespace) => namespace,
            None => namespace::create()?,
        };
        Ok(namespace.descriptor)
    }

    /// How many namespaces stand ready.
    pub(crate) fn count(&self) -> usize {
        let state = self.shared.lock();
        state.slots.len() + state.isolated.len()
    }

    /// Ends the thread and lets go of all namespaces; the pool can be used again.
    pub(crate) fn stop(&self) {
        let mut worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        if let Some(worker) = worker.take()
            && worker.join().is_err()
        {
            tracing::error!("the thread that prepares network namespaces had panicked");
        }
        *self.shared.lock() = State::default();
    }

    /// Has the thread look whether there is anything to do; starts it if it does not run.
    pub(crate) fn refill(&self) {
        if self.shared.size == 0 {
            return;
        }
        let mut worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        if worker.as_ref().is_none_or(JoinHandle::is_finished) {
            let shared = Arc::clone(&self.shared);
            match thread::Builder::new().name("network-pool".to_owned()).spawn(move || shared.refill()) {
                Ok(handle) => *worker = Some(handle),
                // Nothing is lost but time: namespaces are then made when they are asked for.
                Err(error) => tracing::warn!(%error, "cannot start the thread that prepares network namespaces"),
            }
        }
        self.shared.changed.notify_all();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    /// Every change of the state is a single assignment, so a panic elsewhere leaves it whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread: makes what is lacking until it is told to stop.
    fn refill(&self) {
        while let Some(lack) = self.wait_for_lack() {
            let made = match lack {
                Lack::Slot(bridge) => Slot::make(bridge, &self.traits).map(|slot| {
                    let mut state = self.lock();
                    // The bridge may have gone meanwhile.
                    if state.bridge == Some(bridge) && !state.stop {
                        state.slots.push_back(slot);
                    }
                }),
                Lack::Isolated => namespace::create().map(|namespace| self.lock().isolated.push_back(namespace)),
            };
            if let Err(error) = made {
                tracing::warn!(error = %errors::chain(&error), "cannot prepare a network namespace");
                // The next who needs one makes it and hears the error; until somebody does, there is no use in trying.
                let state = self.lock();
                if !state.stop {
                    drop(self.changed.wait(state).unwrap_or_else(PoisonError::into_inner));
                }
            }
        }
    }

    /// Waits until something is lacking and it is a good time to make it; `None` when the thread has to end.
    fn wait_for_lack(&self) -> Option<Lack> {
        let mut state = self.lock();
        loop {
            if state.stop {
                return None;
            }
            let Some(lack) = state.lack(self.size) else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let since = state.last_taken.map_or(QUIET, |taken| taken.elapsed());
            if since >= QUIET || state.is_low(self.size) {
                return Some(lack);
            }
            state = self.changed.wait_timeout(state, QUIET - since).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl State {
    fn take_slot(&mut self, bridge: u32) -> Option<Slot> {
        self.last_taken = Some(Instant::now());
        if self.bridge != Some(bridge) {
            return None;
        }
        self.slots.pop_front()
    }

    fn lack(&self, size: usize) -> Option<Lack> {
        match self.bridge {
            Some(bridge) if self.slots.len() < size => Some(Lack::Slot(bridge)),
            _ if self.isolated_wanted && self.isolated.len() < size.min(ISOLATED) => Some(Lack::Isolated),
            _ => None,
        }
    }

    /// Whether the next few who come would have to wait.
    fn is_low(&self, size: usize) -> bool {
        (self.bridge.is_some() && self.slots.len() <= size / 2) || (self.isolated_wanted && self.isolated.is_empty())
    }
}
