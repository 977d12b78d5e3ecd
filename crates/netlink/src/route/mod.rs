// SPDX-License-Identifier: Apache-2.0
//! Links, addresses and routes: rtnetlink(7), linux/rtnetlink.h, linux/if_link.h.
//!
//! Changes are put into a [`Batch`](crate::Batch) and sent together; lists are read by [`links`], [`addresses`] and
//! [`routes`].

mod address;
mod family;
mod link;
mod path;

pub use address::{Address, add_address, addresses};
pub use family::Family;
pub use link::{
    Link, Veth, create_bridge, create_veth, delete_link, enslave, hairpin, isolate, learn, link, link_by_index, links,
    meet, set_hardware_address, set_up,
};
pub use path::{Route, add_default_route, delete_default_route, replace_default_route, routes};
