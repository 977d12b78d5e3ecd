// SPDX-License-Identifier: Apache-2.0
//! Addresses of links.

use std::net::Ipv4Addr;

use super::Family;
use crate::decode::{Malformed, Message, array, attributes};
use crate::{Batch, NetlinkError, Socket, flags};

const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
/// Nobody else is asked first whether he has the address; IPv4 never asks, and ignores it.
const IFA_F_NODAD: u8 = 2;
/// `struct ifaddrmsg`.
const IFADDRMSG: usize = 8;

/// An address of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address<A = Ipv4Addr> {
    /// The link's number.
    pub link: u32,
    /// The address itself.
    pub address: A,
    /// How many of its bits name the network.
    pub prefix: u8,
}

/// Gives the link an address; a route to its network comes with it. It can be used at once: no duplicate is looked for.
pub fn add_address<A: Family>(batch: &mut Batch, address: Address<A>) {
    let Address { link, address, prefix } = address;
    let flags = flags::CREATE | flags::EXCLUSIVE;
    batch.push(RTM_NEWADDR, flags, format!("give interface {link} the address {address}/{prefix}"), |body| {
        let [a, b, c, d] = link.to_ne_bytes();
        let broadcast = address.broadcast(prefix);
        let unasked = if broadcast.is_none() { IFA_F_NODAD } else { 0 };
        body.fixed(&[A::NUMBER, prefix, unasked, 0, a, b, c, d]);
        body.bytes(IFA_LOCAL, &address.to_bytes());
        body.bytes(IFA_ADDRESS, &address.to_bytes());
        if let Some(broadcast) = broadcast {
            body.bytes(IFA_BROADCAST, &broadcast.to_bytes());
        }
    });
}

/// All addresses of a family in the socket's namespace.
pub fn addresses<A: Family>(socket: &mut Socket) -> Result<Vec<Address<A>>, NetlinkError> {
    socket.dump(RTM_GETADDR, "list the addresses", |body| body.fixed(&[A::NUMBER, 0, 0, 0, 0, 0, 0, 0]), read)
}

fn read<A: Family>(message: &Message<'_>) -> Result<Option<Address<A>>, Malformed> {
    if message.kind != RTM_NEWADDR {
        return Ok(None);
    }
    let head: [u8; IFADDRMSG] = array(message.payload)?;
    if head[0] != A::NUMBER {
        return Ok(None);
    }
    let (mut local, mut peer) = (None, None);
    for attribute in attributes(&message.payload[IFADDRMSG..]) {
        let attribute = attribute?;
        match attribute.kind {
            IFA_LOCAL => local = Some(A::read(attribute.payload)?),
            IFA_ADDRESS => peer = Some(A::read(attribute.payload)?),
            _ => {}
        }
    }
    let link = u32::from_ne_bytes([head[4], head[5], head[6], head[7]]);
    Ok(local.or(peer).map(|address| Address { link, address, prefix: head[1].min(A::BITS) }))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_address_makes_the_reader_panic(payload in proptest::collection::vec(any::<u8>(), 0..100)) {
            let message = Message { kind: RTM_NEWADDR, flags: 0, sequence: 0, payload: &payload };
            let _ = (read::<Ipv4Addr>(&message), read::<Ipv6Addr>(&message));
        }

        #[test]
        fn an_address_is_read_back(link: u32, bits: u32, prefix in 0u8..=32) {
            let address: Address = Address { link, address: bits.into(), prefix };
            let mut batch = Batch::new();
            add_address(&mut batch, address);
            let message = crate::messages(batch.bytes()).next().unwrap().unwrap();
            prop_assert_eq!(read(&message).unwrap(), Some(address));
            prop_assert_eq!(read::<Ipv6Addr>(&message).unwrap(), None);
        }

        #[test]
        fn an_ipv6_address_is_read_back(link: u32, bits: u128, prefix in 0u8..=128) {
            let address: Address<Ipv6Addr> = Address { link, address: bits.into(), prefix };
            let mut batch = Batch::new();
            add_address(&mut batch, address);
            let message = crate::messages(batch.bytes()).next().unwrap().unwrap();
            prop_assert_eq!(message.payload[2], IFA_F_NODAD);
            prop_assert_eq!(read(&message).unwrap(), Some(address));
        }
    }
}
