// SPDX-License-Identifier: Apache-2.0
//! `restore`: a container from a checkpoint, by CRIU.
//!
//! Its cgroup is made anew from the bundle's configuration; its processes, their memory, and what only its namespaces
//! held come from the images. The restored process is our child, as one that `run` makes.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use cgroup::Cgroup;
use oci::ContainerId;
use oci::runtime_spec::{ContainerState, LinuxNamespace, LinuxNamespaceType, Spec};
use rustix::io::Errno;

use super::error::CliError;
use super::flags::{Flag, Flags};
use super::log::Log;
use super::store::{Entry, Record, remove, replace, shares_pids, start_time};
use super::{Context, config, create, criu_flags, delete, foreground, hooks, time};
use crate::criu::{
    Criu, CriuError, Directory, Layout, Notice, Options, OwnMounts, Request, Session, Stage, Surroundings, externals,
    open_root, streams, succeeded,
};
use crate::hooks::Context as HookContext;
use crate::launch::absolute;
use crate::plan::{Hook, HookKind, Inputs, hooks as plan_hooks, plan};
use crate::prepare;

const FLAGS: [Flag; 9] = [
    Flag::value("console-socket"),
    Flag::value("bundle").short('b'),
    Flag::switch("detach").short('d'),
    Flag::value("pid-file"),
    Flag::switch("no-subreaper"),
    Flag::switch("no-pivot"),
    Flag::switch("lazy-pages"),
    Flag::value("lsm-profile"),
    Flag::value("lsm-mount-context"),
];

const LOG: &str = "restore.log";

/// The directory, below the container's own, where CRIU finds the root file system; on the host it stays empty.
const STAGE: &str = "criu-root";

/// CRIU's oldest version in which another security label than the saved one works.
const CHANGES_LABELS: u32 = 3_16_00;

pub(super) fn restore(context: &Context, args: Vec<OsString>, log: &mut Log) -> Result<u8, CliError> {
    let known: Vec<Flag> = criu_flags::SHARED.into_iter().chain(FLAGS).collect();
    let wish = Wish::read(&Flags::read(args, &known)?)?;
    let criu = Criu::find()?;
    if wish.options.lsm_profile.is_some() || wish.options.lsm_mount_context.is_some() {
        criu.needs(CHANGES_LABELS, "--lsm-profile and --lsm-mount-context")?;
    }
    let foreground = (!wish.detach).then(foreground::Foreground::prepare).transpose()?;
    let mounts = OwnMounts::enter()?;
    let entry = context.store.reserve(&wish.id)?;
    let made = make(&criu, &wish, &entry);
    // First of all: as long as we see the root mounted below the container's directory, removing that would empty it.
    mounts.leave()?;
    let restored = match made {
        Ok(restored) => restored,
        Err(error) => {
            let removed = entry.remove();
            hooks::poststop(&wish.id, &wish.bundle, &wish.spec, log);
            return Err(error.undone([removed]));
        }
    };
    let Some(foreground) = foreground else { return Ok(0) };
    let code = foreground.attend(restored.pidfd.as_fd(), restored.terminal.as_ref())?;
    delete::clean(&entry, Some(&restored.cgroup), None)?;
    hooks::poststop(&wish.id, &wish.bundle, &wish.spec, log);
    Ok(code)
}

/// What the flags ask for.
struct Wish {
    id: ContainerId,
    bundle: PathBuf,
    spec: Spec,
    options: Options,
    images: PathBuf,
    work: Option<PathBuf>,
    console: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    detach: bool,
}

