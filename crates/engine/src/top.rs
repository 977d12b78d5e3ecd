// SPDX-License-Identifier: Apache-2.0
//! `top`: the processes of a container.

use std::sync::Arc;

use runtime::processes::{self, Columns};

pub use runtime::processes::Listing;

use crate::Engine;
use crate::error::EngineError;

impl Engine {
    /// Lists the processes of a running container. `options` are those of ps(1) that choose columns; none mean `-ef`.
    ///
    /// # Errors
    /// No such container; it does not run; an option that is not understood.
    pub async fn top(self: &Arc<Self>, name: &str, options: &[&str]) -> Result<Listing, EngineError> {
        let container = self.container(name)?;
        let columns = Columns::parse(options).map_err(EngineError::PsOption)?;
        container.with_record(|record| match record.state.running() {
            Some(_) => Ok(()),
            None => {
                let (name, status) = (record.name.clone(), record.state.status());
                Err(EngineError::WrongState { name, status, verb: "list the processes of" })
            }
        })?;
        let engine = Arc::clone(self);
        self.blocking("list processes", move || {
            let cgroup = engine.cgroups.open(&engine.cgroup_of(&container))?;
            let listing = processes::list(&cgroup, &columns)?;
            container.tell("top", []);
            Ok(listing)
        })
        .await
    }
}
