// SPDX-License-Identifier: Apache-2.0
//! Descriptors that the container's process inherits beyond the standard three: those of socket activation
//! (sd_listen_fds(3)), then as many as `--preserve-fds` says.

use oci::runtime_spec::Process;

use super::error::CliError;

/// Descriptors from number 3 on, all open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inherited {
    listening: u32,
    preserved: u32,
}

impl Inherited {
    /// Those of `--preserve-fds` alone, for `exec`.
    pub(super) fn preserved(preserved: u32) -> Result<Inherited, CliError> {
        Inherited { listening: 0, preserved }.check()
    }

    /// Looks for them. Whose sockets `LISTEN_FDS` means, `LISTEN_PID` says.
    pub(super) fn find(preserved: u32) -> Result<Inherited, CliError> {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
        let ours = number("LISTEN_PID") == Some(std::process::id());
        let listening = number("LISTEN_FDS").filter(|_| ours).unwrap_or(0);
        Inherited { listening, preserved }.check()
    }

    /// One that is not open would become something else: the next that is opened.
    fn check(self) -> Result<Inherited, CliError> {
        for number in 3..self.count().saturating_add(3) {
            if std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_err() {
                let what = if number < 3 + self.listening { "LISTEN_FDS" } else { "--preserve-fds" };
                return Err(CliError::NoDescriptor { what, number });
            }
        }
        Ok(self)
    }

    /// How many there are.
    pub(super) fn count(self) -> u32 {
        self.listening.saturating_add(self.preserved)
    }

    /// Whether there is something to [`tell`](Inherited::tell).
    pub(super) fn has_sockets(self) -> bool {
        self.listening > 0
    }

    /// Tells the container's first process of the sockets as it would be told outside.
    pub(super) fn tell(self, process: &mut Process) {
        let mut environment = process.env().clone().unwrap_or_default();
        environment.extend([format!("LISTEN_FDS={}", self.listening), "LISTEN_PID=1".into()]);
        process.set_env(Some(environment));
    }
}
