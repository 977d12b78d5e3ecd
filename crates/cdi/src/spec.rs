// SPDX-License-Identifier: Apache-2.0
//! One file: the devices of one kind.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::edits::Edits;
use crate::name::{is_device, is_kind};
use crate::version::{self, Version};

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `.json`
    Json,
    /// `.yaml`
    Yaml,
}

/// A description of devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// `vendor.com/class`
    pub kind: String,
    /// Made when any of its devices is asked for.
    pub edits: Edits,
    /// Made when that device is asked for.
    pub devices: BTreeMap<String, Edits>,
}

/// Why a file describes nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// It cannot be read, or is no text.
    #[error("it cannot be read")]
    Unreadable(#[source] std::io::Error),
    /// It is not JSON of the right form.
    #[error("it is not a description in JSON")]
    Json(#[source] serde_json::Error),
    /// It is not YAML of the right form.
    #[error("it is not a description in YAML")]
    Yaml(#[source] Box<serde_saphyr::Error>),
    /// Its version is none.
    #[error("cdiVersion {0:?} is not a released version up to 1.1.0")]
    Version(String),
    /// It uses what its version does not have.
    #[error("cdiVersion {given} does not have what it uses: that came with {needed}")]
    TooOld {
        /// What it says.
        given: String,
        /// What it needs.
        needed: String,
    },
    /// Its kind is none.
    #[error("kind {0:?} is not vendor.com/class")]
    Kind(String),
    /// It describes no device.
    #[error("it has no devices")]
    NoDevices,
    /// A device's name is none.
    #[error("{0:?} is no device's name")]
    DeviceName(String),
    /// Two devices have one name.
    #[error("device {0:?} is described twice")]
    Twice(String),
    /// A device adds nothing.
    #[error("device {0:?} has no containerEdits")]
    Nothing(String),
    /// A field cannot be.
    #[error("{field}: {problem}")]
    Field {
        /// The field of containerEdits.
        field: &'static str,
        /// What is wrong.
        problem: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    cdi_version: String,
    kind: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    devices: Vec<DocumentDevice>,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DocumentDevice {
    name: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    container_edits: Edits,
}

impl Spec {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// What is wrong with it. An unknown field is wrong: it would be left out in silence.
    pub fn parse(text: &str, format: Format) -> Result<Spec, SpecError> {
        let document: Document = match format {
            Format::Json => serde_json::from_str(text).map_err(SpecError::Json)?,
            Format::Yaml => serde_saphyr::from_str(text).map_err(|error| SpecError::Yaml(Box::new(error)))?,
        };
        let Some(given) = version::parse(&document.cdi_version) else {
            return Err(SpecError::Version(document.cdi_version));
        };
        if !is_kind(&document.kind) {
            return Err(SpecError::Kind(document.kind));
        }
        let needed = needed(&document);
        if needed > given {
            let needed = format!("{}.{}.{}", needed.0, needed.1, needed.2);
            return Err(SpecError::TooOld { given: document.cdi_version, needed });
        }
        if document.devices.is_empty() {
            return Err(SpecError::NoDevices);
        }
        check(&document.container_edits)?;
        let mut devices = BTreeMap::new();
        for device in document.devices {
            if !is_device(&device.name) {
                return Err(SpecError::DeviceName(device.name));
            }
            check(&device.container_edits)?;
            if device.container_edits.is_empty() {
                return Err(SpecError::Nothing(device.name));
            }
            if devices.insert(device.name.clone(), device.container_edits).is_some() {
                return Err(SpecError::Twice(device.name));
            }
        }
        Ok(Spec { kind: document.kind, edits: document.container_edits, devices })
    }
}

fn check(edits: &Edits) -> Result<(), SpecError> {
    edits.check().map_err(|(field, problem)| SpecError::Field { field, problem })
}

/// The oldest version that has all that a file uses.
fn needed(document: &Document) -> Version {
    let mut needed = BTreeSet::from([version::of_edits(&document.container_edits)]);
    if !document.annotations.is_empty() || document.kind.rsplit('/').next().is_some_and(|class| class.contains('.')) {
        needed.insert((0, 6, 0));
    }
    for device in &document.devices {
        needed.insert(version::of_edits(&device.container_edits));
        if !device.annotations.is_empty() {
            needed.insert((0, 6, 0));
        }
        if device.name.starts_with(|first: char| first.is_ascii_digit()) {
            needed.insert((0, 5, 0));
        }
    }
    needed.pop_last().unwrap_or((0, 3, 0))
}

#[cfg(test)]
mod tests;
