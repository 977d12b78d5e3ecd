// SPDX-License-Identifier: Apache-2.0
//! The container that a log is of, and what drivers say of it beside its lines.

use std::collections::BTreeMap;

use jiff::Timestamp;
use oci::{ContainerId, Digest};

use crate::pick::Pick;

/// What is known of a container whose log it is.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Its id.
    pub id: &'a ContainerId,
    /// Its name.
    pub name: &'a str,
    /// The image, as the user named it.
    pub image: &'a str,
    /// The image's id.
    pub image_id: &'a Digest,
    /// When it was created.
    pub created: Timestamp,
    /// What it executes.
    pub args: &'a [String],
    /// Its variables, `NAME=value`.
    pub env: &'a [String],
    /// Its labels, the image's included.
    pub labels: &'a BTreeMap<String, String>,
}

impl Subject<'_> {
    /// The labels and variables that are picked, with their values.
    pub(crate) fn attributes(&self, labels: &Pick, env: &Pick) -> BTreeMap<String, String> {
        let own = self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let own = own.filter(|(name, _)| labels.takes(name));
        let variables = self.env.iter().filter_map(|entry| entry.split_once('='));
        // Of two that are called the same, the variable is the one.
        own.chain(variables.filter(|(name, _)| env.takes(name)))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }
}
