// SPDX-License-Identifier: Apache-2.0
//! Mounts by the new mount API: made detached, configured, and only then attached to a target found by descriptor.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use cgroup::{Cgroup, Shown};
use rustix::fs::{CWD, FileType, Mode, OFlags, PROC_SUPER_MAGIC, fstat, fstatfs, mkdirat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsconfig_reconfigure, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, fspick, open_tree, unmount,
};
use sys::mount::{ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY, Attributes, Propagation};

use super::files::{Files, attach};
use super::{StepError, copy_up};
use crate::plan::{self, CgroupHierarchy, MountOperation, MountSource};
use crate::prepare;
use crate::resolve::Leaf;

type Parameter<'a> = (&'a str, Option<&'a str>);

impl Files {
    pub(super) fn mount(
        &mut self,
        mount: &MountOperation,
        opened: Option<BorrowedFd<'_>>,
        cgroup: Option<&Cgroup>,
    ) -> Result<(), StepError> {
        self.forget_directory();
        let attached = match &mount.source {
            MountSource::FileSystem { .. } => self.new_file_system(mount)?,
            MountSource::Existing { parameters } => self.remount(mount, parameters)?,
            MountSource::Bind { opened: true, .. } => {
                let opened = opened.ok_or(StepError::NotProvided { what: "what is bound" })?;
                let tree = rustix::io::fcntl_dupfd_cloexec(opened, 3)
                    .map_err(|errno| sys::Error::new("fcntl(what is bound, F_DUPFD_CLOEXEC, 3)", errno))?;
                self.bind(mount, tree)?
            }
            MountSource::Bind { source, recursive, .. } => {
                let tree = host_tree(source, *recursive).map_err(|error| match error.errno() {
                    Errno::INVAL if !recursive => StepError::NotAlone { path: source.clone(), source: error },
                    _ => error.into(),
                })?;
                self.bind(mount, tree)?
            }
            MountSource::Inside { source, recursive, ids } => {
                let tree = self.inner_tree(source, *recursive)?;
                if let Some(ids) = ids {
                    let namespace = opened.ok_or(StepError::NotProvided { what: "the ids" })?;
                    sys::mount::map_ids(tree.as_fd(), ids.recursive, namespace)?;
                }
                self.bind(mount, tree)?
            }
            MountSource::Cgroup1 { hierarchies, namespace } => self.cgroup1(mount, hierarchies, *namespace, cgroup)?,
        };
        for (propagation, recursive) in &mount.propagation {
            let attributes = Attributes { propagation: Some(*propagation), ..Attributes::default() };
            sys::mount::setattr(attached.as_fd(), *recursive, &attributes)?;
        }
        Ok(())
    }

    fn new_file_system(&mut self, mount: &MountOperation) -> Result<OwnedFd, StepError> {
        let MountSource::FileSystem { kind, source, parameters, copy_up, otherwise } = &mount.source else {
            return Err(StepError::NotProvided { what: "a file system" });
        };
        let (kind, source) = (kind.as_str(), source.as_deref());
        let root = self.root()?;
        let mut parameters: Vec<Parameter<'_>> =
            parameters.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        let mode;
        let target = if matches!(kind, "proc" | "sysfs") {
            // The kernel's own interfaces are where they are expected, or nowhere.
            root.ensure_no_links(&mount.destination, Leaf::Directory)?
        } else {
            let existing = match root.open(&mount.destination, OFlags::PATH | OFlags::DIRECTORY) {
                Ok(existing) => Some(existing),
                Err(error) if error.errno() == Errno::NOENT => None,
                Err(error) => return Err(error.into()),
            };
            if let (Some(existing), "tmpfs") = (&existing, kind)
                && !parameters.iter().any(|(key, _)| *key == "mode")
            {
                // A tmpfs takes the place of a directory, and its permissions: /tmp stays 1777.
                mode = format!("{:o}", stat(existing)?.st_mode & 0o7777);
                parameters.push(("mode", Some(&mode)));
            }
            match existing {
                Some(existing) => existing,
                None => root.make(&mount.destination, Leaf::Directory)?,
            }
        };
        if kind != "proc" {
            refuse_procfs(target.as_fd(), &mount.destination)?;
        }
        let made = match (new_mount(kind, source, &parameters, mount.attributes.set), otherwise) {
            (Err(StepError::Call(error)), Some(path)) if error.errno() == Errno::PERM => {
                let tree = host_tree(path, true)?;
                let attributes = Attributes { set: mount.attributes.set, ..Attributes::default() };
                sys::mount::setattr(tree.as_fd(), true, &attributes)?;
                tree
            }
            (made, _) => made?,
        };
        if *copy_up {
            let owned = !parameters.iter().any(|(key, _)| matches!(*key, "uid" | "gid"));
            copy_up::copy_up(target.as_fd(), made.as_fd(), owned)?;
        }
        attach(&made, &target)?;
        if kind == "proc" && mount.destination == Path::new("/proc") {
            self.proc_mounted = true;
        }
        Ok(made)
    }

