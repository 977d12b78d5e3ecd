// SPDX-License-Identifier: Apache-2.0
//! IPv4 routes.

use std::net::Ipv4Addr;

use super::AF_INET;
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

/// An IPv4 route, of whatever table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The network it leads to; 0.0.0.0 for the default route.
    pub destination: Ipv4Addr,
    /// How many bits of it count; 0 for the default route.
    pub prefix: u8,
    /// The number of the link it leaves by.
    pub link: Option<u32>,
    /// The router it goes to, if not directly.
    pub gateway: Option<Ipv4Addr>,
}

/// Sends everything that has no better route to `gateway`; there must be no default route yet.
pub fn add_default_route(batch: &mut Batch, link: u32, gateway: Ipv4Addr) {
    let flags = flags::CREATE | flags::EXCLUSIVE;
    batch.push(RTM_NEWROUTE, flags, format!("add a default route through {gateway}"), |body| {
        default_route(body, link, gateway);
    });
}

/// Sends everything that has no better route to `gateway`, wherever it went before.
pub fn replace_default_route(batch: &mut Batch, link: u32, gateway: Ipv4Addr) {
    let flags = flags::CREATE | flags::REPLACE;
    batch.push(RTM_NEWROUTE, flags, format!("make the default route lead through {gateway}"), |body| {
        default_route(body, link, gateway);
    });
}

fn default_route(body: &mut Body<'_>, link: u32, gateway: Ipv4Addr) {
    body.fixed(&[AF_INET, 0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, 0, RTN_UNICAST, 0, 0, 0, 0]);
    body.bytes(RTA_GATEWAY, &gateway.octets());
    body.u32(RTA_OIF, link);
}

/// Deletes the default route of the main table; that there is none is an error (ESRCH).
pub fn delete_default_route(batch: &mut Batch) {
    batch.push(RTM_DELROUTE, 0, "delete the default route", |body| {
        body.fixed(&[AF_INET, 0, 0, 0, RT_TABLE_MAIN, 0, RT_SCOPE_NOWHERE, RTN_UNICAST, 0, 0, 0, 0]);
    });
}

/// All IPv4 routes in the socket's namespace, those of the local table included.
pub fn routes(socket: &mut Socket) -> Result<Vec<Route>, NetlinkError> {
    let mut head = [0; RTMSG];
    head[0] = AF_INET;
    socket.dump(RTM_GETROUTE, "list the routes", |body| body.fixed(&head), read)
}

fn read(message: &Message<'_>) -> Result<Option<Route>, Malformed> {
    if message.kind != RTM_NEWROUTE {
        return Ok(None);
    }
    let head: [u8; RTMSG] = array(message.payload)?;
    if head[0] != AF_INET {
        return Ok(None);
    }
    let mut route = Route { destination: Ipv4Addr::UNSPECIFIED, prefix: head[1].min(32), link: None, gateway: None };
    for attribute in attributes(&message.payload[RTMSG..]) {
        let attribute = attribute?;
        match attribute.kind {
            RTA_DST => route.destination = array::<4>(attribute.payload)?.into(),
            RTA_OIF => route.link = Some(attribute.u32()?),
            RTA_GATEWAY => route.gateway = Some(array::<4>(attribute.payload)?.into()),
            _ => {}
        }
    }
    Ok(Some(route))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_route_makes_the_reader_panic(payload in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = read(&Message { kind: RTM_NEWROUTE, flags: 0, sequence: 0, payload: &payload });
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
    }
}
