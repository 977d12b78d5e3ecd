// SPDX-License-Identifier: Apache-2.0
//! Links: bridges and veth pairs.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::Family;
use crate::decode::{Attribute, Malformed, Message, array, attributes};
use crate::{Batch, Body, NetlinkError, Socket, flags};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const RTM_NEWNEIGH: u16 = 28;

const AF_BRIDGE: u8 = 7;
/// That an entry is the bridge's, and not the port's own.
const NTF_MASTER: u8 = 4;
/// An entry that ages as one that was learnt.
const NUD_REACHABLE: u16 = 2;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_OPERSTATE: u16 = 16;
const IF_OPER_UP: u8 = 6;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const VETH_INFO_PEER: u16 = 1;
const IFF_UP: u32 = 1;
/// `struct ifinfomsg`.
const IFINFOMSG: usize = 16;

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What made it, as "bridge" or "veth"; hardware says nothing.
    pub kind: Option<String>,
    /// The number of the bridge it is a port of.
    pub master: Option<u32>,
    /// Whether it is administratively up.
    pub up: bool,
    /// Whether it carries packets. That takes the kernel a moment longer than setting it up.
    pub operational: bool,
    /// Its hardware address, if it has one of six bytes.
    pub hardware_address: Option<[u8; 6]>,
}

/// A pair of virtual interfaces, one end a port of a bridge here, the other in another namespace.
#[derive(Debug)]
pub struct Veth<'a> {
    /// The name of this end.
    pub name: &'a str,
    /// The number of the bridge that this end becomes a port of.
    pub bridge: u32,
    /// The name of the other end.
    pub peer: &'a str,
    /// Where the other end is.
    pub namespace: BorrowedFd<'a>,
    /// The other end's hardware address; the kernel makes one up when absent.
    pub peer_address: Option<[u8; 6]>,
    /// The longest packet that both ends carry, in bytes; the kernel's usual 1500 when absent.
    pub mtu: Option<u32>,
}

/// The fixed part: which link by number (0: by its name, or a new one), and its flags with a mask of those meant.
fn header(body: &mut Body<'_>, index: u32, flags: u32, mask: u32) {
    let mut bytes = [0; IFINFOMSG];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&mask.to_ne_bytes());
    body.fixed(&bytes);
}

/// Creates a bridge, up. A hardware address given by name stays; otherwise it would change with the ports. So does the
/// longest packet's length.
pub fn create_bridge(batch: &mut Batch, name: &str, hardware_address: [u8; 6], mtu: Option<u32>) {
    let flags = flags::CREATE | flags::EXCLUSIVE;
    batch.push(RTM_NEWLINK, flags, format!("create the bridge {name}"), |body| {
        header(body, 0, IFF_UP, IFF_UP);
        body.string(IFLA_IFNAME, name);
        body.bytes(IFLA_ADDRESS, &hardware_address);
        longest_packet(body, mtu);
        body.nested(IFLA_LINKINFO, |info| info.string(IFLA_INFO_KIND, "bridge"));
    });
}

/// Creates a veth pair, this end up and enslaved, the other end down and where it belongs: in one message, because
/// moving and enslaving afterwards makes the kernel wait for grace periods, some 30 ms.
pub fn create_veth(batch: &mut Batch, veth: &Veth<'_>) {
    let flags = flags::CREATE | flags::EXCLUSIVE;
    batch.push(RTM_NEWLINK, flags, format!("create the interfaces {} and {}", veth.name, veth.peer), |body| {
        header(body, 0, IFF_UP, IFF_UP);
        body.string(IFLA_IFNAME, veth.name);
        body.u32(IFLA_MASTER, veth.bridge);
        longest_packet(body, veth.mtu);
        body.nested(IFLA_LINKINFO, |info| {
            info.string(IFLA_INFO_KIND, "veth");
            info.nested(IFLA_INFO_DATA, |data| {
                data.nested(VETH_INFO_PEER, |peer| {
                    // It cannot be up yet: while it is made, it has no other end.
                    header(peer, 0, 0, 0);
                    peer.string(IFLA_IFNAME, veth.peer);
                    longest_packet(peer, veth.mtu);
                    if let Some(address) = veth.peer_address {
                        peer.bytes(IFLA_ADDRESS, &address);
                    }
                    peer.u32(IFLA_NET_NS_FD, veth.namespace.as_raw_fd() as u32);
                });
            });
        });
    });
}