    /// A detached clone of what is at `path` in the container's root. The kernel's own interface is not to be had
    /// elsewhere, where no mask is.
    fn inner_tree(&self, path: &Path, recursive: bool) -> Result<OwnedFd, StepError> {
        let found = self.root()?.open(path, OFlags::PATH)?;
        refuse_procfs(found.as_fd(), path)?;
        let mut flags =
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
        if recursive {
            flags |= OpenTreeFlags::AT_RECURSIVE;
        }
        Ok(open_tree(&found, "", flags)
            .map_err(|errno| sys::Error::new(format!("open_tree({path:?} of the container, {flags:?})"), errno))?)
    }

    fn bind(&mut self, mount: &MountOperation, tree: OwnedFd) -> Result<OwnedFd, StepError> {
        set_attributes(tree.as_fd(), mount)?;
        let is_directory = FileType::from_raw_mode(stat(&tree)?.st_mode) == FileType::Directory;
        let leaf = if is_directory { Leaf::Directory } else { Leaf::File };
        let target = self.root()?.ensure(&mount.destination, leaf)?;
        let target_is_directory = FileType::from_raw_mode(stat(&target)?.st_mode) == FileType::Directory;
        if is_directory != target_is_directory {
            // Docker explains "not a directory" to its user (moby, `translateContainerdStartErr`).
            let expected = if is_directory {
                "a directory, as what is bound"
            } else {
                "a file, and what is bound is not a directory"
            };
            return Err(StepError::NotExpected { path: mount.destination.clone(), expected });
        }
        if !mount.destination.starts_with("/proc") {
            refuse_procfs(target.as_fd(), &mount.destination)?;
        }
        attach(&tree, &target)?;
        Ok(tree)
    }

    /// Changes what is mounted at the destination.
    fn remount(
        &mut self,
        mount: &MountOperation,
        parameters: &[(String, Option<String>)],
    ) -> Result<OwnedFd, StepError> {
        let existing = self.root()?.open(&mount.destination, OFlags::PATH)?;
        if !parameters.is_empty() {
            let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
            let call = || format!("fspick({}, \"\", FSPICK_CLOEXEC|FSPICK_EMPTY_PATH)", existing.as_raw_fd());
            let context = fspick(&existing, "", flags).map_err(|errno| sys::Error::new(call(), errno))?;
            for (key, value) in parameters {
                configure(&context, "remount", key, value.as_deref())?;
            }
            fsconfig_reconfigure(&context)
                .map_err(|errno| sys::Error::new("fsconfig(remount, FSCONFIG_CMD_RECONFIGURE)", errno))?;
        }
        set_attributes(existing.as_fd(), mount)?;
        Ok(existing)
    }

