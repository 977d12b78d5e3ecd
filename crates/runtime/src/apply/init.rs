// SPDX-License-Identifier: Apache-2.0
//! The container's first process becomes an init ([`crate::init`]), and a child of it the command.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::io::FdFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use sys::process::CloneArgs;

use super::{Child, StepError, refused};
use crate::init;
use crate::message::Message;
use crate::plan::Operation;
use errors::Report;

impl Child<'_> {
    /// Makes the command's process, and becomes the init that it waits for. Returns only what failed; the command's process
    /// then ends with this one, which is the first of its pid namespace, or finds the socket broken off.
    pub(super) fn become_init(&mut self) -> Result<Infallible, StepError> {
        let program = self.init.take().ok_or(StepError::NotProvided { what: "the init" })?;
        let (theirs, ours) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|errno| sys::Error::new("socketpair(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC)", errno))?;
        let command = sys::process::clone_again(CloneArgs::default(), || self.become_command(&theirs, &ours))?;
        let number = command.pid.to_ne_bytes();
        rustix::io::write(&theirs, &number).map_err(|errno| sys::Error::new("write(init, the command)", errno))?;
        drop(theirs);
        let socket = sys::fds::place(ours.as_fd(), init::SOCKET)?;
        rustix::io::fcntl_setfd(&socket, FdFlags::empty())
            .map_err(|errno| sys::Error::new(format!("fcntl({}, F_SETFD, 0)", socket.as_raw_fd()), errno))?;
        // What the command ignores is its own matter, and the init hears of every signal by waiting for it.
        sys::signal::reset_ignored();
        sys::signal::block_all()?;
        let arguments = [CString::from(init::PROGRAM), c"--".into()].into_iter();
        let arguments = arguments.chain(self.prepared.program.arguments.strings().iter().cloned()).collect();
        let mut environment = self.prepared.program.environment.clone();
        environment.extend(self.home.clone());
        let error = sys::exec::execve_fd(
            program.as_fd(),
            &sys::exec::StringList::new(arguments),
            &sys::exec::StringList::new(environment),
        );
        Err(error.into())
    }

    /// The command's process: waits for its init, and executes the command. Returns, with an exit code, only what failed
    /// and was reported.
    fn become_command(&mut self, socket: &OwnedFd, inits: &OwnedFd) -> i32 {
        let result = sys::fds::close(inits.as_fd())
            .map_err(StepError::from)
            .and_then(|()| self.own_group())
            .and_then(|()| await_init(socket))
            .and_then(|()| self.execute());
        let error = match result {
            Err(source) => refused(&Operation::Init, source),
            Ok(never) => match never {},
        };
        self.tell(&Message::Failed(Report::from(&error)));
        127
    }

    /// What is typed at a terminal concerns the command and not its init.
    fn own_group(&self) -> Result<(), StepError> {
        rustix::process::setpgid(None, None).map_err(|errno| sys::Error::new("setpgid(0, 0)", errno))?;
        if self.prepared.console.is_some() {
            rustix::termios::tcsetpgrp(rustix::stdio::stdin(), rustix::process::getpgrp())
                .map_err(|errno| sys::Error::new("tcsetpgrp(0, getpgrp())", errno))?;
        }
        Ok(())
    }
}

/// Waits until the init says that it is ready.
fn await_init(socket: &OwnedFd) -> Result<(), StepError> {
    let mut byte = [0];
    match rustix::io::retry_on_intr(|| rustix::io::read(socket, &mut byte)) {
        Ok(0) => Err(StepError::ParentGone),
        Ok(_) => Ok(()),
        Err(errno) => Err(sys::Error::new("read(init, 1)", errno).into()),
    }
}
