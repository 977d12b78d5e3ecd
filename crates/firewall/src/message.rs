// SPDX-License-Identifier: Apache-2.0
//! nf_tables requests and the transaction around them (linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h).
//! Numbers in attributes are in network byte order.

use netlink::{Batch, Body, flags};

use crate::expression::Rule;

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
const AF_UNSPEC: u8 = 0;
const NFPROTO_INET: u8 = 1;

const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_DELTABLE: u16 = 2;
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_NEWRULE: u16 = 6;
const NFT_MSG_NEWSET: u16 = 9;
const NFT_MSG_NEWSETELEM: u16 = 12;
const NFT_MSG_DELSETELEM: u16 = 14;

const NFTA_TABLE_NAME: u16 = 1;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NF_ACCEPT: u32 = 1;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_SET_TABLE: u16 = 1;
const NFTA_SET_NAME: u16 = 2;
const NFTA_SET_FLAGS: u16 = 3;
const NFTA_SET_KEY_TYPE: u16 = 4;
const NFTA_SET_KEY_LEN: u16 = 5;
const NFTA_SET_DATA_TYPE: u16 = 6;
const NFTA_SET_DATA_LEN: u16 = 7;
const NFTA_SET_ID: u16 = 10;
const NFTA_SET_USERDATA: u16 = 13;
/// Keys are in this machine's byte order, in the words that nft keeps with a set: what, how long, the order.
const KEYS_IN_HOST_ORDER: [u8; 3] = [0, 4, 1];
const NFT_SET_INTERVAL: u32 = 4;
const NFT_SET_MAP: u32 = 8;
const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_DATA: u16 = 2;
const NFTA_SET_ELEM_FLAGS: u16 = 3;
const NFT_SET_ELEM_INTERVAL_END: u32 = 1;
const NFTA_DATA_VALUE: u16 = 1;

/// Elements per message, so that their list stays below the 64 KiB of an attribute.
const ELEMENTS_PER_MESSAGE: usize = 500;

/// Where a chain is hooked in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chain {
    pub(crate) name: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) hook: u32,
    pub(crate) priority: i32,
}

/// A set or a map: its name and the types of its key and value, which only matter to those who print the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Set {
    pub(crate) name: &'static str,
    pub(crate) id: u32,
    pub(crate) key: Type,
    /// What a map says for a key; a set only has it or not.
    pub(crate) value: Option<Type>,
    /// The keys are where ranges begin and end.
    pub(crate) interval: bool,
}

/// A type as nft numbers it, and its length in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Type {
    pub(crate) number: u32,
    pub(crate) length: u32,
    /// Whether nft must be told that it is not in network byte order; of a concatenation it knows.
    pub(crate) in_host_order: bool,
}

/// An element of a set or a map, as it lies in the registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
    /// The first key that is no longer in the range.
    pub(crate) ends_range: bool,
}

impl Element {
    /// A set's element.
    pub(crate) fn of(key: Vec<u8>) -> Element {
        Element { key, value: None, ends_range: false }
    }

    fn encode(&self, item: &mut Body<'_>) {
        item.nested(NFTA_SET_ELEM_KEY, |key| key.bytes(NFTA_DATA_VALUE, &self.key));
        if let Some(value) = &self.value {
            item.nested(NFTA_SET_ELEM_DATA, |data| data.bytes(NFTA_DATA_VALUE, value));
        }
        if self.ends_range {
            item.u32_be(NFTA_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END);
        }
    }
}

/// A transaction on one table: all of it happens, or nothing.
pub(crate) struct Transaction<'a> {
    table: &'a str,
    batch: Batch,
}