fn longest_packet(body: &mut Body<'_>, mtu: Option<u32>) {
    if let Some(mtu) = mtu {
        body.u32(IFLA_MTU, mtu);
    }
}

/// Lets a bridge send a frame back through the port it came from: a container may reach its own published port.
pub fn hairpin(batch: &mut Batch, port: &str) {
    bridge_port(batch, port, format!("let frames turn round at {port}"), IFLA_BRPORT_MODE);
}

/// Keeps a bridge from handing frames from this port to another isolated one.
pub fn isolate(batch: &mut Batch, port: &str) {
    bridge_port(batch, port, format!("isolate {port} from other ports"), IFLA_BRPORT_ISOLATED);
}

fn bridge_port(batch: &mut Batch, port: &str, what: String, switch: u16) {
    batch.push(RTM_NEWLINK, 0, what, |body| {
        header(body, 0, 0, 0);
        body.string(IFLA_IFNAME, port);
        body.nested(IFLA_LINKINFO, |info| {
            info.string(IFLA_INFO_SLAVE_KIND, "bridge");
            info.nested(IFLA_INFO_SLAVE_DATA, |data| data.u8(switch, 1));
        });
    });
}

/// Makes a link a port of a bridge.
pub fn enslave(batch: &mut Batch, port: &str, bridge: u32) {
    batch.push(RTM_SETLINK, 0, format!("make {port} a port of the bridge"), |body| {
        header(body, 0, 0, 0);
        body.string(IFLA_IFNAME, port);
        body.u32(IFLA_MASTER, bridge);
    });
}

/// Sets the link's hardware address.
pub fn set_hardware_address(batch: &mut Batch, index: u32, address: [u8; 6]) {
    batch.push(RTM_SETLINK, 0, format!("set the hardware address of interface {index}"), |body| {
        header(body, index, 0, 0);
        body.bytes(IFLA_ADDRESS, &address);
    });
}

/// Tells a bridge that who has this hardware address is behind `port`, as if it had heard it from there: whatever it heard
/// before, and until it hears otherwise.
pub fn learn(batch: &mut Batch, port: u32, address: [u8; 6]) {
    let flags = flags::CREATE | flags::REPLACE;
    batch.push(RTM_NEWNEIGH, flags, format!("tell the bridge who is behind its port {port}"), |body| {
        neighbour(body, AF_BRIDGE, port, NTF_MASTER);
        body.bytes(NDA_LLADDR, &address);
    });
}

/// Tells the host that this address on a link of its goes with this hardware address, as if it had asked and been answered.
pub fn meet<A: Family>(batch: &mut Batch, link: u32, address: A, hardware: [u8; 6]) {
    let flags = flags::CREATE | flags::REPLACE;
    batch.push(RTM_NEWNEIGH, flags, format!("tell the host who has the address {address}"), |body| {
        neighbour(body, A::NUMBER, link, 0);
        body.bytes(NDA_DST, &address.to_bytes());
        body.bytes(NDA_LLADDR, &hardware);
    });
}

/// `struct ndmsg`.
fn neighbour(body: &mut Body<'_>, family: u8, link: u32, flags: u8) {
    let ([a, b, c, d], [e, f]) = (link.to_ne_bytes(), NUD_REACHABLE.to_ne_bytes());
    body.fixed(&[family, 0, 0, 0, a, b, c, d, e, f, flags, 0]);
}

