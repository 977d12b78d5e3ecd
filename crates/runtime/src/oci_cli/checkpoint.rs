// SPDX-License-Identifier: Apache-2.0
//! `checkpoint`: saves a running container's processes, by CRIU. Unless it is to go on running, the container is gone
//! then, as after `delete`: its id is free, to be restored under.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use oci::ContainerId;
use oci::runtime_spec::{LinuxNamespaceType, Spec};
use rustix::fs::OFlags;

use super::error::CliError;
use super::flags::{Flag, Flags};
use super::log::Log;
use super::store::{Entry, Record, Status};
use super::{Context, criu_flags, delete, hooks};
use crate::criu::{
    Criu, CriuError, Directory, Features, Layout, Options, PageServer, Request, Session, Surroundings, externals,
    open_root, streams, succeeded,
};
use crate::plan::{Inputs, plan};
use crate::prepare;

const FLAGS: [Flag; 8] = [
    Flag::value("parent-path"),
    Flag::switch("leave-running"),
    Flag::switch("tcp-skip-in-flight"),
    Flag::switch("link-remap"),
    Flag::switch("lazy-pages"),
    Flag::value("status-fd"),
    Flag::value("page-server"),
    Flag::switch("pre-dump"),
];

const LOG: &str = "dump.log";

/// From this version on CRIU tells us when its page server is ready; before, it writes to a descriptor itself.
const TELLS_READY: u32 = 3_15_00;

/// CRIU's oldest version that can freeze a cgroup of the unified hierarchy.
const FREEZES_V2: u32 = 3_14_00;

pub(super) fn checkpoint(context: &Context, args: Vec<OsString>, log: &mut Log) -> Result<u8, CliError> {
    let known: Vec<Flag> = criu_flags::SHARED.into_iter().chain(FLAGS).collect();
    let flags = Flags::read(args, &known)?;
    let id = flags.id()?;
    let (entry, record) = context.store.find(&id)?;
    let status = entry.status(&record)?;
    let refused = |status| CliError::State { id: id.to_string(), status, action: "checkpoint", expected: "running" };
    if matches!(status, Status::Created | Status::Stopped) {
        return Err(refused(status));
    }
    // From here on it is the process that was found running, whoever has its number later.
    let pidfd = record.pidfd()?.ok_or_else(|| refused(Status::Stopped))?;
    let spec = entry.spec()?;
    let wish = Wish::read(&flags, &spec)?;
    let criu = Criu::find()?;
    dump(&criu, wish, &record, &spec)?;
    if !(flags.switch("leave-running") || flags.switch("pre-dump")) {
        gone(&id, &pidfd, &record, &entry)?;
        hooks::poststop(&id, &record.bundle, &spec, log);
    }
    Ok(0)
}

/// CRIU has killed what it saved.
fn gone(id: &ContainerId, pidfd: &OwnedFd, record: &Record, entry: &Entry) -> Result<(), CliError> {
    delete::await_end(id, pidfd.as_fd())?;
    delete::clean(entry, record.cgroup()?.as_ref(), record.scope.as_ref())
}

/// What the flags ask for.
struct Wish {
    options: Options,
    images: PathBuf,
    work: Option<PathBuf>,
    pre_dump: bool,
    status_fd: Option<OwnedFd>,
}

impl Wish {
    fn read(flags: &Flags, spec: &Spec) -> Result<Wish, CliError> {
        let images = criu_flags::images(flags);
        let parent_image = flags.path("parent-path").filter(|path| !path.as_os_str().is_empty());
        let status_fd = flags.number("status-fd")?;
        if status_fd.is_some() && !flags.switch("lazy-pages") {
            let reason = "it tells when pages can be fetched, which needs --lazy-pages";
            return Err(CliError::Refused { flag: "status-fd", reason });
        }
        let options = Options {
            leave_running: flags.switch("leave-running"),
            tcp_skip_in_flight: flags.switch("tcp-skip-in-flight"),
            link_remap: flags.switch("link-remap"),
            page_server: flags.text("page-server")?.as_deref().map(page_server).transpose()?,
            parent_image,
            log_file: LOG,
            ..criu_flags::options(flags, spec)?
        };
        Ok(Wish {
            options,
            images,
            work: criu_flags::work(flags),
            pre_dump: flags.switch("pre-dump"),
            status_fd: status_fd.map(writable).transpose()?,
        })
    }
}

/// CRIU looks for the parent from inside the images' directory.
fn check_parent(images: &Path, parent: &Path) -> Result<(), CliError> {
    if parent.components().any(|part| matches!(part, Component::RootDir | Component::Prefix(_))) {
        let value = parent.display().to_string();
        let expected = "a path relative to --image-path";
        return Err(CliError::InvalidValue { flag: "parent-path", value, expected });
    }
    let path = images.join(parent);
    std::fs::read_dir(&path).map(drop).map_err(CliError::file("read the directory of --parent-path", path))
}

fn page_server(text: &str) -> Result<PageServer, CliError> {
    let invalid = || CliError::InvalidValue {
        flag: "page-server",
        value: text.to_owned(),
        expected: "ADDRESS:PORT, and [ADDRESS]:PORT for one with colons",
    };
    let (address, port) = text.rsplit_once(':').ok_or_else(invalid)?;
    let bare = address.strip_prefix('[').and_then(|address| address.strip_suffix(']'));
    let address = bare.or(Some(address).filter(|address| !address.contains(':')));
    let address = address.filter(|address| !address.is_empty()).ok_or_else(invalid)?;
    let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(invalid)?;
    Ok(PageServer { address: address.to_owned(), port })
}

