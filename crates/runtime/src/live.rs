// SPDX-License-Identifier: Apache-2.0
//! Mounts of a container that runs: made where the caller is and attached nowhere, put into the container by a thread that
//! visits its mount namespace, and taken out again.
//!
//! Nothing of the container's is executed, and no path of it is walked outside of its root: a target is found by descriptor
//! in the root of the visited namespace, and the mount goes to that descriptor, wherever its name leads by then.
//! A mount is known again by its number, which the kernel gives it when it is made and which it keeps where it is
//! attached.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use errors::{Classify, Kind};
use oci::runtime_spec::Mount;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, StatxAttributes, StatxFlags, fchmod, fstatfs, makedev, open, openat, statx,
};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, UnmountFlags, open_tree, unmount};
use rustix::process::fchdir;
use sys::mount::{ATTR_RDONLY, Attributes};

use crate::apply::{ApplyError, StepError, attach, new_mount, place_of, refuse_procfs, set_attributes, stat};
use crate::plan::{self, MountOperation, MountSource, PlanError};
use crate::resolve::{Leaf, Root};

/// `TMPFS_MAGIC` (linux/magic.h).
const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;
/// How often a mount is looked for anew that was moved while it was looked for.
const MAX_RACES: usize = 64;

/// Why a running container's mounts were not changed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct LiveMountError(#[from] Failure);

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Apply(Box<ApplyError>),
    /// Only what can be made in the host's mount namespace can be put into another.
    #[error("a mount of type {0:?} cannot be put into a container that runs")]
    Type(String),
}

impl Classify for LiveMountError {
    fn kind(&self) -> Kind {
        match &self.0 {
            Failure::Plan(error) => error.kind(),
            Failure::Apply(error) => error.kind(),
            Failure::Type(_) => Kind::Unsupported,
        }
    }

    fn hint(&self) -> Option<String> {
        match &self.0 {
            Failure::Plan(error) => error.hint(),
            Failure::Apply(error) => error.hint(),
            Failure::Type(_) => None,
        }
    }
}

fn failed(operation: String) -> impl FnOnce(StepError) -> LiveMountError {
    move |source| LiveMountError(Failure::Apply(Box::new(ApplyError::Operation { operation, source })))
}

/// A mount that is attached nowhere.
#[derive(Debug)]
#[must_use = "it goes when it is dropped before it is attached"]
pub struct Detached {
    tree: OwnedFd,
    destination: PathBuf,
    leaf: Leaf,
    /// A tmpfs without a mode takes that of the directory that it covers.
    takes_mode: bool,
}

impl Detached {
    /// Makes a mount as a start of the container would. `bound` is what a bind mount shows; its `source` is not looked at.
    ///
    /// # Errors
    /// Options that cannot be, or that the kernel refuses.
    pub fn make(mount: &Mount, bound: Option<BorrowedFd<'_>>) -> Result<Detached, LiveMountError> {
        let operation = plan::mount(mount).map_err(Failure::from)?;
        let make = || match &operation.source {
            MountSource::Bind { recursive, .. } => {
                let bound = bound.ok_or(StepError::NotProvided { what: "what is bound" })?;
                bind(&operation, bound, *recursive)
            }
            MountSource::FileSystem { kind, source, parameters, .. } => {
                let parameters: Vec<_> =
                    parameters.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
                new_mount(kind, source.as_deref(), &parameters, operation.attributes.set)
            }
            _ => Err(StepError::NotProvided { what: "a kind of mount that can be made outside" }),
        };
        if !matches!(operation.source, MountSource::Bind { .. } | MountSource::FileSystem { .. }) {
            return Err(Failure::Type(mount.typ().clone().unwrap_or_default()).into());
        }
        let describe = || format!("make the mount for {}", operation.destination.display());
        let tree = make().map_err(failed(describe()))?;
        for (propagation, recursive) in &operation.propagation {
            let attributes = Attributes { propagation: Some(*propagation), ..Attributes::default() };
            sys::mount::setattr(tree.as_fd(), *recursive, &attributes).map_err(|e| failed(describe())(e.into()))?;
        }
        let found = Seen::of(&tree).map_err(|error| failed(describe())(error.into()))?;
        let leaf = if found.is_directory { Leaf::Directory } else { Leaf::File };
        Ok(Detached { takes_mode: takes_mode(&operation.source), tree, destination: operation.destination, leaf })
    }

