// SPDX-License-Identifier: Apache-2.0
//! The container's terminal: opened in its own devpts, so that its name means something inside.
//!
//! The multiplexer is opened by descriptor and checked to be one: an image must not get the launcher to hand its user
//! a descriptor of something else. The side the launcher keeps goes back over a socket; the other becomes standard
//! input, output and error and the controlling terminal.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, OFlags, Uid, fchown, fstatfs, major, minor};
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{OptionalActions, OutputModes, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use super::files::{Files, attach};
use super::mounts::{refuse_procfs, stat};
use super::{Child, StepError};
use crate::resolve::Leaf;

const MULTIPLEXER: &str = "/dev/pts/ptmx";
const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;

impl Child<'_> {
    pub(super) fn terminal(&mut self, console: bool, uid: u32) -> Result<(), StepError> {
        if self.files.root.is_none() {
            // Joined a running container: its root is ours now.
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = rustix::fs::open("/", flags, rustix::fs::Mode::empty())
                .map_err(|errno| sys::Error::new("open(\"/\", O_PATH)", errno))?;
            self.files.root = Some(root);
        }
        let (ours, theirs) = self.files.open_terminal()?;
        let ioctl = |request: &str| format!("ioctl({}, {request})", theirs.as_raw_fd());
        if let Some((rows, columns)) = self.prepared.size {
            let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            tcsetwinsize(&theirs, size).map_err(|errno| sys::Error::new(ioctl("TIOCSWINSZ"), errno))?;
        }
        if self.prepared.plain_newlines {
            // Before the command can write its first line.
            let mut settings = tcgetattr(&theirs).map_err(|errno| sys::Error::new(ioctl("TCGETS"), errno))?;
            settings.output_modes.remove(OutputModes::ONLCR);
            tcsetattr(&theirs, OptionalActions::Now, &settings)
                .map_err(|errno| sys::Error::new(ioctl("TCSETS"), errno))?;
        }
        if uid != 0 {
            fchown(&theirs, Some(Uid::from_raw(uid)), None)
                .map_err(|errno| sys::Error::new(format!("fchown({}, {uid}, -1)", theirs.as_raw_fd()), errno))?;
        }
        if console {
            self.files.bind_console(&theirs)?;
        }
        let socket = self.prepared.console.as_ref().ok_or(StepError::NotProvided { what: "a console socket" })?;
        sys::fds::send_with(socket, b"/dev/console", &[ours.as_fd()])?;
        rustix::process::ioctl_tiocsctty(&theirs).map_err(|errno| sys::Error::new(ioctl("TIOCSCTTY"), errno))?;
        super::process::become_stdio([theirs.as_fd(); 3])
    }
}

impl Files {
    fn open_terminal(&self) -> Result<(OwnedFd, OwnedFd), StepError> {
        let path = Path::new(MULTIPLEXER);
        let ours = self.root()?.open_no_links(path, OFlags::RDWR | OFlags::NOCTTY)?;
        let metadata = stat(&ours)?;
        let statfs = fstatfs(&ours).map_err(|errno| sys::Error::new(format!("fstatfs({path:?})"), errno))?;
        let is_multiplexer = FileType::from_raw_mode(metadata.st_mode) == FileType::CharacterDevice
            && (major(metadata.st_rdev), minor(metadata.st_rdev)) == (5, 2)
            && u64::try_from(statfs.f_type).is_ok_and(|found| found == DEVPTS_SUPER_MAGIC);
        if !is_multiplexer {
            return Err(StepError::NotExpected { path: path.into(), expected: "the multiplexer of a devpts" });
        }
        unlockpt(&ours).map_err(|errno| sys::Error::new("ioctl(ptmx, TIOCSPTLCK, 0)", errno))?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let theirs = ioctl_tiocgptpeer(&ours, flags)
            .map_err(|errno| sys::Error::new("ioctl(ptmx, TIOCGPTPEER, O_RDWR|O_NOCTTY|O_CLOEXEC)", errno))?;
        Ok((ours, theirs))
    }

    /// A `/dev` of the image's or a volume's may have a link there, which would put the terminal over any file.
    fn bind_console(&mut self, terminal: &OwnedFd) -> Result<(), StepError> {
        let path = Path::new("/dev/console");
        let target = self.root()?.ensure_no_links(path, Leaf::File)?;
        refuse_procfs(target.as_fd(), path)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
        let tree = open_tree(terminal, "", flags)
            .map_err(|errno| sys::Error::new("open_tree(terminal, \"\", OPEN_TREE_CLONE|AT_EMPTY_PATH)", errno))?;
        Ok(attach(&tree, &target)?)
    }
}