    /// The v1 hierarchies as directories of a tmpfs, which is read-only in the end if the mount is.
    fn cgroup1(
        &mut self,
        mount: &MountOperation,
        hierarchies: &[CgroupHierarchy],
        namespace: bool,
        cgroup: Option<&Cgroup>,
    ) -> Result<OwnedFd, StepError> {
        let root = self.root()?;
        let target = root.ensure_no_links(&mount.destination, Leaf::Directory)?;
        let attributes = mount.attributes.set;
        let ahead = cgroup.and_then(Cgroup::shown).filter(|shown| namespace && shown.attributes == attributes);
        let top = match ahead {
            Some(shown) => rustix::io::fcntl_dupfd_cloexec(&shown.tree, 3)
                .map_err(|errno| sys::Error::new("fcntl(cgroup, F_DUPFD_CLOEXEC, 3)", errno))?,
            None => new_cgroup_top(attributes)?,
        };
        attach(&top, &target)?;
        let own = if namespace { Vec::new() } else { own_cgroups()? };
        for hierarchy in hierarchies {
            if ahead.is_some_and(|shown| shown.has(&hierarchy.names())) {
                continue;
            }
            let name = hierarchy.directory();
            make_cgroup_directory(&top, hierarchy)?;
            let directory = root.open_no_links(&mount.destination.join(&name), OFlags::PATH | OFlags::DIRECTORY)?;
            if namespace {
                // What is the namespace's root is the container's cgroup. A mount of it is had by binding it, too, which
                // does not lock and walk the whole hierarchy as mounting it anew does.
                let bound = match cgroup {
                    Some(cgroup) => part_of_own(cgroup, hierarchy, attributes)?,
                    None => None,
                };
                let shown = bound.map_or_else(|| new_hierarchy(hierarchy, attributes), Ok)?;
                attach(&shown, &directory)?;
            } else {
                let path = own.iter().find(|(known, _)| known == hierarchy).map_or("/", |(_, path)| path.as_str());
                match prepare::host_cgroup(hierarchy, path) {
                    // Mounting a hierarchy anew from the host's own cgroup namespace sets the flags of the whole hierarchy,
                    // for all its mounts, and waits for the kernel's readers meanwhile.
                    Some(place) => attach(&part_of_host(&place, attributes)?, &directory)?,
                    None => {
                        let made = new_hierarchy(hierarchy, attributes)?;
                        attach(&made, &directory)?;
                        show_only(&root, &mount.destination.join(&name), &made, path)?;
                    }
                }
            }
        }
        if attributes & ATTR_RDONLY != 0 {
            sys::mount::setattr(top.as_fd(), false, &Attributes { set: ATTR_RDONLY, ..Attributes::default() })?;
        }
        Ok(top)
    }
}

/// What [`Files::cgroup1`] mounts for a container with a cgroup namespace and the usual attributes, of those hierarchies in
/// which the cgroup is already. Its top can still be written to.
///
/// # Errors
/// The kernel refuses: before Linux 6.15 nothing can be mounted where nothing is attached yet.
pub(crate) fn shown_ahead(cgroup: &Cgroup, hierarchies: &[CgroupHierarchy]) -> Result<Shown, StepError> {
    const USUAL: u64 = ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC | ATTR_RDONLY;
    let mut shown = Shown::new(new_cgroup_top(USUAL)?, USUAL);
    for hierarchy in hierarchies {
        let Some(part) = part_of_own(cgroup, hierarchy, USUAL)? else { continue };
        make_cgroup_directory(&shown.tree, hierarchy)?;
        let name = hierarchy.directory();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(&shown.tree, &name, flags, Mode::empty())
            .map_err(|errno| sys::Error::new(format!("openat(cgroup, {name:?}, O_PATH)"), errno))?;
        attach(&part, &directory)?;
        shown.add(&hierarchy.names());
    }
    Ok(shown)
}

/// The tmpfs with a directory for each hierarchy, none yet.
fn new_cgroup_top(attributes: u64) -> Result<OwnedFd, StepError> {
    new_mount("tmpfs", Some("cgroup"), &[("mode", Some("755"))], attributes & !ATTR_RDONLY)
}

/// Makes the hierarchy's directory there, and where the hierarchy is `cpu,cpuacct` the links `cpu` and `cpuacct` to it.
fn make_cgroup_directory(top: &OwnedFd, hierarchy: &CgroupHierarchy) -> Result<(), StepError> {
    let name = hierarchy.directory();
    mkdirat(top, &name, Mode::from_raw_mode(0o755))
        .map_err(|errno| sys::Error::new(format!("mkdirat(cgroup, {name:?}, 0755)"), errno))?;
    for controller in hierarchy.controllers.iter().filter(|_| hierarchy.controllers.len() > 1) {
        symlinkat(&name, top, controller)
            .map_err(|errno| sys::Error::new(format!("symlinkat({name:?}, cgroup, {controller:?})"), errno))?;
    }
    Ok(())
}

