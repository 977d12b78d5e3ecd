// SPDX-License-Identifier: Apache-2.0
//! Rules as the kernel's virtual machine takes them: a list of expressions that load packet fields into registers and
//! compare, look up or act on them (linux/netfilter/nf_tables.h). A comparison that fails ends the rule.

use std::net::{Ipv4Addr, Ipv6Addr};

use netlink::Body;

use crate::message::Set;

const NFTA_LIST_ELEM: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;

const NFT_META_IIFNAME: u32 = 6;
const NFT_META_OIFNAME: u32 = 7;
const NFT_META_NFPROTO: u32 = 15;
const NFT_META_L4PROTO: u32 = 16;
const NFT_META_IIFKIND: u32 = 26;
const NFT_META_OIFKIND: u32 = 27;
const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;
const NFT_PAYLOAD_TRANSPORT_HEADER: u32 = 2;
const NFT_CT_STATE: u32 = 0;
const NFT_CT_STATUS: u32 = 2;
/// Established or related, as the `ct` expression numbers the states.
const STATE_ESTABLISHED_OR_RELATED: u32 = 1 << 1 | 1 << 2;
/// `IPS_DST_NAT`.
const STATUS_DNAT: u32 = 1 << 5;
const NFT_FIB_RESULT_OIF: u32 = 1;
const NFT_FIB_RESULT_ADDRTYPE: u32 = 3;
const NFTA_FIB_F_SADDR: u32 = 1;
const NFTA_FIB_F_DADDR: u32 = 1 << 1;
const NFTA_FIB_F_IIF: u32 = 1 << 3;
/// `RTN_LOCAL`.
const ADDRESS_TYPE_LOCAL: u32 = 2;
/// IPPROTO_ICMPV6.
const ICMPV6: u8 = 58;
/// RFC 4861, section 4.2.
const ROUTER_ADVERTISEMENT: u8 = 134;
const NFT_NAT_DNAT: u32 = 1;
const NFT_LOOKUP_F_INV: u32 = 1;
const IFNAMSIZ: usize = 16;

/// The 4-byte registers; a key of several fields lies in neighbouring ones, and an interface's name fills four.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Register(u32);
const R0: Register = Register(8);
const R1: Register = Register(9);
const R2: Register = Register(10);
const R4: Register = Register(12);
const R5: Register = Register(13);

/// Which IP header a rule reads, and where things stand in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    /// `NFPROTO_IPV4`, `NFPROTO_IPV6`.
    fn number(self) -> u8 {
        match self {
            Family::V4 => 2,
            Family::V6 => 10,
        }
    }

    fn source(self, into: Register) -> Expression {
        let (offset, length) = match self {
            Family::V4 => (12, 4),
            Family::V6 => (8, 16),
        };
        Expression::Payload { base: NFT_PAYLOAD_NETWORK_HEADER, offset, length, into }
    }

    fn destination(self, into: Register) -> Expression {
        let (offset, length) = match self {
            Family::V4 => (16, 4),
            Family::V6 => (24, 16),
        };
        Expression::Payload { base: NFT_PAYLOAD_NETWORK_HEADER, offset, length, into }
    }
}

/// What becomes of a packet that a rule matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    Drop,
    Return,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expression {
    Meta { key: u32, into: Register },
    Payload { base: u32, offset: u32, length: u32, into: Register },
    Connection { key: u32, into: Register },
    DestinationType { into: Register },
    SourceRoute { into: Register },
    Mask { register: Register, mask: [u8; 4] },
    Compare { register: Register, comparison: Comparison, value: Vec<u8> },
    Lookup { set: &'static str, id: u32, key: Register, into: Option<Register>, inverted: bool },
    Dnat { family: Family, address: Register, port: Register },
    Masquerade,
    Verdict(Verdict),
}

/// A rule under construction: reads like the rule in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    purpose: &'static str,
    family: Family,
    expressions: Vec<Expression>,
}

impl Rule {
    /// A rule that so far matches everything.
    pub(crate) fn new(purpose: &'static str) -> Rule {
        Rule { purpose, family: Family::V4, expressions: Vec::new() }
    }

