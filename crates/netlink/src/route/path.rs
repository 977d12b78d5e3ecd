// SPDX-License-Identifier: Apache-2.0
//! Routes.

use std::net::Ipv4Addr;

use super::Family;
use crate::decode::{Malformed, Message, array, attributes};
use crate::{Batch, Body, NetlinkError, Socket, flags};

const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RTN_UNICAST: u8 = 1;
/// Whatever scope.
const RT_SCOPE_NOWHERE: u8 = 255;
/// `struct rtmsg`.
const RTMSG: usize = 12;

/// A route, of whatever table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route<A = Ipv4Addr> {
    /// The network it leads to; 0.0.0.0 or :: for the default route.
    pub destination: A,
    /// How many bits of it count; 0 for the default route.
    pub prefix: u8,
    /// The number of the link it leaves by.
    pub link: Option<u32>,
    /// The router it goes to, if not directly.
    pub gateway: Option<A>,
}

/// Sends everything that has no better route to `gateway`; there must be no default route yet.
pub fn add_default_route<A: Family>(batch: &mut Batch, link: u32, gateway: A) {
    let flags = flags::CREATE | flags::EXCLUSIVE;
    batch.push(RTM_NEWROUTE, flags, format!("add a default route through {gateway}"), |body| {
        default_route(body, link, gateway);
    });
}

/// Sends everything that has no better route to `gateway`, wherever it went before.
pub fn replace_default_route<A: Family>(batch: &mut Batch, link: u32, gateway: A) {
    let flags = flags::CREATE | flags::REPLACE;
    batch.push(RTM_NEWROUTE, flags, format!("make the default route lead through {gateway}"), |body| {
        default_route(body, link, gateway);
    });
}

fn default_route<A: Family>(body: &mut Body<'_>, link: u32, gateway: A) {
    body.fixed(&[A::NUMBER, 0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, 0, RTN_UNICAST, 0, 0, 0, 0]);
    body.bytes(RTA_GATEWAY, &gateway.to_bytes());
    body.u32(RTA_OIF, link);
}

/// Deletes the IPv4 default route of the main table; that there is none is an error (ESRCH).
pub fn delete_default_route(batch: &mut Batch) {
    batch.push(RTM_DELROUTE, 0, "delete the default route", |body| {
        body.fixed(&[Ipv4Addr::NUMBER, 0, 0, 0, RT_TABLE_MAIN, 0, RT_SCOPE_NOWHERE, RTN_UNICAST, 0, 0, 0, 0]);
    });
}

/// All routes of a family in the socket's namespace, those of the local table included.
pub fn routes<A: Family>(socket: &mut Socket) -> Result<Vec<Route<A>>, NetlinkError> {
    let mut head = [0; RTMSG];
    head[0] = A::NUMBER;
    socket.dump(RTM_GETROUTE, "list the routes", |body| body.fixed(&head), read)
}

fn read<A: Family>(message: &Message<'_>) -> Result<Option<Route<A>>, Malformed> {
    if message.kind != RTM_NEWROUTE {
        return Ok(None);
    }
    let head: [u8; RTMSG] = array(message.payload)?;
    if head[0] != A::NUMBER {
        return Ok(None);
    }
    let mut route = Route { destination: A::UNSPECIFIED, prefix: head[1].min(A::BITS), link: None, gateway: None };
    for attribute in attributes(&message.payload[RTMSG..]) {
        let attribute = attribute?;
        match attribute.kind {
            RTA_DST => route.destination = A::read(attribute.payload)?,
            RTA_OIF => route.link = Some(attribute.u32()?),
            RTA_GATEWAY => route.gateway = Some(A::read(attribute.payload)?),
            _ => {}
        }
    }
    Ok(Some(route))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_route_makes_the_reader_panic(payload in proptest::collection::vec(any::<u8>(), 0..100)) {
            let message = Message { kind: RTM_NEWROUTE, flags: 0, sequence: 0, payload: &payload };
            let _ = (read::<Ipv4Addr>(&message), read::<Ipv6Addr>(&message));
        }
    }

    #[test]
    fn a_default_route_is_read_back() {
        let gateway = Ipv4Addr::new(172, 17, 0, 1);
        let mut batch = Batch::new();
        add_default_route(&mut batch, 2, gateway);
        let message = crate::messages(batch.bytes()).next().unwrap().unwrap();
        let expected = Route { destination: Ipv4Addr::UNSPECIFIED, prefix: 0, link: Some(2), gateway: Some(gateway) };
        assert_eq!(read(&message).unwrap(), Some(expected));

        let gateway: Ipv6Addr = "fd00::1".parse().unwrap();
        let mut batch = Batch::new();
        add_default_route(&mut batch, 2, gateway);
        let message = crate::messages(batch.bytes()).next().unwrap().unwrap();
        let expected = Route { destination: Ipv6Addr::UNSPECIFIED, prefix: 0, link: Some(2), gateway: Some(gateway) };
        assert_eq!(read(&message).unwrap(), Some(expected));
    }
}