/// A detached clone of a file or directory of the host, with all that is mounted below it when `recursive`. Before Linux 6.15
/// there is no clone of what is attached nowhere: then it is that itself, and nobody else's any more.
pub(crate) fn host_tree(source: &Path, recursive: bool) -> sys::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let cloned = open_tree(CWD, source, flags);
    if matches!(cloned, Err(Errno::INVAL)) && plan::is_descriptor(source) {
        return rustix::fs::open(source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| sys::Error::new(format!("open({source:?}, O_PATH)"), errno));
    }
    cloned.map_err(|errno| {
        let recursive = if recursive { "|AT_RECURSIVE" } else { "" };
        let flags = format!("OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC{recursive}");
        sys::Error::new(format!("open_tree(AT_FDCWD, {source:?}, {flags})"), errno)
    })
}

/// A bind mount of a cgroup's directory on the host.
fn part_of_host(place: &Path, attributes: u64) -> Result<OwnedFd, StepError> {
    let part = open_tree(CWD, place, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
        .map_err(|errno| sys::Error::new(format!("open_tree(AT_FDCWD, {place:?}, OPEN_TREE_CLONE)"), errno))?;
    let attributes = Attributes { set: attributes, propagation: Some(Propagation::Private), ..Attributes::default() };
    sys::mount::setattr(part.as_fd(), false, &attributes)?;
    Ok(part)
}

/// The same of the container's own cgroup; `None` when it is not in that hierarchy, or what has its name in the mount
/// namespace that the container joined is something else.
fn part_of_own(cgroup: &Cgroup, hierarchy: &CgroupHierarchy, attributes: u64) -> Result<Option<OwnedFd>, StepError> {
    let Some((directory, place)) = cgroup.directory(&hierarchy.names()) else { return Ok(None) };
    let part = match part_of_host(&place, attributes) {
        Err(StepError::Call(error)) if error.errno() == Errno::NOENT => return Ok(None),
        part => part?,
    };
    let (found, own) = (stat(&part)?, stat(directory)?);
    Ok(((found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)).then_some(part))
}

/// Replaces the whole hierarchy attached at `place` by the part of it below `own`.
fn show_only(root: &crate::resolve::Root<'_>, place: &Path, whole: &OwnedFd, own: &str) -> Result<(), StepError> {
    let relative = own.trim_start_matches('/');
    let relative = if relative.is_empty() { "." } else { relative };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let part = open_tree(whole, relative, flags)
        .map_err(|errno| sys::Error::new(format!("open_tree(cgroup, {relative:?}, OPEN_TREE_CLONE)"), errno))?;
    // The whole is unmounted by the only name it has: its place below the root, entered by descriptor.
    rustix::process::fchdir(whole).map_err(|errno| sys::Error::new("fchdir(cgroup)", errno))?;
    unmount(".", UnmountFlags::DETACH).map_err(|errno| sys::Error::new("umount2(\".\", MNT_DETACH)", errno))?;
    rustix::process::chdir("/").map_err(|errno| sys::Error::new("chdir(\"/\")", errno))?;
    let directory = root.open_no_links(place, OFlags::PATH | OFlags::DIRECTORY)?;
    attach(&part, &directory)?;
    Ok(())
}

fn own_cgroups() -> Result<Vec<(CgroupHierarchy, String)>, StepError> {
    let text = std::fs::read_to_string("/proc/self/cgroup").map_err(|error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        sys::Error::new("read(\"/proc/self/cgroup\")", errno)
    })?;
    Ok(prepare::parse_hierarchies(&text))
}

fn new_hierarchy(hierarchy: &CgroupHierarchy, attributes: u64) -> Result<OwnedFd, StepError> {
    if hierarchy.controllers.is_empty() && hierarchy.name.is_none() {
        return new_mount("cgroup2", Some("cgroup"), &[], attributes);
    }
    let mut parameters: Vec<Parameter<'_>> =
        hierarchy.controllers.iter().map(|controller| (controller.as_str(), None)).collect();
    if let Some(name) = &hierarchy.name {
        // A hierarchy without controllers must say so, or the kernel would take all there are.
        parameters.push(("none", None));
        parameters.push(("name", Some(name)));
    }
    new_mount("cgroup", Some("cgroup"), &parameters, attributes)
}

