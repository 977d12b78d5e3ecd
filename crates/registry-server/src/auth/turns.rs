// SPDX-License-Identifier: Apache-2.0
//! Whose password is hashed next. One is at a time, however many guess; and of those who come from one network only one
//! waits for that, so that a thousand who guess from there hold nobody else up for longer than one of them would.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::storage::held;

/// The bits of an IPv6 address that tell one network from another: whoever has one has all of its addresses (RFC 6177).
const NETWORK: u128 = u128::MAX << 64;

/// All turns. A clone is the same ones.
#[derive(Debug, Clone)]
pub(super) struct Turns(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    one: Arc<Semaphore>,
    /// Of each network from which somebody waits: its own turn, and how many wait for it or have it.
    networks: Mutex<HashMap<IpAddr, (Arc<Semaphore>, usize)>>,
}

/// A turn; the next one's when it is dropped. It goes with the work, not with whoever waits for that: a client who leaves
/// does not stop it.
#[derive(Debug)]
#[must_use = "the turn is over when this value is dropped"]
pub(super) struct Turn {
    _one: OwnedSemaphorePermit,
    _networks: OwnedSemaphorePermit,
    _place: Place,
}

/// A place among those of one network.
#[derive(Debug)]
struct Place {
    turns: Turns,
    network: IpAddr,
}

impl Turns {
    pub(super) fn new() -> Turns {
        Turns(Arc::new(Inner { one: Arc::new(Semaphore::new(1)), networks: Mutex::default() }))
    }

    #[cfg(test)]
    pub(super) fn is_taken(&self) -> bool {
        self.0.one.available_permits() == 0
    }

    /// Waits for the turn of somebody at this address.
    pub(super) async fn take(&self, client: IpAddr) -> Option<Turn> {
        let network = network(client);
        let (place, networks) = {
            let mut networks = held(&self.0.networks);
            let entry = networks.entry(network).or_insert_with(|| (Arc::new(Semaphore::new(1)), 0));
            entry.1 += 1;
            (Place { turns: self.clone(), network }, Arc::clone(&entry.0))
        };
        // Neither is ever closed.
        let networks = networks.acquire_owned().await.ok()?;
        let one = Arc::clone(&self.0.one).acquire_owned().await.ok()?;
        Some(Turn { _one: one, _networks: networks, _place: place })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut networks = held(&self.turns.0.networks);
        if let Some((_, count)) = networks.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                networks.remove(&self.network);
            }
        }
    }
}

/// The network of an address: of IPv4 the address itself, however it is written.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_is_at_a_time_and_nothing_is_left_of_those_who_left() {
        let turns = Turns::new();
        let [here, there] = ["10.0.0.1", "10.0.0.2"].map(|address| address.parse().unwrap());
        let first = turns.take(here).await.unwrap();
        let waiting: Vec<_> =
            [here, here, there].map(|address| turns.take(address)).into_iter().map(Box::pin).collect();
        for mut turn in waiting {
            assert!(at_once(turn.as_mut()).is_none());
            drop(turn);
        }
        drop(first);
        drop(turns.take(there).await.unwrap());
        assert!(held(&turns.0.networks).is_empty());
    }

    #[tokio::test]
    async fn many_of_one_network_wait_behind_one_of_another() {
        let turns = Turns::new();
        let [crowd, also_crowd, other] =
            ["2001:db8::1", "2001:db8::2:3", "::ffff:10.0.0.1"].map(|address| address.parse().unwrap());
        let first = turns.take(crowd).await.unwrap();
        let mut behind: Vec<_> = (0..5).map(|_| Box::pin(turns.take(also_crowd))).collect();
        let mut alone = Box::pin(turns.take(other));
        for turn in &mut behind {
            assert!(at_once(turn.as_mut()).is_none());
        }
        assert!(at_once(alone.as_mut()).is_none());
        drop(first);
        for turn in &mut behind {
            assert!(at_once(turn.as_mut()).is_none(), "who was not in the crowd comes first");
        }
        assert!(at_once(alone.as_mut()).is_some());
    }

    /// What comes of it at once.
    fn at_once<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        match future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        }
    }

    #[test]
    fn a_network_is_an_address_or_the_half_of_one() {
        for (one, other, same) in [
            ("10.0.0.1", "10.0.0.2", false),
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ] {
            let [a, b] = [one, other].map(|address| network(address.parse().unwrap()));
            assert_eq!(a == b, same, "{one} {other}");
        }
    }
}
