// SPDX-License-Identifier: Apache-2.0
//! Where the container stands whose log it is: all that readers and senders need to know of its life.

/// Whether more may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It is not running, and may be started.
    Idle,
    /// It is running, or about to be started again by its policy.
    Writing,
    /// It has ended.
    Ended,
    /// It is no more, and its log will not be for long.
    Removed,
}

/// Tells where a container stands, and of changes.
pub trait Life: Send + 'static {
    /// Where it stands now. Of what happened before this call, [`Life::changed`] does not tell any more.
    fn stage(&mut self) -> Stage;

    /// Waits for a change. `false`: there will be none, since the container is gone. A call that is given up
    /// misses nothing.
    fn changed(&mut self) -> impl Future<Output = bool> + Send;
}