fn writable(number: u32) -> Result<OwnedFd, CliError> {
    let fd = sys::fds::inherited(number)?;
    let flags =
        rustix::fs::fcntl_getfl(&fd).map_err(|errno| sys::Error::new(format!("fcntl({number}, F_GETFL)"), errno))?;
    if flags.intersects(OFlags::WRONLY | OFlags::RDWR) {
        return Ok(fd);
    }
    let value = number.to_string();
    Err(CliError::InvalidValue { flag: "status-fd", value, expected: "a descriptor that can be written to" })
}

fn dump(criu: &Criu, mut wish: Wish, record: &Record, spec: &Spec) -> Result<(), CliError> {
    if wish.pre_dump {
        criu.needs_features(Features { mem_track: true, lazy_pages: false })?;
    }
    if wish.options.lazy_pages {
        criu.needs_features(Features { mem_track: false, lazy_pages: true })?;
    }
    let images = Directory::make(&wish.images)?;
    wish.options.parent_image.as_deref().map(|parent| check_parent(&images.path, parent)).transpose()?;
    let work = wish.work.as_deref().map(Directory::make).transpose()?;
    let layout = layout(record, spec)?;
    let options = &mut wish.options;
    options.images_dir_fd = images.number();
    options.work_dir_fd = work.as_ref().map(Directory::number);
    options.pid = Some(record.pid);
    options.root = layout.root.clone();
    options.external = externals::namespaces_to_dump(&layout, criu)?;
    options.freeze_cgroup = freezer(criu, record)?;
    if !criu.is_at_least(TELLS_READY) {
        use std::os::fd::AsRawFd;
        options.status_fd = wish.status_fd.as_ref().map(AsRawFd::as_raw_fd);
    }
    let request = if wish.pre_dump {
        Request::PreDump(wish.options)
    } else {
        let root = open_root(Path::new(&format!("/proc/{}/root", record.pid)))?;
        wish.options.external_mounts = externals::mounts_to_dump(&layout, &root)?;
        let names = streams::names(record.pid)?;
        wish.options.external.extend(streams::external(&names));
        streams::write(&images.path, &names)?;
        Request::Dump(wish.options)
    };
    let mut status_fd = wish.status_fd;
    let surroundings = Surroundings { program: criu.program(), ..Surroundings::default() };
    let response = Session::start(&surroundings)?.ask(&request, &mut |notice, _| match notice.step.as_str() {
        "status-ready" => status_fd.take().map_or(Ok(()), tell_ready),
        _ => Ok(()),
    })?;
    let log = work.as_ref().unwrap_or(&images).path.join(LOG);
    succeeded(response, "checkpoint", log)?;
    Ok(())
}

fn tell_ready(status_fd: OwnedFd) -> Result<(), CriuError> {
    rustix::io::write(&status_fd, &[0]).map_err(|errno| sys::Error::new("write(status-fd, \"\\0\")", errno))?;
    Ok(())
}

/// What the container was made from, as CRIU must be told of it.
fn layout(record: &Record, spec: &Spec) -> Result<Layout, CliError> {
    let mut spec = spec.clone();
    // Its clocks are saved like the rest of it; the plan may not know such a namespace.
    if let Some(linux) = spec.linux_mut()
        && let Some(namespaces) = linux.namespaces_mut()
    {
        namespaces.retain(|namespace| namespace.typ() != LinuxNamespaceType::Time);
    }
    let inputs =
        Inputs { bundle: record.bundle.clone(), hierarchies: prepare::hierarchies(&spec)?, ..Inputs::default() };
    let plan = plan(&spec, &inputs).map_err(crate::LaunchError::from)?;
    Ok(Layout::of(&spec, &plan)?)
}

/// Where CRIU freezes the container's processes, so that none escapes it by forking. Without one it stops each.
fn freezer(criu: &Criu, record: &Record) -> Result<Option<PathBuf>, CliError> {
    let host = prepare::cgroup_host()?;
    let controllers: &[&str] = match host.mode() {
        cgroup::Mode::V2 if !criu.is_at_least(FREEZES_V2) => return Ok(None),
        cgroup::Mode::V2 => &[],
        cgroup::Mode::V1 | cgroup::Mode::Hybrid => &["freezer"],
    };
    Ok(host.place(controllers, &record.cgroup).filter(|path| path.is_dir()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_server_is_an_address_and_a_port() {
        let server = |address: &str, port| PageServer { address: address.into(), port };
        assert_eq!(page_server("10.0.0.1:99").unwrap(), server("10.0.0.1", 99));
        assert_eq!(page_server("[::1]:99").unwrap(), server("::1", 99));
        for text in ["", "10.0.0.1", ":99", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536", "::1:99", "[]:9"] {
            assert!(page_server(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_parent_is_below_the_images() {
        let images = tempfile::tempdir().unwrap();
        std::fs::create_dir(images.path().join("first")).unwrap();
        check_parent(images.path(), Path::new("first")).unwrap();
        check_parent(&images.path().join("first"), Path::new("../first")).unwrap();
        for parent in ["/first", "none"] {
            assert!(check_parent(images.path(), Path::new(parent)).is_err(), "{parent}");
        }
    }
}
