// SPDX-License-Identifier: Apache-2.0
//! IPv4 addresses of links.

use std::net::Ipv4Addr;

use super::AF_INET;
use crate::decode::{Malformed, Message, array, attributes};
use crate::{Batch, NetlinkError, Socket, flags};

const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
/// `struct ifaddrmsg`.
const IFADDRMSG: usize = 8;

/// An IPv4 address of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The link's number.
    pub link: u32,
    /// The address itself.
    pub address: Ipv4Addr,
    /// How many of its bits name the network.
    pub prefix: u8,
}

/// Gives the link an address; a route to its network comes with it.
pub fn add_address(batch: &mut Batch, address: Address) {
    let Address { link, address, prefix } = address;
    let flags = flags::CREATE | flags::EXCLUSIVE;
    batch.push(RTM_NEWADDR, flags, format!("give interface {link} the address {address}/{prefix}"), |body| {
        let [a, b, c, d] = link.to_ne_bytes();
        body.fixed(&[AF_INET, prefix, 0, 0, a, b, c, d]);
        body.bytes(IFA_LOCAL, &address.octets());
        body.bytes(IFA_ADDRESS, &address.octets());
        let hosts = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
        body.bytes(IFA_BROADCAST, &(address.to_bits() | hosts).to_be_bytes());
    });
}

/// All IPv4 addresses in the socket's namespace.
pub fn addresses(socket: &mut Socket) -> Result<Vec<Address>, NetlinkError> {
    socket.dump(RTM_GETADDR, "list the addresses", |body| body.fixed(&[AF_INET, 0, 0, 0, 0, 0, 0, 0]), read)
}

fn read(message: &Message<'_>) -> Result<Option<Address>, Malformed> {
    if message.kind != RTM_NEWADDR {
        return Ok(None);
    }
    let head: [u8; IFADDRMSG] = array(message.payload)?;
    if head[0] != AF_INET {
        return Ok(None);
    }
    let (mut local, mut peer) = (None, None);
    for attribute in attributes(&message.payload[IFADDRMSG..]) {
        let attribute = attribute?;
        match attribute.kind {
            IFA_LOCAL => local = Some(Ipv4Addr::from(array::<4>(attribute.payload)?)),
            IFA_ADDRESS => peer = Some(Ipv4Addr::from(array::<4>(attribute.payload)?)),
            _ => {}
        }
    }
    let link = u32::from_ne_bytes([head[4], head[5], head[6], head[7]]);
    Ok(local.or(peer).map(|address| Address { link, address, prefix: head[1].min(32) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_address_makes_the_reader_panic(payload in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = read(&Message { kind: RTM_NEWADDR, flags: 0, sequence: 0, payload: &payload });
        }

        #[test]
        fn an_address_is_read_back(link: u32, bits: u32, prefix in 0u8..=32) {
            let address = Address { link, address: bits.into(), prefix };
            let mut batch = Batch::new();
            add_address(&mut batch, address);
            let message = crate::messages(batch.bytes()).next().unwrap().unwrap();
            prop_assert_eq!(read(&message).unwrap(), Some(address));
        }
    }
}