impl Wish {
    fn read(flags: &Flags) -> Result<Wish, CliError> {
        if flags.switch("no-pivot") {
            return Err(CliError::Refused { flag: "no-pivot", reason: "CRIU restores mounts by pivot_root only" });
        }
        let given = flags.path("bundle").filter(|path| !path.as_os_str().is_empty());
        let bundle = absolute(&given.unwrap_or_else(|| PathBuf::from(".")))?;
        let config::Read { value: spec, .. } =
            config::read::<Spec>(&bundle.join("config.json"), config::Process::Within)?;
        let terminal = spec.process().as_ref().and_then(|process| process.terminal()).unwrap_or(false);
        let (console, detach) = (flags.path("console-socket"), flags.switch("detach"));
        if console.is_some() != (detach && terminal) {
            let expected = "--console-socket exactly with --detach and process.terminal";
            return Err(CliError::Usage { expected });
        }
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        let options = Options {
            lsm_profile: filled(flags.text("lsm-profile")?),
            lsm_mount_context: filled(flags.text("lsm-mount-context")?),
            log_file: LOG,
            evasive_devices: true,
            restore_as_sibling: true,
            ..criu_flags::options(flags, &spec)?
        };
        Ok(Wish {
            id: flags.id()?,
            options,
            images: criu_flags::images(flags),
            work: criu_flags::work(flags),
            console,
            pid_file: flags.path("pid-file"),
            detach,
            bundle,
            spec,
        })
    }
}

/// A container that lives again.
struct Restored {
    pidfd: OwnedFd,
    terminal: Option<OwnedFd>,
    cgroup: Cgroup,
}

/// What comes to be during the conversation.
struct Reborn {
    process: Option<(i32, OwnedFd)>,
    terminal: Option<OwnedFd>,
    /// The hooks that run when the namespaces are there, and what they are told.
    hooks: Vec<Hook>,
    told: HookContext,
}

/// All of it, or nothing is left.
fn make(criu: &Criu, wish: &Wish, entry: &Entry) -> Result<Restored, CliError> {
    let sockets = create::Sockets::connect(wish.console.as_deref(), None)?;
    let inputs =
        Inputs { bundle: wish.bundle.clone(), hierarchies: prepare::hierarchies(&wish.spec)?, ..Inputs::default() };
    let plan = plan(&wish.spec, &inputs).map_err(crate::LaunchError::from)?;
    let layout = Layout::of(&wish.spec, &plan)?;
    let cgroup = prepare::make_cgroup(&wish.spec, &wish.id, &mut None)?;
    let made = revive(criu, wish, entry, &layout, &cgroup).and_then(|reborn| {
        let (pid, pidfd) = reborn.process.ok_or(CriuError::NoProcess)?;
        remember(wish, entry, pid, &cgroup)?;
        sockets.hand_over(reborn.terminal.as_ref(), pidfd.as_fd())?;
        Ok((pidfd, reborn.terminal))
    });
    match made {
        Ok((pidfd, terminal)) => Ok(Restored { pidfd, terminal, cgroup }),
        Err(error) => {
            let removed = cgroup.kill().and_then(|()| cgroup.undo());
            let forgotten = wish.pid_file.as_deref().map_or(Ok(()), remove);
            Err(error.undone([removed.map_err(CliError::from), forgotten]))
        }
    }
}

fn revive(criu: &Criu, wish: &Wish, entry: &Entry, layout: &Layout, cgroup: &Cgroup) -> Result<Reborn, CliError> {
    // Opened among our own mounts: CRIU mounts things in its working directory.
    let images = Directory::open(&wish.images)?;
    let work = wish.work.as_deref().map(Directory::make).transpose()?;
    let place = entry.dir.join(STAGE);
    std::fs::create_dir(&place).map_err(CliError::file("make the directory", &place))?;
    let place = std::fs::canonicalize(&place).map_err(CliError::file("resolve", place))?;
    Stage { rootfs: &layout.root, place: &place, points: &layout.points }.set()?;
    let rootfs = open_root(&place)?;
    let mut inherited = externals::namespaces_to_restore(layout, criu)?;
    inherited.named.extend(streams::replaced(&images.path)?);
    let surroundings = Surroundings {
        program: criu.program(),
        tasks: cgroup.join_files()?,
        cgroup: cgroup.clone_into(),
        inherit: inherited.files,
        streams: true,
    };
    let session = Session::start(&surroundings)?;
    let options = Options {
        images_dir_fd: images.number(),
        work_dir_fd: work.as_ref().map(Directory::number),
        root: place.clone(),
        external_mounts: externals::mounts_to_restore(layout, &rootfs, &cgroup.path().to_string())?,
        inherit: inherited.named,
        join: layout.entered.clone(),
        cgroup_roots: externals::cgroup_roots(session.pid())?,
        ..wish.options.clone()
    };
    let mut reborn = Reborn::new(&wish.spec, HookContext::new(&wish.id, wish.bundle.clone(), &wish.spec))?;
    let answer = session.ask(&Request::Restore(options), &mut |notice, fds| reborn.notice(notice, fds));
    let log = work.as_ref().unwrap_or(&images).path.join(LOG);
    succeeded(answer?, "restore", log)?;
    unstage(&place)?;
    Ok(reborn)
}