/// A new, detached mount of a file system.
pub(crate) fn new_mount(
    kind: &str,
    source: Option<&str>,
    parameters: &[Parameter<'_>],
    attributes: u64,
) -> Result<OwnedFd, StepError> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|errno| sys::Error::new(format!("fsopen({kind:?}, FSOPEN_CLOEXEC)"), errno))?;
    for (key, value) in source.map(|source| ("source", Some(source))).iter().chain(parameters) {
        configure(&context, kind, key, *value)?;
    }
    fsconfig_create(&context)
        .map_err(|errno| sys::Error::new(format!("fsconfig({kind}, FSCONFIG_CMD_CREATE)"), errno))?;
    // The flags that `MOUNT_ATTR_…` knows fit in 32 bits.
    let flags = MountAttrFlags::from_bits_retain(u32::try_from(attributes).unwrap_or(0));
    let made = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags)
        .map_err(|errno| sys::Error::new(format!("fsmount({kind}, FSMOUNT_CLOEXEC, {attributes:#x})"), errno))?;
    Ok(made)
}

fn configure(context: &OwnedFd, kind: &str, key: &str, value: Option<&str>) -> Result<(), StepError> {
    let (done, call) = match value {
        Some(value) => (
            fsconfig_set_string(context, key, value),
            format!("fsconfig({kind}, FSCONFIG_SET_STRING, {key:?}, {value:?})"),
        ),
        None => (fsconfig_set_flag(context, key), format!("fsconfig({kind}, FSCONFIG_SET_FLAG, {key:?})")),
    };
    Ok(done.map_err(|errno| sys::Error::new(call, errno))?)
}

/// Gives a bind mount the attributes that its options say. Those that they only imply to be absent stay when the kernel
/// has locked them: a user namespace must not lose what whoever made it has set.
pub(crate) fn set_attributes(tree: BorrowedFd<'_>, mount: &MountOperation) -> Result<(), StepError> {
    let plan::Attributes { set, clear } = mount.recursive;
    if (set, clear) != (0, 0) {
        sys::mount::setattr(tree, true, &Attributes { set, clear, propagation: None })?;
    }
    let plan::Attributes { set, clear } = mount.attributes;
    if (set, clear, mount.implied) == (0, 0, 0) {
        return Ok(());
    }
    let with =
        |implied: u64| sys::mount::setattr(tree, false, &Attributes { set, clear: clear | implied, propagation: None });
    match with(mount.implied) {
        Err(error) if error.errno() == Errno::PERM && mount.implied != 0 => {
            Ok(with(mount.implied & !sys::mount::locked(tree)?)?)
        }
        other => Ok(other?),
    }
}

/// Nothing may be mounted over the kernel's own interface by way of a link: it could hide from the container's
/// programs, and from its masks, what they rely on.
pub(crate) fn refuse_procfs(target: BorrowedFd<'_>, destination: &Path) -> Result<(), StepError> {
    let statfs = fstatfs(target).map_err(|errno| sys::Error::new(format!("fstatfs({})", target.as_raw_fd()), errno))?;
    if statfs.f_type == PROC_SUPER_MAGIC {
        return Err(StepError::LeadsIntoProc { path: destination.to_owned() });
    }
    Ok(())
}

/// What is written to the kernel's own interface must be: anybody's file system may be mounted where it is expected.
pub(super) fn require_procfs(file: BorrowedFd<'_>, path: &Path) -> Result<(), StepError> {
    let statfs = fstatfs(file).map_err(|errno| sys::Error::new(format!("fstatfs({path:?})"), errno))?;
    if statfs.f_type == PROC_SUPER_MAGIC {
        return Ok(());
    }
    Err(StepError::NotExpected { path: path.to_owned(), expected: "on procfs" })
}

pub(crate) fn stat(fd: impl AsFd) -> sys::Result<rustix::fs::Stat> {
    fstat(&fd).map_err(|errno| sys::Error::new(format!("fstat({})", fd.as_fd().as_raw_fd()), errno))
}
