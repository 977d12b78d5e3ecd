// SPDX-License-Identifier: Apache-2.0
//! How a copy is told to end: what waits is woken, what reads comes to an end, and everything half-made is taken back.

use std::sync::Arc;

use tokio::sync::watch;

/// Tells a copy to end. Clones tell the same copy.
#[derive(Debug, Clone)]
pub struct Stop(Arc<watch::Sender<bool>>);

impl Default for Stop {
    fn default() -> Stop {
        Stop(Arc::new(watch::Sender::new(false)))
    }
}

impl Stop {
    /// Ends the copy: it fails soon with [`crate::TransferError::Stopped`].
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        *self.0.borrow()
    }

    pub(crate) async fn stopped(&self) {
        // The sender is in `self`, so it is not gone while this waits.
        let _ = self.0.subscribe().wait_for(|stopped| *stopped).await;
    }
}