/// Sets the link up.
pub fn set_up(batch: &mut Batch, index: u32) {
    batch.push(RTM_SETLINK, 0, format!("set interface {index} up"), |body| header(body, index, IFF_UP, IFF_UP));
}

/// Deletes a link. The kernel takes some 25 ms for it, and returns only then.
pub fn delete_link(batch: &mut Batch, name: &str) {
    batch.push(RTM_DELLINK, 0, format!("delete the interface {name}"), |body| {
        header(body, 0, 0, 0);
        body.string(IFLA_IFNAME, name);
    });
}

/// All links of the socket's namespace.
pub fn links(socket: &mut Socket) -> Result<Vec<Link>, NetlinkError> {
    socket.dump(RTM_GETLINK, "list the interfaces", |body| header(body, 0, 0, 0), read)
}

/// One link by its name; `None` if there is none.
pub fn link(socket: &mut Socket, name: &str) -> Result<Option<Link>, NetlinkError> {
    let ask = |body: &mut Body<'_>| {
        header(body, 0, 0, 0);
        body.string(IFLA_IFNAME, name);
    };
    match socket.get(RTM_GETLINK, format!("look at the interface {name}"), ask, read) {
        Err(error) if error.refusal() == Some(Errno::NODEV) => Ok(None),
        other => other,
    }
}

/// One link by its number; `None` if there is none.
pub fn link_by_index(socket: &mut Socket, index: u32) -> Result<Option<Link>, NetlinkError> {
    let ask = |body: &mut Body<'_>| header(body, index, 0, 0);
    match socket.get(RTM_GETLINK, format!("look at interface {index}"), ask, read) {
        Err(error) if error.refusal() == Some(Errno::NODEV) => Ok(None),
        other => other,
    }
}

fn read(message: &Message<'_>) -> Result<Option<Link>, Malformed> {
    if message.kind != RTM_NEWLINK {
        return Ok(None);
    }
    let head: [u8; IFINFOMSG] = array(message.payload)?;
    let mut link = Link {
        index: u32::from_ne_bytes([head[4], head[5], head[6], head[7]]),
        name: String::new(),
        kind: None,
        master: None,
        up: u32::from_ne_bytes([head[8], head[9], head[10], head[11]]) & IFF_UP != 0,
        operational: false,
        hardware_address: None,
    };
    for attribute in attributes(&message.payload[IFINFOMSG..]) {
        let attribute = attribute?;
        match attribute.kind {
            IFLA_IFNAME => link.name = attribute.text(),
            IFLA_MASTER => link.master = Some(attribute.u32()?),
            IFLA_OPERSTATE => link.operational = attribute.payload.first() == Some(&IF_OPER_UP),
            IFLA_ADDRESS => link.hardware_address = attribute.payload.try_into().ok(),
            IFLA_LINKINFO => link.kind = kind(&attribute)?,
            _ => {}
        }
    }
    Ok(Some(link))
}

fn kind(info: &Attribute<'_>) -> Result<Option<String>, Malformed> {
    for attribute in info.nested() {
        let attribute = attribute?;
        if attribute.kind == IFLA_INFO_KIND {
            return Ok(Some(attribute.text()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_link_makes_the_reader_panic(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&Message { kind: RTM_NEWLINK, flags: 0, sequence: 0, payload: &payload });
        }
    }

    #[test]
    fn a_link_is_read_back() {
        let mut batch = Batch::new();
        create_bridge(&mut batch, "corten0", [2, 0x42, 0, 0, 0, 1], Some(1400));
        let message = crate::messages(batch.bytes()).next().unwrap().unwrap();
        let link = read(&message).unwrap().unwrap();
        assert_eq!((link.name.as_str(), link.kind.as_deref(), link.up), ("corten0", Some("bridge"), true));
        assert_eq!(link.hardware_address, Some([2, 0x42, 0, 0, 0, 1]));
    }
}
