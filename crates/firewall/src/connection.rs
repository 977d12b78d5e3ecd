// SPDX-License-Identifier: Apache-2.0
//! Connections that the kernel tracks, and forgetting some of them (linux/netfilter/nfnetlink_conntrack.h).
//!
//! The kernel decides where a flow goes at its first packet. A UDP flow that never pauses would therefore go on to where
//! it went before, however the published ports change.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink::{Attribute, Batch, Malformed, Message, Protocol, Socket, attributes};
use rustix::io::Errno;

use crate::error::FirewallError;
use crate::ruleset::{Published, Transport};

const NFNL_SUBSYS_CTNETLINK: u16 = 1;
const CT_NEW: u16 = NFNL_SUBSYS_CTNETLINK << 8;
const CT_GET: u16 = NFNL_SUBSYS_CTNETLINK << 8 | 1;
const CT_DELETE: u16 = NFNL_SUBSYS_CTNETLINK << 8 | 2;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// `struct nfgenmsg`.
const NFGENMSG: usize = 4;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;

/// A tracked flow of datagrams.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Flow {
    /// Where its first packet was addressed to.
    asked: (IpAddr, u16),
    /// Who answers, after any redirection.
    answers: (IpAddr, u16),
    /// What the kernel knows it by.
    tuple: Vec<u8>,
    id: Vec<u8>,
}

/// Forgets the UDP flows to newly published ports that somebody else answers, so that their next packet is redirected.
/// Returns how many there were.
pub fn redirect_flows(published: &[Published]) -> Result<usize, FirewallError> {
    let ports: Vec<&Published> = published.iter().filter(|port| port.transport == Transport::Udp).collect();
    if ports.is_empty() {
        return Ok(0);
    }
    let is_redirected = |flow: &Flow| {
        ports.iter().any(|port| {
            let (address, number) = flow.asked;
            number == port.host_port
                && port.container_address.is_ipv4() == address.is_ipv4()
                && port.host_address.is_none_or(|host| host == address)
                && flow.answers != (port.container_address, port.container_port)
        })
    };
    let of_family = |ipv4: bool| ports.iter().any(|port| port.container_address.is_ipv4() == ipv4);
    let mut forgotten = 0;
    for (family, ipv4) in [(AF_INET, true), (AF_INET6, false)] {
        if of_family(ipv4) {
            forgotten += forget(family, is_redirected)?;
        }
    }
    Ok(forgotten)
}

/// Forgets the UDP flows that this container answered, before somebody else gets its address. Returns how many there
/// were.
pub fn end_flows(container: IpAddr) -> Result<usize, FirewallError> {
    forget(if container.is_ipv4() { AF_INET } else { AF_INET6 }, |flow| flow.answers.0 == container)
}

fn forget(family: u8, unwanted: impl Fn(&Flow) -> bool) -> Result<usize, FirewallError> {
    let mut socket = Socket::open(Protocol::Netfilter).map_err(FirewallError::Open)?;
    let head = [family, 0, 0, 0];
    let flows = socket
        .dump(
            CT_GET,
            "list the tracked connections",
            |body| body.fixed(&head),
            |message| Ok(read(message)?.filter(|flow| unwanted(flow))),
        )
        .map_err(FirewallError::Connections)?;
    for flow in &flows {
        let mut batch = Batch::new();
        batch.push(CT_DELETE, 0, "forget a tracked connection", |body| {
            body.fixed(&head);
            body.raw_nested(CTA_TUPLE_ORIG, &flow.tuple);
            body.bytes(CTA_ID, &flow.id);
        });
        match socket.execute(&mut batch) {
            // It ended by itself.
            Err(error) if error.refusal() == Some(Errno::NOENT) => {}
            other => other.map_err(FirewallError::Connections)?,
        }
    }
    Ok(flows.len())
}

