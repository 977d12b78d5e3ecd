// SPDX-License-Identifier: Apache-2.0
//! Speaks CRIU's protocol without knowing it: `criu swrk FD`, for tests. It writes the n-th request it gets, counted
//! over all its runs, to `request.n` in the directory that `SCRIPTED_CRIU` names, and answers with the content of
//! `answer.n`. Without one it ends, with exit code 3; after an answer that `last.n` stands beside, with 0.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use rustix::net::{RecvFlags, SendFlags, recv, send};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = PathBuf::from(std::env::var_os("SCRIPTED_CRIU").ok_or("no SCRIPTED_CRIU")?);
    let number = std::env::args().nth(2).ok_or("criu swrk FD")?;
    // Our own copy of it, so that nothing but the standard library takes a descriptor by its number.
    let socket = socket(number.parse()?)?;
    let mut request = vec![0; 1 << 16];
    let mut count = fs::read_dir(&directory)?
        .filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("request.")));
    let mut count = count.by_ref().count();
    loop {
        let (_, length) = recv(&socket, &mut request[..], RecvFlags::empty())?;
        if length == 0 {
            return Ok(());
        }
        fs::write(directory.join(format!("request.{count}")), &request[..length])?;
        let Ok(answer) = fs::read(directory.join(format!("answer.{count}"))) else { std::process::exit(3) };
        send(&socket, &answer, SendFlags::NOSIGNAL)?;
        if directory.join(format!("last.{count}")).exists() {
            return Ok(());
        }
        count += 1;
    }
}

/// Takes the descriptor over from this process itself (pidfd_getfd(2)).
fn socket(number: i32) -> Result<std::os::fd::OwnedFd, Box<dyn std::error::Error>> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    let socket = pidfd_getfd(&own, number, PidfdGetfdFlags::empty())?;
    assert!(socket.as_raw_fd() != number);
    Ok(socket)
}
