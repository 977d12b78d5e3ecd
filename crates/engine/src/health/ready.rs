// SPDX-License-Identifier: Apache-2.0
//! Readiness: the published ports of a container lead to it while it is ready, if it was made so.

use std::sync::Arc;

use network::Endpoint;

use crate::Engine;
use crate::container::{Container, Record};
use crate::error::EngineError;

impl Engine {
    /// Before a run begins, and when a daemon takes one over: ports lead nowhere as long as it is not known to be ready.
    pub(crate) fn hold_ports_back(&self, record: &Record, endpoints: &[Endpoint]) -> Result<(), EngineError> {
        if !record.waits_for_ready() {
            return Ok(());
        }
        for endpoint in endpoints {
            self.network.hold_back(endpoint, record.holds_ports_back())?;
        }
        Ok(())
    }

    /// Lets a running container's ports lead to it, or not, as it now is.
    pub(super) async fn publish_if_ready(self: &Arc<Self>, container: &Arc<Container>) {
        if !container.with_record(Record::waits_for_ready) {
            return;
        }
        let (engine, target) = (Arc::clone(self), Arc::clone(container));
        let changed = self.blocking("publish what is ready", move || {
            let record = target.record();
            let endpoints = record.state.running().map_or(&[][..], |running| &running.endpoints);
            engine.hold_ports_back(&record, endpoints)
        });
        if let Err(error) = changed.await {
            tracing::error!(container = %container.id, error = errors::chain(&error), "its ports lead where they led before");
        }
    }
}