    /// The number by which the kernel knows the mount.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn id(&self) -> Result<u64, LiveMountError> {
        mount_id(&self.tree).map_err(|error| failed(self.describe())(error.into()))
    }

    /// Shows what it shows with the ids of a user namespace.
    ///
    /// # Errors
    /// The file system cannot.
    pub fn map_ids(&self, namespace: BorrowedFd<'_>) -> Result<(), LiveMountError> {
        sys::mount::map_ids(self.tree.as_fd(), false, namespace).map_err(|error| failed(self.describe())(error.into()))
    }

    /// Looks at its destination, if that is there: returns when whoever serves its file system has answered.
    pub fn look(&self) {
        // What is wrong with it is found when it is attached.
        if let Ok(root) = root()
            && let Ok(found) = Root::new(root.as_fd()).open(&self.destination, OFlags::PATH)
        {
            let _ = stat(&found);
        }
    }

    /// Attaches it at its destination in the root of the calling thread's mount namespace, which is the container's. What is
    /// missing there of the path is made, as at a start; by the user and group `owner`, where the container's root is not
    /// the host's.
    ///
    /// # Errors
    /// The destination is of another kind, is the root or the kernel's own interface, or cannot be made.
    pub fn attach(&self, owner: Option<(u32, u32)>) -> Result<(), LiveMountError> {
        self.try_attach(owner).map_err(failed(self.describe()))
    }

    fn describe(&self) -> String {
        format!("mount {}", self.destination.display())
    }

    fn try_attach(&self, owner: Option<(u32, u32)>) -> Result<(), StepError> {
        let root = root()?;
        let was_there = Root::new(root.as_fd()).open(&self.destination, OFlags::PATH).is_ok();
        let target = {
            let _acting = owner.map(|(uid, gid)| sys::file_ids::act_as(uid, gid)).transpose()?;
            self.target(&root)?
        };
        let (found, own) = (Seen::of(&target)?, Seen::of(&root)?);
        // By a link, for its text says otherwise. Who is in the namespace would go on in the root that is covered.
        if found == own {
            return Err(StepError::LeadsToRoot { path: self.destination.clone() });
        }
        refuse_procfs(target.as_fd(), &self.destination)?;
        if found.is_directory != (self.leaf == Leaf::Directory) {
            let expected = match self.leaf {
                Leaf::Directory => "a directory, as what is mounted",
                Leaf::File => "a file, and what is mounted is not a directory",
            };
            return Err(StepError::NotExpected { path: self.destination.clone(), expected });
        }
        if self.takes_mode && was_there {
            let mode = Mode::from_raw_mode(stat(&target)?.st_mode & 0o7777);
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            openat(&self.tree, ".", flags, Mode::empty())
                .and_then(|tree| fchmod(tree, mode))
                .map_err(|errno| sys::Error::new("fchmod(tmpfs)", errno))?;
        }
        Ok(attach(&self.tree, &target)?)
    }

    fn target(&self, root: &OwnedFd) -> Result<OwnedFd, StepError> {
        let within = Root::new(root.as_fd());
        match within.ensure(&self.destination, self.leaf) {
            Err(error) if error.errno() == Errno::ROFS && self.is_missing_in_root(root)? => {
                // A read-only root is a mount that is, of a file system that is not: a start would have made it, too.
                let flags =
                    OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
                let writable = open_tree(root, "", flags)
                    .map_err(|errno| sys::Error::new("open_tree(the container's root, OPEN_TREE_CLONE)", errno))?;
                sys::mount::setattr(
                    writable.as_fd(),
                    false,
                    &Attributes { clear: ATTR_RDONLY, ..Attributes::default() },
                )?;
                Root::new(writable.as_fd()).ensure(&self.destination, self.leaf)?;
                Ok(within.open(&self.destination, OFlags::PATH)?)
            }
            found => Ok(found?),
        }
    }

    /// Whether the deepest directory that there is of the destination is the root mount's own.
    fn is_missing_in_root(&self, root: &OwnedFd) -> Result<bool, StepError> {
        for above in self.destination.ancestors().skip(1) {
            match Root::new(root.as_fd()).open(above, OFlags::PATH | OFlags::DIRECTORY) {
                Ok(found) => return Ok(mount_id(&found)? == mount_id(root)?),
                Err(error) if error.errno() == Errno::NOENT => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}

/// A mount that was taken out, as it was, with all that was mounted below it.
#[derive(Debug)]
#[must_use = "it cannot be put back once it is dropped"]
pub struct TakenOut {
    tree: OwnedFd,
    at: PathBuf,
}

impl TakenOut {
    /// Puts it back where it was; its number is another one from then on. In the mount namespace that it came from.
    ///
    /// # Errors
    /// What it was mounted on is gone.
    pub fn put_back(&self) -> Result<u64, LiveMountError> {
        let put = || -> Result<u64, StepError> {
            let root = root()?;
            let target = Root::new(root.as_fd()).open_no_links(&self.at, OFlags::PATH)?;
            attach(&self.tree, &target)?;
            Ok(mount_id(&self.tree)?)
        };
        put().map_err(failed(format!("put back what was mounted on {}", self.at.display())))
    }
}

/// How a mount is known again that shall be taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// By its number, wherever it is by now.
    Number(u64),
    /// By where it was mounted at the start, and by the file or directory that it shows.
    Shows {
        /// Where, inside the container.
        destination: PathBuf,
        /// The number of the file system's device.
        device: u64,
        /// The number of the file or directory in it.
        inode: u64,
    },
    /// A tmpfs, by where it was mounted at the start.
    Tmpfs {
        /// Where, inside the container.
        destination: PathBuf,
    },
}

impl Known {
    /// Known by where it was mounted at the start, and by what it shows, which is open.
    ///
    /// # Errors
    /// The kernel does not say what that is.
    pub fn shows(destination: PathBuf, what: impl AsFd) -> Result<Known, LiveMountError> {
        let seen = Seen::of(what)
            .map_err(|error| failed(format!("look at what is mounted on {}", destination.display()))(error.into()))?;
        Ok(Known::Shows { destination, device: seen.device, inode: seen.inode })
    }
}

/// What a visit to a container's mount namespace needs of the outside.
#[derive(Debug)]
pub struct Visit {
    /// The caller's `/proc`: the thread's mounts are read there, and unmounted by the names of its descriptors, whatever
    /// their paths are.
    proc: OwnedFd,
}

impl Visit {
    /// To be called before the thread enters the namespace, whose `/proc` is another.
    ///
    /// # Errors
    /// There is no `/proc`.
    pub fn prepare() -> Result<Visit, LiveMountError> {
        let proc =
            open("/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| {
                failed("see the host's mounts".to_owned())(sys::Error::new("open(\"/proc\")", errno).into())
            })?;
        Ok(Visit { proc })
    }

    /// Takes a mount out of the calling thread's mount namespace, with all below it; `None` if it is not there any more.
    /// Processes that have a file of it open, or a copy of it in a mount namespace of their own, keep that.
    ///
    /// # Errors
    /// At its place is something else than it; the kernel refuses.
    pub fn take_out(&self, known: &Known) -> Result<Option<TakenOut>, LiveMountError> {
        let describe = match known {
            Known::Number(number) => format!("unmount the mount {number}"),
            Known::Shows { destination, .. } | Known::Tmpfs { destination } => {
                format!("unmount {}", destination.display())
            }
        };
        self.try_take_out(known).map_err(failed(describe))
    }

    /// Whether a mount is in the calling thread's mount namespace.
    ///
    /// # Errors
    /// The mounts cannot be read.
    pub fn has(&self, known: &Known) -> Result<bool, LiveMountError> {
        let look = || match known {
            Known::Number(number) => Ok(self.place_of(*number)?.is_some()),
            Known::Shows { destination, .. } | Known::Tmpfs { destination } => {
                match started(&root()?, destination, known) {
                    Err(StepError::Covered { .. }) => Ok(false),
                    found => Ok(found?.is_some()),
                }
            }
        };
        look().map_err(failed("look for a mount".to_owned()))
    }

    /// Looks at the way to a mount: returns when whoever serves a file system on it has answered. What is mounted there
    /// itself is not asked: that it hangs may be why it shall go.
    pub fn look_at(&self, known: &Known) {
        // What is wrong is found when it is taken out.
        let _ = self.locate(known);
    }

    /// A mount in the calling thread's mount namespace, and where it is.
    fn locate(&self, known: &Known) -> Result<Option<(OwnedFd, PathBuf)>, StepError> {
        let root = root()?;
        match known {
            Known::Number(number) => self.find(&root, *number),
            Known::Shows { destination, .. } | Known::Tmpfs { destination } => started(&root, destination, known),
        }
    }

    fn try_take_out(&self, known: &Known) -> Result<Option<TakenOut>, StepError> {
        let Some((mount, at)) = self.locate(known)? else { return Ok(None) };
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH
            | OpenTreeFlags::AT_RECURSIVE;
        let tree = open_tree(&mount, "", flags)
            .map_err(|errno| sys::Error::new(format!("open_tree({at:?}, OPEN_TREE_CLONE|AT_RECURSIVE)"), errno))?;
        fchdir(&self.proc).map_err(|errno| sys::Error::new("fchdir(/proc)", errno))?;
        let name = format!("thread-self/fd/{}", mount.as_raw_fd());
        unmount(&name, UnmountFlags::DETACH)
            .map_err(|errno| sys::Error::new(format!("umount2({name:?}, MNT_DETACH)"), errno))?;
        Ok(Some(TakenOut { tree, at }))
    }

    /// The mount of this number, and where it is.
    fn find(&self, root: &OwnedFd, number: u64) -> Result<Option<(OwnedFd, PathBuf)>, StepError> {
        for _ in 0..MAX_RACES {
            let Some(at) = self.place_of(number)? else { return Ok(None) };
            match Root::new(root.as_fd()).open_no_links(&at, OFlags::PATH) {
                Ok(found) if mount_id(&found)? == number => return Ok(Some((found, at))),
                // Something lies on top of it; or it was moved, or has gone, since its place was read.
                Ok(_) if self.place_of(number)?.as_ref() == Some(&at) => return Err(StepError::Covered { path: at }),
                Ok(_) => {}
                Err(error) if matches!(error.errno(), Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StepError::Moving)
    }

    fn place_of(&self, number: u64) -> Result<Option<PathBuf>, StepError> {
        let call = |errno| sys::Error::new("read(/proc/thread-self/mountinfo)", errno);
        let file = openat(&self.proc, "thread-self/mountinfo", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(call)?;
        let mut text = Vec::new();
        File::from(file)
            .read_to_end(&mut text)
            .map_err(|error| call(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
        Ok(place_of(&text, number))
    }
}

/// The mount that a start has made at a destination, if what is there is that one; `None` if nothing is mounted there.
fn started(root: &OwnedFd, destination: &Path, known: &Known) -> Result<Option<(OwnedFd, PathBuf)>, StepError> {
    let within = Root::new(root.as_fd());
    let found = match within.open(destination, OFlags::PATH) {
        Ok(found) => found,
        Err(error) if matches!(error.errno(), Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let seen = Seen::of(&found)?;
    if !seen.is_mounted || seen.mount == mount_id(root)? {
        return Ok(None);
    }
    let is_it = match known {
        Known::Number(number) => seen.mount == *number,
        Known::Shows { device, inode, .. } => (seen.device, seen.inode) == (*device, *inode),
        Known::Tmpfs { .. } => {
            let kind = fstatfs(&found).map_err(|errno| sys::Error::new(format!("fstatfs({destination:?})"), errno))?;
            kind.f_type == TMPFS_MAGIC
        }
    };
    match is_it {
        true => Ok(Some((found, destination.to_owned()))),
        false => Err(StepError::Covered { path: destination.to_owned() }),
    }
}

fn bind(operation: &MountOperation, bound: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd, StepError> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let tree = open_tree(bound, "", flags)
        .map_err(|errno| sys::Error::new(format!("open_tree({}, \"\", {flags:?})", bound.as_raw_fd()), errno))?;
    set_attributes(tree.as_fd(), operation)?;
    Ok(tree)
}

fn takes_mode(source: &MountSource) -> bool {
    match source {
        MountSource::FileSystem { kind, parameters, .. } => {
            kind == "tmpfs" && !parameters.iter().any(|(key, _)| key == "mode")
        }
        _ => false,
    }
}

/// The root of the calling thread's mount namespace, which is where entering it leads.
fn root() -> sys::Result<OwnedFd> {
    open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| sys::Error::new("open(\"/\", O_PATH)", errno))
}

/// What the kernel knows of an open file by itself: nobody who serves its file system is asked, who might not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    /// The number of the mount through which it was opened.
    mount: u64,
    /// Whether it is what that mount shows at its top.
    is_mounted: bool,
    is_directory: bool,
    /// The number of its file system's device.
    device: u64,
    /// Its own number there.
    inode: u64,
}

impl Seen {
    fn of(file: impl AsFd) -> sys::Result<Seen> {
        let number = file.as_fd().as_raw_fd();
        let wanted = StatxFlags::TYPE | StatxFlags::INO | StatxFlags::MNT_ID;
        let found = statx(&file, "", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, wanted)
            .map_err(|errno| sys::Error::new(format!("statx({number}, \"\", AT_EMPTY_PATH, {wanted:?})"), errno))?;
        Ok(Seen {
            mount: found.stx_mnt_id,
            is_mounted: found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
            is_directory: FileType::from_raw_mode(found.stx_mode.into()) == FileType::Directory,
            device: makedev(found.stx_dev_major, found.stx_dev_minor),
            inode: found.stx_ino,
        })
    }
}

fn mount_id(file: impl AsFd) -> sys::Result<u64> {
    Seen::of(file).map(|seen| seen.mount)
}