/// `None` if it is not a flow of datagrams.
fn read(message: &Message<'_>) -> Result<Option<Flow>, Malformed> {
    if message.kind != CT_NEW {
        return Ok(None);
    }
    let (mut asked, mut answers, mut tuple, mut id) = (None, None, Vec::new(), Vec::new());
    for attribute in attributes(message.payload.get(NFGENMSG..).unwrap_or_default()) {
        let attribute = attribute?;
        match attribute.kind {
            CTA_TUPLE_ORIG => {
                asked = side(&attribute, [CTA_IP_V4_DST, CTA_IP_V6_DST], CTA_PROTO_DST_PORT)?;
                tuple = attribute.payload.to_vec();
            }
            CTA_TUPLE_REPLY => answers = side(&attribute, [CTA_IP_V4_SRC, CTA_IP_V6_SRC], CTA_PROTO_SRC_PORT)?,
            CTA_ID => id = attribute.payload.to_vec(),
            _ => {}
        }
    }
    Ok(asked.zip(answers).map(|(asked, answers)| Flow { asked, answers, tuple, id }))
}

/// One end of a tuple, where its address is of one of two kinds; `None` if it is not UDP.
fn side(tuple: &Attribute<'_>, [kind4, kind6]: [u16; 2], port_kind: u16) -> Result<Option<(IpAddr, u16)>, Malformed> {
    let (mut address, mut port, mut transport) = (None, None, None);
    for part in tuple.nested() {
        let part = part?;
        for field in part.nested() {
            let field = field?;
            match (part.kind, field.kind) {
                (CTA_TUPLE_IP, kind) if kind == kind4 => {
                    address = field.payload.first_chunk::<4>().copied().map(|bytes| Ipv4Addr::from(bytes).into());
                }
                (CTA_TUPLE_IP, kind) if kind == kind6 => {
                    address = field.payload.first_chunk::<16>().copied().map(|bytes| Ipv6Addr::from(bytes).into());
                }
                (CTA_TUPLE_PROTO, CTA_PROTO_NUM) => transport = field.payload.first().copied(),
                (CTA_TUPLE_PROTO, kind) if kind == port_kind => {
                    port = field.payload.first_chunk::<2>().copied().map(u16::from_be_bytes);
                }
                _ => {}
            }
        }
    }
    Ok(address.zip(port).filter(|_| transport == Some(Transport::Udp.number())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn flow(transport: u8) -> Batch {
        let mut batch = Batch::new();
        batch.push(CT_NEW, 0, "test", |body| {
            body.fixed(&[AF_INET, 0, 0, 0]);
            for (kind, source, destination) in [(CTA_TUPLE_ORIG, 1, 2), (CTA_TUPLE_REPLY, 3, 1)] {
                body.nested(kind, |tuple| {
                    tuple.nested(CTA_TUPLE_IP, |ip| {
                        ip.bytes(CTA_IP_V4_SRC, &[10, 0, 0, source]);
                        ip.bytes(CTA_IP_V4_DST, &[10, 0, 0, destination]);
                    });
                    tuple.nested(CTA_TUPLE_PROTO, |proto| {
                        proto.u8(CTA_PROTO_NUM, transport);
                        proto.bytes(CTA_PROTO_SRC_PORT, &[0, source]);
                        proto.bytes(CTA_PROTO_DST_PORT, &[0, destination]);
                    });
                });
            }
            body.bytes(CTA_ID, &[1, 2, 3, 4]);
        });
        batch
    }

    #[test]
    fn a_flow_knows_who_was_asked_and_who_answers() {
        let batch = flow(17);
        let flow = read(&netlink::messages(batch.bytes()).next().unwrap().unwrap()).unwrap().unwrap();
        assert_eq!(flow.asked, (Ipv4Addr::new(10, 0, 0, 2).into(), 2));
        assert_eq!(flow.answers, (Ipv4Addr::new(10, 0, 0, 3).into(), 3));
        assert_eq!(flow.id, [1, 2, 3, 4]);
    }

    #[test]
    fn only_datagrams_are_of_interest() {
        let batch = flow(6);
        assert_eq!(read(&netlink::messages(batch.bytes()).next().unwrap().unwrap()).unwrap(), None);
    }

    proptest! {
        #[test]
        fn no_flow_makes_the_reader_panic(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&Message { kind: CT_NEW, flags: 0, sequence: 0, payload: &payload });
        }
    }
}