    /// What the rule is for.
    pub(crate) fn purpose(&self) -> &'static str {
        self.purpose
    }

    pub(crate) fn not_arriving_by(self, name: &str) -> Rule {
        // The kernel pads the name with NULs; comparing all of it makes "lo" differ from "lo1".
        self.load(Expression::Meta { key: NFT_META_IIFNAME, into: R0 })
            .compare(Comparison::NotEqual, &interface_name(name))
    }

    pub(crate) fn arriving_by_one_of(self, set: &Set) -> Rule {
        self.load(Expression::Meta { key: NFT_META_IIFNAME, into: R0 }).lies_in(set)
    }

    pub(crate) fn leaving_by_one_of(self, set: &Set) -> Rule {
        self.load(Expression::Meta { key: NFT_META_OIFNAME, into: R0 }).lies_in(set)
    }

    pub(crate) fn leaving_by_none_of(self, set: &Set) -> Rule {
        self.load(Expression::Meta { key: NFT_META_OIFNAME, into: R0 }).look_up(set, None, true)
    }

    /// The set has the two interfaces, that by which the packet arrives and that by which it leaves.
    pub(crate) fn between(self, set: &Set) -> Rule {
        self.load(Expression::Meta { key: NFT_META_IIFNAME, into: R0 })
            .load(Expression::Meta { key: NFT_META_OIFNAME, into: R4 })
            .lies_in(set)
    }

    /// Neither interface is a bridge, whoever's.
    pub(crate) fn between_no_bridges(self) -> Rule {
        let bridge = interface_name("bridge");
        self.load(Expression::Meta { key: NFT_META_IIFKIND, into: R0 })
            .compare(Comparison::NotEqual, &bridge)
            .load(Expression::Meta { key: NFT_META_OIFKIND, into: R0 })
            .compare(Comparison::NotEqual, &bridge)
    }

    /// Must stand before anything that reads an IPv4 header.
    pub(crate) fn ipv4(self) -> Rule {
        self.of(Family::V4)
    }

    /// Must stand before anything that reads an IPv6 header.
    pub(crate) fn ipv6(self) -> Rule {
        self.of(Family::V6)
    }

    fn of(mut self, family: Family) -> Rule {
        self.family = family;
        self.load(Expression::Meta { key: NFT_META_NFPROTO, into: R0 }).compare(Comparison::Equal, &[family.number()])
    }

    pub(crate) fn source_in(self, network: Ipv4Addr, prefix: u8) -> Rule {
        self.load(Family::V4.source(R0)).network(network, prefix)
    }

    pub(crate) fn source_in_one_of(self, set: &Set) -> Rule {
        let source = self.family.source(R0);
        self.load(source).lies_in(set)
    }

    /// Answers to the source would not leave by the interface that the packet came by.
    pub(crate) fn source_is_elsewhere(self) -> Rule {
        self.load(Expression::SourceRoute { into: R0 }).compare(Comparison::Equal, &[0; 4])
    }

    pub(crate) fn destination_in(self, network: Ipv4Addr, prefix: u8) -> Rule {
        self.load(Family::V4.destination(R0)).network(network, prefix)
    }

    pub(crate) fn not_for(self, address: Ipv6Addr) -> Rule {
        self.load(Family::V6.destination(R0)).compare(Comparison::NotEqual, &address.octets())
    }

    /// Says that its sender is a router (RFC 4861).
    pub(crate) fn router_advertisement(self) -> Rule {
        self.load(Expression::Meta { key: NFT_META_L4PROTO, into: R0 })
            .compare(Comparison::Equal, &[ICMPV6])
            .load(Expression::Payload { base: NFT_PAYLOAD_TRANSPORT_HEADER, offset: 0, length: 1, into: R0 })
            .compare(Comparison::Equal, &[ROUTER_ADVERTISEMENT])
    }

    /// The destination is an address of this host.
    pub(crate) fn for_this_host(self) -> Rule {
        self.load(Expression::DestinationType { into: R0 })
            .compare(Comparison::Equal, &ADDRESS_TYPE_LOCAL.to_ne_bytes())
    }

    /// Part of a connection that was let through before, or of one that belongs to it.
    pub(crate) fn established(self) -> Rule {
        self.connection(NFT_CT_STATE, STATE_ESTABLISHED_OR_RELATED)
    }

    /// Part of a connection to a published port.
    pub(crate) fn redirected(self) -> Rule {
        self.connection(NFT_CT_STATUS, STATUS_DNAT)
    }

    /// Redirects to what the map says for `transport . destination port`.
    pub(crate) fn dnat_by_port(mut self, map: &Set) -> Rule {
        self.expressions.push(Expression::Meta { key: NFT_META_L4PROTO, into: R0 });
        self.expressions.push(DESTINATION_PORT(R1));
        self.dnat(map)
    }

    /// Redirects to what the map says for `transport . destination address . destination port`.
    pub(crate) fn dnat_by_address_and_port(mut self, map: &Set) -> Rule {
        self.expressions.push(Expression::Meta { key: NFT_META_L4PROTO, into: R0 });
        self.expressions.push(self.family.destination(R1));
        self.expressions.push(DESTINATION_PORT(match self.family {
            Family::V4 => R2,
            Family::V6 => R5,
        }));
        self.dnat(map)
    }

    /// Replaces the source by the address of the interface the packet leaves by.
    pub(crate) fn masquerade(self) -> Rule {
        self.load(Expression::Masquerade)
    }

    pub(crate) fn verdict(self, verdict: Verdict) -> Rule {
        self.load(Expression::Verdict(verdict))
    }

    fn load(mut self, expression: Expression) -> Rule {
        self.expressions.push(expression);
        self
    }

    fn compare(self, comparison: Comparison, value: &[u8]) -> Rule {
        self.load(Expression::Compare { register: R0, comparison, value: value.to_vec() })
    }

    fn lies_in(self, set: &Set) -> Rule {
        self.look_up(set, None, false)
    }

    fn look_up(self, set: &Set, into: Option<Register>, inverted: bool) -> Rule {
        self.load(Expression::Lookup { set: set.name, id: set.id, key: R0, into, inverted })
    }

    /// What was loaded last lies in this network.
    fn network(self, network: Ipv4Addr, prefix: u8) -> Rule {
        let mask = !u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
        self.load(Expression::Mask { register: R0, mask: mask.to_be_bytes() })
            .compare(Comparison::Equal, &(network.to_bits() & mask).to_be_bytes())
    }

    fn connection(self, key: u32, bits: u32) -> Rule {
        self.load(Expression::Connection { key, into: R0 })
            .load(Expression::Mask { register: R0, mask: bits.to_ne_bytes() })
            .compare(Comparison::NotEqual, &[0; 4])
    }

    fn dnat(self, map: &Set) -> Rule {
        let family = self.family;
        let port = match family {
            Family::V4 => R1,
            Family::V6 => R4,
        };
        self.look_up(map, Some(R0), false).load(Expression::Dnat { family, address: R0, port })
    }

    /// Writes the rule's list of expressions.
    pub(crate) fn encode(&self, list: &mut Body<'_>) {
        for expression in &self.expressions {
            list.nested(NFTA_LIST_ELEM, |item| {
                item.string(NFTA_EXPR_NAME, expression.name());
                item.nested(NFTA_EXPR_DATA, |data| expression.encode(data));
            });
        }
    }
}

