// SPDX-License-Identifier: Apache-2.0
//! `attach`: a client joins the streams of a running container.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use shim::Request;

use crate::container::{Container, Phase};
use crate::error::EngineError;
use crate::session::Session;
use crate::{Engine, frames};

/// Which streams a client joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttachOptions {
    /// Send to standard input.
    pub stdin: bool,
    /// Receive standard output, or the terminal's output.
    pub stdout: bool,
    /// Receive standard error.
    pub stderr: bool,
}

impl Engine {
    /// Joins the streams of a container. One that does not run yet is joined from its next start on, so that no output
    /// is missed.
    ///
    /// # Errors
    /// No such container; another client waits for its start already.
    pub async fn attach(self: &Arc<Self>, name: &str, options: AttachOptions) -> Result<Session, EngineError> {
        let container = self.container(name)?;
        let turn = container.lifecycle.lock().await;
        if container.with_record(|record| record.state.running().is_none()) {
            return wait_for_start(&container);
        }
        drop(turn);
        let AttachOptions { stdin, stdout, stderr } = options;
        let dir = self.shim_dir(&container.id);
        let request = Request::Attach { stdin, stdout, stderr };
        let stream = self.blocking("attach", move || Ok(shim::connect(&dir, &request)?)).await?;
        container.tell("attach", []);
        Ok(Session::of_container(frames::adopt(stream)?, container))
    }

    /// Starts a container and joins its streams from the first byte on.
    ///
    /// # Errors
    /// Those of `start`; it runs already.
    pub async fn start_attached(self: &Arc<Self>, name: &str) -> Result<Session, EngineError> {
        let container = self.container(name)?;
        let session = {
            let _turn = container.lifecycle.lock().await;
            if container.with_record(|record| record.state.running().is_some()) {
                let name = container.with_record(|record| record.name.clone());
                return Err(EngineError::WrongState { name, status: "running", verb: "start" });
            }
            wait_for_start(&container)?
        };
        self.start(container.id.as_str()).await?;
        Ok(session)
    }
}

/// A session that begins with the container's next start. The caller has the turn.
fn wait_for_start(container: &Arc<Container>) -> Result<Session, EngineError> {
    let (ours, theirs) = UnixStream::pair().map_err(EngineError::io("make a socket pair for", &container.dir))?;
    if !container.offer(theirs) {
        return Err(EngineError::WrongState {
            name: container.with_record(|record| record.name.clone()),
            status: "waited for by another client",
            verb: "attach to",
        });
    }
    // What ended before is not what this session waits for. Who waits for the end of one that is about to be started again
    // goes on doing so.
    if !container.with_record(|record| record.state.is_active()) {
        container.announce(Phase::Idle);
    }
    container.tell("attach", []);
    Ok(Session::of_container(frames::adopt(ours)?, Arc::clone(container)))
}