/// The container has its own mount of the root by now, and the next call must find nothing here.
fn unstage(place: &Path) -> Result<(), CliError> {
    rustix::mount::unmount(place, rustix::mount::UnmountFlags::DETACH)
        .map_err(|errno| sys::Error::new(format!("umount2({place:?}, MNT_DETACH)"), errno))?;
    std::fs::remove_dir(place).map_err(CliError::file("remove", place))
}

impl Reborn {
    fn new(spec: &Spec, told: HookContext) -> Result<Reborn, CliError> {
        let list = |kind| plan_hooks(spec, kind).map_err(crate::LaunchError::from);
        let hooks = [list(HookKind::Prestart)?, list(HookKind::CreateRuntime)?].concat();
        Ok(Reborn { process: None, terminal: None, hooks, told })
    }

    /// A step of the restore.
    fn notice(&mut self, notice: &Notice, fds: Vec<OwnedFd>) -> Result<(), CriuError> {
        match notice.step.as_str() {
            "orphan-pts-master" => {
                self.terminal = Some(fds.into_iter().next().ok_or(CriuError::NoTerminal)?);
            }
            "setup-namespaces" if !self.hooks.is_empty() => {
                let ran = self.told.run_outside(&self.hooks, ContainerState::Creating, Some(notice.pid));
                ran.map_err(crate::LaunchError::Hook)?;
            }
            // It is our child, stopped: its number is its own until we have waited for it.
            "post-restore" => self.process = Some((notice.pid, sys::process::pidfd_open(notice.pid)?)),
            _ => {}
        }
        Ok(())
    }
}

fn remember(wish: &Wish, entry: &Entry, pid: i32, cgroup: &Cgroup) -> Result<(), CliError> {
    let record = Record {
        id: wish.id.clone(),
        pid,
        start_time: start_time(pid)?,
        bundle: wish.bundle.clone(),
        cgroup: cgroup.path().to_string(),
        created: time::rfc3339_now(),
        shares_pids: shares_pids(&wish.spec),
        scope: None,
        has_hooks: wish.spec.hooks().is_some(),
    };
    let config = serde_json::to_vec(&with_its_clocks(&wish.spec, pid)?).map_err(CliError::Format)?;
    entry.write(&record, &config)?;
    wish.pid_file.as_deref().map_or(Ok(()), |path| replace(path, pid.to_string().as_bytes()))
}

/// CRIU restores into a time namespace, so that the clocks go on from where they were. Whoever joins the container
/// must know of it.
fn with_its_clocks(spec: &Spec, pid: i32) -> Result<Spec, CliError> {
    let mut spec = spec.clone();
    let inode = |path: &str| match rustix::fs::stat(path) {
        Ok(metadata) => Ok(Some(metadata.st_ino)),
        // A kernel without time namespaces, or a process that has ended already.
        Err(Errno::NOENT | Errno::SRCH) => Ok(None),
        Err(errno) => Err(sys::Error::new(format!("stat({path:?})"), errno)),
    };
    let (Some(its), Some(ours)) = (inode(&format!("/proc/{pid}/ns/time"))?, inode("/proc/self/ns/time")?) else {
        return Ok(spec);
    };
    let linux = spec.linux_mut().as_mut().filter(|_| its != ours);
    if let Some(namespaces) = linux.and_then(|linux| linux.namespaces_mut().as_mut())
        && namespaces.iter().all(|namespace| namespace.typ() != LinuxNamespaceType::Time)
    {
        let mut time = LinuxNamespace::default();
        time.set_typ(LinuxNamespaceType::Time).set_path(None);
        namespaces.push(time);
    }
    Ok(spec)
}
