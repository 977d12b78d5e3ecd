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
const NFT_SET_MAP: u32 = 8;
const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_DATA: u16 = 2;
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

/// A map's name and the types of its key and value, which only matter to those who print the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Map {
    pub(crate) name: &'static str,
    pub(crate) id: u32,
    pub(crate) key_type: u32,
    pub(crate) key_length: u32,
    pub(crate) data_type: u32,
    pub(crate) data_length: u32,
}

/// A map's element, as it lies in the registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) key: Vec<u8>,
    pub(crate) data: [u8; 8],
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

    pub(crate) fn create_map(&mut self, map: &Map) {
        let table = self.table;
        self.push(NFT_MSG_NEWSET, flags::CREATE, format!("create the map {}", map.name), |body| {
            body.string(NFTA_SET_TABLE, table);
            body.string(NFTA_SET_NAME, map.name);
            body.u32_be(NFTA_SET_FLAGS, NFT_SET_MAP);
            body.u32_be(NFTA_SET_KEY_TYPE, map.key_type);
            body.u32_be(NFTA_SET_KEY_LEN, map.key_length);
            body.u32_be(NFTA_SET_DATA_TYPE, map.data_type);
            body.u32_be(NFTA_SET_DATA_LEN, map.data_length);
            body.u32_be(NFTA_SET_ID, map.id);
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

    pub(crate) fn add_elements(&mut self, map: &Map, elements: &[Element]) {
        let flags = flags::CREATE | flags::EXCLUSIVE;
        self.elements(NFT_MSG_NEWSETELEM, flags, "add published ports to the map", map, elements);
    }

    pub(crate) fn delete_elements(&mut self, map: &Map, elements: &[Element]) {
        self.elements(NFT_MSG_DELSETELEM, 0, "remove published ports from the map", map, elements);
    }

    fn elements(&mut self, kind: u16, flags: u16, what: &str, map: &Map, elements: &[Element]) {
        let table = self.table;
        for chunk in elements.chunks(ELEMENTS_PER_MESSAGE) {
            self.push(kind, flags, format!("{what} {}", map.name), |body| {
                body.string(NFTA_SET_ELEM_LIST_TABLE, table);
                body.string(NFTA_SET_ELEM_LIST_SET, map.name);
                body.nested(NFTA_SET_ELEM_LIST_ELEMENTS, |list| {
                    for element in chunk {
                        list.nested(NFTA_LIST_ELEM, |item| {
                            item.nested(NFTA_SET_ELEM_KEY, |key| key.bytes(NFTA_DATA_VALUE, &element.key));
                            item.nested(NFTA_SET_ELEM_DATA, |data| data.bytes(NFTA_DATA_VALUE, &element.data));
                        });
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