/// An interface's name as the kernel compares it.
pub(crate) fn interface_name(name: &str) -> [u8; IFNAMSIZ] {
    let mut padded = [0; IFNAMSIZ];
    for (to, from) in padded.iter_mut().zip(name.bytes().take(IFNAMSIZ - 1)) {
        *to = from;
    }
    padded
}

/// The destination port stands third and fourth in TCP's and UDP's headers alike.
const DESTINATION_PORT: fn(Register) -> Expression =
    |into| Expression::Payload { base: NFT_PAYLOAD_TRANSPORT_HEADER, offset: 2, length: 2, into };

impl Expression {
    fn name(&self) -> &'static str {
        match self {
            Expression::Meta { .. } => "meta",
            Expression::Payload { .. } => "payload",
            Expression::Connection { .. } => "ct",
            Expression::DestinationType { .. } | Expression::SourceRoute { .. } => "fib",
            Expression::Mask { .. } => "bitwise",
            Expression::Compare { .. } => "cmp",
            Expression::Lookup { .. } => "lookup",
            Expression::Dnat { .. } => "nat",
            Expression::Masquerade => "masq",
            Expression::Verdict(_) => "immediate",
        }
    }

    /// The attributes of `NFTA_EXPR_DATA`; their numbers are each expression's own.
    fn encode(&self, data: &mut Body<'_>) {
        match self {
            Expression::Meta { key, into } => {
                data.u32_be(1 /* NFTA_META_DREG */, into.0);
                data.u32_be(2 /* NFTA_META_KEY */, *key);
            }
            Expression::Payload { base, offset, length, into } => {
                data.u32_be(1 /* NFTA_PAYLOAD_DREG */, into.0);
                data.u32_be(2 /* NFTA_PAYLOAD_BASE */, *base);
                data.u32_be(3 /* NFTA_PAYLOAD_OFFSET */, *offset);
                data.u32_be(4 /* NFTA_PAYLOAD_LEN */, *length);
            }
            Expression::Connection { key, into } => {
                data.u32_be(1 /* NFTA_CT_DREG */, into.0);
                data.u32_be(2 /* NFTA_CT_KEY */, *key);
            }
            Expression::DestinationType { into } => {
                data.u32_be(1 /* NFTA_FIB_DREG */, into.0);
                data.u32_be(2 /* NFTA_FIB_RESULT */, NFT_FIB_RESULT_ADDRTYPE);
                data.u32_be(3 /* NFTA_FIB_FLAGS */, NFTA_FIB_F_DADDR);
            }
            Expression::SourceRoute { into } => {
                data.u32_be(1 /* NFTA_FIB_DREG */, into.0);
                data.u32_be(2 /* NFTA_FIB_RESULT */, NFT_FIB_RESULT_OIF);
                data.u32_be(3 /* NFTA_FIB_FLAGS */, NFTA_FIB_F_SADDR | NFTA_FIB_F_IIF);
            }
            Expression::Mask { register, mask } => {
                data.u32_be(1 /* NFTA_BITWISE_SREG */, register.0);
                data.u32_be(2 /* NFTA_BITWISE_DREG */, register.0);
                data.u32_be(3 /* NFTA_BITWISE_LEN */, 4);
                data.nested(4 /* NFTA_BITWISE_MASK */, |value| value.bytes(NFTA_DATA_VALUE, mask));
                data.nested(5 /* NFTA_BITWISE_XOR */, |value| value.bytes(NFTA_DATA_VALUE, &[0; 4]));
            }
            Expression::Compare { register, comparison, value } => {
                data.u32_be(1 /* NFTA_CMP_SREG */, register.0);
                data.u32_be(2 /* NFTA_CMP_OP */, matches!(comparison, Comparison::NotEqual).into());
                data.nested(3 /* NFTA_CMP_DATA */, |nested| nested.bytes(NFTA_DATA_VALUE, value));
            }
            Expression::Lookup { set, id, key, into, inverted } => {
                data.string(1 /* NFTA_LOOKUP_SET */, set);
                data.u32_be(2 /* NFTA_LOOKUP_SREG */, key.0);
                if let Some(into) = into {
                    data.u32_be(3 /* NFTA_LOOKUP_DREG */, into.0);
                }
                data.u32_be(4 /* NFTA_LOOKUP_SET_ID */, *id);
                if *inverted {
                    data.u32_be(5 /* NFTA_LOOKUP_FLAGS */, NFT_LOOKUP_F_INV);
                }
            }
            Expression::Dnat { family, address, port } => {
                data.u32_be(1 /* NFTA_NAT_TYPE */, NFT_NAT_DNAT);
                data.u32_be(2 /* NFTA_NAT_FAMILY */, family.number().into());
                data.u32_be(3 /* NFTA_NAT_REG_ADDR_MIN */, address.0);
                data.u32_be(5 /* NFTA_NAT_REG_PROTO_MIN */, port.0);
            }
            Expression::Masquerade => {}
            Expression::Verdict(verdict) => {
                data.u32_be(1 /* NFTA_IMMEDIATE_DREG: the verdict register */, 0);
                data.nested(2 /* NFTA_IMMEDIATE_DATA */, |value| {
                    value.nested(NFTA_DATA_VERDICT, |inner| inner.u32_be(NFTA_VERDICT_CODE, verdict.code()));
                });
            }
        }
    }
}

impl Verdict {
    fn code(self) -> u32 {
        match self {
            Verdict::Drop => 0,
            Verdict::Accept => 1,
            Verdict::Return => -5_i32 as u32,
        }
    }
}
