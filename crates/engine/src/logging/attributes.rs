// SPDX-License-Identifier: Apache-2.0
//! What drivers say of a container beside its lines.

use std::collections::BTreeMap;

use crate::container::Record;

/// The container that a log is of.
pub(crate) struct Subject<'a> {
    pub(crate) record: &'a Record,
}

impl<'a> Subject<'a> {
    pub(crate) fn of(record: &'a Record) -> Subject<'a> {
        Subject { record }
    }

    pub(crate) fn image_id(&self) -> String {
        self.record.image_id.to_string()
    }

    /// The values of those labels and variables that the container has.
    pub(crate) fn attributes(&self, labels: &[String], env: &[String]) -> BTreeMap<String, String> {
        let process = &self.record.process;
        let label = |name: &String| Some((name.clone(), process.labels.get(name)?.clone()));
        let mut attributes: BTreeMap<String, String> = labels.iter().filter_map(label).collect();
        for entry in &process.env {
            if let Some((name, value)) = entry.split_once('=')
                && env.iter().any(|wanted| wanted == name)
            {
                attributes.insert(name.to_owned(), value.to_owned());
            }
        }
        attributes
    }
}
