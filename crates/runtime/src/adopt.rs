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

/// Whom the launcher tells of the container while it is set up, where the plan asks for it.
#[derive(Clone, Copy)]
pub(crate) struct Told<'a> {
    /// Hooks.
    pub(crate) hooks: Option<&'a Context>,
    /// Who answers the calls of which the filter notifies.
    pub(crate) listener: Option<&'a Listener>,
}

/// The process that sets the container up, and what is done for it.
pub(crate) struct Ward<'a> {
    plan: &'a Plan,
    told: Told<'a>,
    pub(crate) child: Child,
    pub(crate) warnings: Vec<String>,
}

impl<'a> Ward<'a> {
    pub(crate) fn new(plan: &'a Plan, told: Told<'a>, child: Child) -> Ward<'a> {
        Ward { plan, told, child, warnings: Vec::new() }
    }

    /// Does what the process asks for.
    pub(crate) fn answer(&mut self, question: Question) -> Result<(), LaunchError> {
        match question {
            Question::Outside { stage, operation } => {
                let list = if stage { &self.plan.stage } else { &self.plan.operations };
                let unknown = || LaunchError::Listen(std::io::ErrorKind::InvalidData.into());
                let operation = list.get(operation).ok_or_else(unknown)?;
                self.warnings.extend(outside::carry_out(operation, &self.child, self.told.hooks)?);
                Ok(())
            }
            Question::Adopt { pid } => self.adopt(pid),
            Question::Listener { descriptor } => {
                self.told.listener.ok_or(LaunchError::NoListener)?.hand_over(&self.child, descriptor)
            }
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