impl<'a> Transaction<'a> {
    pub(crate) fn begin(table: &'a str) -> Transaction<'a> {
        let mut batch = Batch::new();
        bracket(&mut batch, NFNL_MSG_BATCH_BEGIN, "begin a transaction");
        Transaction { table, batch }
    }

    /// The requests, closed.
    pub(crate) fn end(mut self) -> Batch {
        bracket(&mut self.batch, NFNL_MSG_BATCH_END, "end a transaction");
        self.batch
    }

    pub(crate) fn create_table(&mut self) {
        let table = self.table;
        self.push(NFT_MSG_NEWTABLE, flags::CREATE, format!("create the table {table}"), |body| {
            body.string(NFTA_TABLE_NAME, table);
        });
    }

    pub(crate) fn delete_table(&mut self) {
        let table = self.table;
        self.push(NFT_MSG_DELTABLE, 0, format!("delete the table {table}"), |body| {
            body.string(NFTA_TABLE_NAME, table);
        });
    }

    pub(crate) fn create_chain(&mut self, chain: &Chain) {
        let table = self.table;
        self.push(NFT_MSG_NEWCHAIN, flags::CREATE, format!("create the chain {}", chain.name), |body| {
            body.string(NFTA_CHAIN_TABLE, table);
            body.string(NFTA_CHAIN_NAME, chain.name);
            body.nested(NFTA_CHAIN_HOOK, |hook| {
                hook.u32_be(NFTA_HOOK_HOOKNUM, chain.hook);
                hook.bytes(NFTA_HOOK_PRIORITY, &chain.priority.to_be_bytes());
            });
            body.u32_be(NFTA_CHAIN_POLICY, NF_ACCEPT);
            body.string(NFTA_CHAIN_TYPE, chain.kind);
        });
    }

    pub(crate) fn create_set(&mut self, set: &Set) {
        let table = self.table;
        let interval = if set.interval { NFT_SET_INTERVAL } else { 0 };
        let map = if set.value.is_some() { NFT_SET_MAP } else { 0 };
        self.push(NFT_MSG_NEWSET, flags::CREATE, format!("create the set {}", set.name), |body| {
            body.string(NFTA_SET_TABLE, table);
            body.string(NFTA_SET_NAME, set.name);
            body.u32_be(NFTA_SET_FLAGS, interval | map);
            body.u32_be(NFTA_SET_KEY_TYPE, set.key.number);
            body.u32_be(NFTA_SET_KEY_LEN, set.key.length);
            if let Some(value) = set.value {
                body.u32_be(NFTA_SET_DATA_TYPE, value.number);
                body.u32_be(NFTA_SET_DATA_LEN, value.length);
            }
            body.u32_be(NFTA_SET_ID, set.id);
            if set.key.in_host_order {
                // The order is a number of four bytes, in that order itself.
                let [what, length, order] = KEYS_IN_HOST_ORDER;
                let [a, b, c, d] = u32::from(order).to_ne_bytes();
                body.bytes(NFTA_SET_USERDATA, &[what, length, a, b, c, d]);
            }
        });
    }

    pub(crate) fn append_rule(&mut self, chain: &'static str, rule: &Rule) {
        let table = self.table;
        let what = format!("add a rule to the chain {chain} ({})", rule.purpose());
        self.push(NFT_MSG_NEWRULE, flags::CREATE | 0x800 /* NLM_F_APPEND */, what, |body| {
            body.string(NFTA_RULE_TABLE, table);
            body.string(NFTA_RULE_CHAIN, chain);
            body.nested(NFTA_RULE_EXPRESSIONS, |list| rule.encode(list));
        });
    }

    pub(crate) fn add_elements(&mut self, set: &Set, elements: &[Element]) {
        self.elements(NFT_MSG_NEWSETELEM, flags::CREATE | flags::EXCLUSIVE, "add to the set", set, elements);
    }

    pub(crate) fn delete_elements(&mut self, set: &Set, elements: &[Element]) {
        self.elements(NFT_MSG_DELSETELEM, 0, "remove from the set", set, elements);
    }

    fn elements(&mut self, kind: u16, flags: u16, what: &str, set: &Set, elements: &[Element]) {
        let table = self.table;
        for chunk in elements.chunks(ELEMENTS_PER_MESSAGE) {
            self.push(kind, flags, format!("{what} {}", set.name), |body| {
                body.string(NFTA_SET_ELEM_LIST_TABLE, table);
                body.string(NFTA_SET_ELEM_LIST_SET, set.name);
                body.nested(NFTA_SET_ELEM_LIST_ELEMENTS, |list| {
                    for element in chunk {
                        list.nested(NFTA_LIST_ELEM, |item| element.encode(item));
                    }
                });
            });
        }
    }

    fn push(&mut self, kind: u16, flags: u16, what: String, body: impl FnOnce(&mut Body<'_>)) {
        self.batch.push(NFNL_SUBSYS_NFTABLES << 8 | kind, flags, what, |message| {
            message.fixed(&[NFPROTO_INET, 0, 0, 0]);
            body(message);
        });
    }
}

fn bracket(batch: &mut Batch, kind: u16, what: &'static str) {
    let [high, low] = NFNL_SUBSYS_NFTABLES.to_be_bytes();
    batch.push_frame(kind, 0, what, |body| body.fixed(&[AF_UNSPEC, 0, high, low]));
}
