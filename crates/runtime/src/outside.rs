// SPDX-License-Identifier: Apache-2.0
//! Carrying out, for a child in a user namespace, what it may not do itself ([`crate::plan::Outside`]).
//!
//! The child is the launcher's own and not collected yet, so its pid is nobody else's; its directory in `/proc` is
//! opened once all the same, and everything is reached through that.

use std::os::fd::{AsFd, OwnedFd};

use oci::runtime_spec::ContainerState;
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use sys::process::Child;

use crate::error::LaunchError;
use crate::hooks::Context;
use crate::id_helpers;
use crate::plan::{IdMapping, IdMaps, MapMethod, Operation, Outside};

/// What could not be had and is done without, for the user to read.
type Warning = Option<String>;

/// Carries out the operation for `child`.
pub(crate) fn carry_out(
    operation: &Operation,
    child: &Child,
    context: Option<&Context>,
) -> Result<Warning, LaunchError> {
    let failed = |source| LaunchError::Outside { operation: operation.to_string(), source };
    let Operation::Outside(outside) = operation else {
        return Err(failed(sys::Error::new("an operation that the child carries out itself", Errno::INVAL)));
    };
    let result = match outside {
        Outside::Hooks(hooks) => {
            let context =
                context.ok_or_else(|| failed(sys::Error::new("hooks without what they are told", Errno::INVAL)))?;
            context.run_outside(hooks, ContainerState::Creating, Some(child.pid))?;
            return Ok(None);
        }
        Outside::MapIds { maps, uids, gids } => map_ids(maps, *uids, *gids, child).map(|()| None),
        Outside::OomScoreAdj(score) => oom_score(*score, child).map_err(LaunchError::Call),
        Outside::Rlimit { name, resource, soft, hard } => {
            rlimit(name, *resource, *soft, *hard, child).map_err(LaunchError::Call)
        }
    };
    result.map_err(|error| match error {
        LaunchError::Call(source) => failed(source),
        other => other,
    })
}

/// The child's directory in `/proc`; still the child's after it was opened, or an error.
pub(crate) fn directory(child: &Child) -> sys::Result<OwnedFd> {
    let path = format!("/proc/{}", child.pid);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(&path, flags, Mode::empty())
        .map_err(|errno| sys::Error::new(format!("open({path:?}, O_PATH|O_DIRECTORY)"), errno))?;
    sys::process::pidfd_send_signal(child.pidfd.as_fd(), 0)?;
    Ok(opened)
}

/// Writes a file of the child in one piece, as the kernel wants for id maps.
fn write(directory: &OwnedFd, name: &str, text: &str) -> sys::Result<()> {
    let file = openat(directory, name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| sys::Error::new(format!("openat(/proc/PID, {name:?}, O_WRONLY)"), errno))?;
    rustix::io::write(&file, text.as_bytes())
        .map_err(|errno| sys::Error::new(format!("write({name:?}, {text:?})"), errno))?;
    Ok(())
}

/// Says which ids those of the child's user namespace are.
pub(crate) fn map_ids(maps: &IdMaps, uids: MapMethod, gids: MapMethod, child: &Child) -> Result<(), LaunchError> {
    let directory = directory(child)?;
    if gids == MapMethod::OwnId {
        write(&directory, "setgroups", "deny")?;
    }
    for (file, list, method) in [("uid_map", &maps.uids, uids), ("gid_map", &maps.gids, gids)] {
        match method {
            MapMethod::Written | MapMethod::OwnId => {
                let text = list.iter().map(IdMapping::line).collect::<String>();
                write(&directory, file, &text)?;
            }
            MapMethod::Helper => {
                let program = if file == "uid_map" { "newuidmap" } else { "newgidmap" };
                id_helpers::run(program, child.pid, list)?;
            }
        }
    }
    Ok(())
}

/// Lowering it needs `CAP_SYS_RESOURCE`, which a launcher may lack: the container then runs with what it has.
fn oom_score(score: i32, child: &Child) -> sys::Result<Warning> {
    match write(&directory(child)?, "oom_score_adj", &score.to_string()) {
        Err(error) if matches!(error.errno(), Errno::ACCESS | Errno::PERM) => {
            Ok(Some(format!("the OOM score stays as it is: {error}")))
        }
        other => other.map(|()| None),
    }
}

/// As far as the hard limit goes, where raising it is refused.
fn rlimit(name: &str, resource: Resource, soft: Option<u64>, hard: Option<u64>, child: &Child) -> sys::Result<Warning> {
    let pid = Pid::from_raw(child.pid);
    let call = |limit: &Rlimit| {
        let text = |limit: Option<u64>| limit.map_or("RLIM64_INFINITY".into(), |limit| limit.to_string());
        let (soft, hard) = (text(limit.current), text(limit.maximum));
        format!("prlimit64({}, {name}, {{rlim_cur={soft}, rlim_max={hard}}})", child.pid)
    };
    let set = |limit: Rlimit| {
        let error = call(&limit);
        prlimit(pid, resource, limit).map_err(|errno| sys::Error::new(error, errno))
    };
    match set(Rlimit { current: soft, maximum: hard }) {
        Ok(_) => Ok(None),
        Err(error) if error.errno() == Errno::PERM => {
            let most = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
            let least = |limit: Option<u64>| Some(limit.unwrap_or(u64::MAX).min(most)).filter(|l| *l != u64::MAX);
            set(Rlimit { current: least(soft), maximum: least(hard) })?;
            Ok(Some(format!("{name} is not raised: {error}")))
        }
        Err(error) => Err(error),
    }
}
