// SPDX-License-Identifier: Apache-2.0
//! The container that a log is of, and what drivers say of it beside its lines.

use std::collections::BTreeMap;

use jiff::Timestamp;
use oci::{ContainerId, Digest};

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
    /// The values of those labels and variables that the container has.
    pub(crate) fn attributes(&self, labels: &[String], env: &[String]) -> BTreeMap<String, String> {
        let label = |name: &String| Some((name.clone(), self.labels.get(name)?.clone()));
        let mut attributes: BTreeMap<String, String> = labels.iter().filter_map(label).collect();
        for entry in self.env {
            if let Some((name, value)) = entry.split_once('=')
                && env.iter().any(|wanted| wanted == name)
            {
                attributes.insert(name.to_owned(), value.to_owned());
            }
        }
        attributes
    }
}
