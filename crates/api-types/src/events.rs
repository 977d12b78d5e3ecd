// SPDX-License-Identifier: Apache-2.0
//! What `GET /events` answers with, a line of JSON for each event.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// That something happened. Docker's message with the fields of all its versions: older clients read `status`, `id` and
/// `from`, newer ones `Type`, `Action` and `Actor`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventMessage {
    /// The action again.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// The actor's id again.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The image of a container.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// To what kind of thing it happened: `container`, `image`, `network` or `volume`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// What happened.
    #[serde(rename = "Action")]
    pub action: String,
    /// To what.
    #[serde(rename = "Actor")]
    pub actor: EventActor,
    /// Always `local`: there is no cluster.
    #[serde(default)]
    pub scope: String,
    /// When, in seconds since the epoch.
    #[serde(default)]
    pub time: i64,
    /// When, in nanoseconds since the epoch.
    #[serde(default, rename = "timeNano")]
    pub time_nano: i64,
}

/// To what an event happened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventActor {
    /// Its id, or an image's name.
    #[serde(rename = "ID")]
    pub id: String,
    /// What is said of it: labels, its name, and what belongs to the event.
    #[serde(rename = "Attributes", default)]
    pub attributes: BTreeMap<String, String>,
}
