// SPDX-License-Identifier: Apache-2.0
//! The process that a launcher waits for: the one it made, or the one that this one made in its place.

use std::os::fd::AsFd;

use rustix::process::{WaitId, WaitIdOptions, waitid};
use sys::process::Child;

use crate::error::LaunchError;
use crate::hooks::Context;
use crate::listener::Listener;
use crate::message::Question;
use crate::outside;
use crate::plan::Plan;

/// The process that sets the container up, and what is done for it.
pub(crate) struct Ward<'a> {
    plan: &'a Plan,
    /// What hooks are told.
    context: Option<&'a Context>,
    /// Who is given the listener of a filter that notifies.
    listener: Option<&'a Listener>,
    pub(crate) child: Child,
    pub(crate) warnings: Vec<String>,
}

impl<'a> Ward<'a> {
    pub(crate) fn new(
        plan: &'a Plan,
        child: Child,
        context: Option<&'a Context>,
        listener: Option<&'a Listener>,
    ) -> Ward<'a> {
        Ward { plan, context, listener, child, warnings: Vec::new() }
    }

    /// Does what the process asks for.
    pub(crate) fn answer(&mut self, question: Question) -> Result<(), LaunchError> {
        match question {
            Question::Outside { stage, operation } => {
                let list = if stage { &self.plan.stage } else { &self.plan.operations };
                let unknown = || LaunchError::Listen(std::io::ErrorKind::InvalidData.into());
                let operation = list.get(operation).ok_or_else(unknown)?;
                self.warnings.extend(outside::carry_out(operation, &self.child, self.context)?);
                Ok(())
            }
            Question::Listener { descriptor } => {
                self.listener.ok_or(LaunchError::NoListener)?.hand_over(&self.child, descriptor)
            }
            Question::Adopt { pid } => self.adopt(pid),
        }
    }

    /// Takes the sibling of the intermediate process as the child. Nobody else has its number: it is ours, and not
    /// collected.
    fn adopt(&mut self, pid: i32) -> Result<(), LaunchError> {
        let pidfd = sys::process::pidfd_open(pid)?;
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::PidFd(pidfd.as_fd()), look)
            .map_err(|errno| sys::Error::new(format!("waitid(pidfd of {pid}, WEXITED|WNOHANG|WNOWAIT)"), errno))?;
        let stage = std::mem::replace(&mut self.child, Child { pid, pidfd });
        rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(stage.pidfd.as_fd()), WaitIdOptions::EXITED))
            .map_err(|errno| sys::Error::new(format!("waitid(pidfd of {}, WEXITED)", stage.pid), errno))?;
        Ok(())
    }
}
