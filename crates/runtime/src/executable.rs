// SPDX-License-Identifier: Apache-2.0
//! Finding the container's command, and saying why it cannot be executed.
//!
//! Runs inside the container's root with the container's user, before the filter; the diagnosis after a failed
//! execve reads the file again and is best effort, because the filter may forbid it.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use errors::{Classify, Kind};
use rustix::fs::{Access, AtFlags, CWD, FileType, accessat, stat};
use rustix::io::Errno;

/// Where commands are looked up when the environment has no `PATH`; execvp(3)'s own default.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// `e_machine` of this program's architecture (elf(5)).
const NATIVE_MACHINE: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };

/// Why there is nothing to execute.
///
/// Engines read these texts, as runc's: Docker answers 127 to one with the command's name and "executable file not found"
/// or "no such file or directory", and 126 to one with "permission denied" (moby, `translateContainerdStartErr`); podman
/// looks for the same words (libpod, `getOCIRuntimeError`). They stand in every text that such an answer fits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExecutableError {
    #[error("command {command:?}: executable file not found in $PATH ({path}) of the container")]
    NotInPath { command: String, path: String },
    #[error("command {path:?}: no such file or directory in the container")]
    NotFound { path: PathBuf },
    #[error("command {path:?} cannot be executed: permission denied: it is a directory")]
    Directory { path: PathBuf },
    #[error("command {path:?} cannot be executed: permission denied: it is not a regular file")]
    NotAFile { path: PathBuf },
    #[error("command {path:?} cannot be executed: permission denied")]
    Denied { path: PathBuf },
    #[error(
        "command {path:?} cannot be executed: exec format error: it is made for {found}, and this machine is {native}"
    )]
    WrongArchitecture { path: PathBuf, found: String, native: &'static str },
    #[error(
        "command {path:?} cannot be executed: exec format error: it is neither a program nor a script that begins with #!"
    )]
    NoFormat { path: PathBuf },
    #[error(
        "command {path:?} cannot be executed: its interpreter {interpreter:?}: no such file or directory in the container"
    )]
    NoInterpreter { path: PathBuf, interpreter: PathBuf },
    #[error(
        "command {path:?} cannot be executed: no such file or directory: the interpreter's name in its first line ends in a carriage return (Windows line ends)"
    )]
    CarriageReturn { path: PathBuf },
    #[error("command {path:?} cannot be executed")]
    Other {
        path: PathBuf,
        #[source]
        source: sys::Error,
    },
}

impl Classify for ExecutableError {
    fn kind(&self) -> Kind {
        match self {
            ExecutableError::NotInPath { .. }
            | ExecutableError::NotFound { .. }
            | ExecutableError::NoInterpreter { .. } => Kind::CommandNotFound,
            _ => Kind::NotExecutable,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            ExecutableError::NotInPath { .. } | ExecutableError::NotFound { .. } => {
                "check the spelling, and that the image has it".into()
            }
            ExecutableError::Denied { .. } => {
                "check its execute permission (chmod +x), the user, and that it is not on a noexec mount".into()
            }
            ExecutableError::WrongArchitecture { .. } => "use an image for this machine's architecture".into(),
            ExecutableError::NoFormat { .. } => "give the interpreter as the command, or add a #! line".into(),
            ExecutableError::NoInterpreter { .. } => {
                "install the interpreter in the image, or use a static program".into()
            }
            ExecutableError::CarriageReturn { .. } => "save the script with Unix line ends".into(),
            _ => return None,
        })
    }
}

/// Finds `command`: as it is when it has a slash, otherwise in `path` (the value of `PATH`).
pub(crate) fn find(command: &str, path: Option<&str>) -> Result<CString, ExecutableError> {
    let c_string = |path: &Path| {
        // No part can hold a NUL byte: the plan refused such arguments and variables.
        CString::new(path.as_os_str().as_bytes()).map_err(|_| ExecutableError::NotFound { path: path.into() })
    };
    if command.contains('/') {
        let path = Path::new(command);
        return check(path).and_then(|()| c_string(path));
    }
    let search = path.unwrap_or(DEFAULT_PATH);
    let mut refused = None;
    for directory in search.split(':') {
        let directory = if directory.is_empty() { "." } else { directory };
        let candidate = Path::new(directory).join(command);
        match check(&candidate) {
            Ok(()) => return c_string(&candidate),
            Err(ExecutableError::NotFound { .. }) => {}
            // Nobody can know whether it is there; what stands further back is not what was meant.
            Err(error @ ExecutableError::Other { .. }) => return Err(error),
            Err(other) => refused = refused.or(Some(other)),
        }
    }
    Err(refused.unwrap_or_else(|| ExecutableError::NotInPath { command: command.into(), path: search.into() }))
}

fn check(path: &Path) -> Result<(), ExecutableError> {
    let owned = || path.to_owned();
    let metadata = match stat(path) {
        Ok(metadata) => metadata,
        Err(Errno::ACCESS) => return Err(ExecutableError::Denied { path: owned() }),
        Err(Errno::NOENT | Errno::NOTDIR) => return Err(ExecutableError::NotFound { path: owned() }),
        Err(errno) => {
            let source = sys::Error::new(format!("stat({path:?})"), errno);
            return Err(ExecutableError::Other { path: owned(), source });
        }
    };
    match FileType::from_raw_mode(metadata.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Err(ExecutableError::Directory { path: owned() }),
        _ => return Err(ExecutableError::NotAFile { path: owned() }),
    }
    // The effective user and capabilities are the container's by now. For root the kernel asks for one execute bit.
    accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS).map_err(|errno| match errno {
        Errno::ACCESS => ExecutableError::Denied { path: owned() },
        errno => {
            let source = sys::Error::new(format!("faccessat2(AT_FDCWD, {path:?}, X_OK, AT_EACCESS)"), errno);
            ExecutableError::Other { path: owned(), source }
        }
    })
}

/// Says why execve of `path` failed with `error`.
pub(crate) fn diagnose(path: &OsStr, error: sys::Error) -> ExecutableError {
    let path = PathBuf::from(path);
    let head = read_head(&path);
    match (error.errno(), head.as_deref()) {
        (Errno::NOEXEC | Errno::LIBBAD, Some(head)) => match machine(head) {
            Some(found) if found != NATIVE_MACHINE => ExecutableError::WrongArchitecture {
                path,
                found: machine_name(found),
                native: machine_names(NATIVE_MACHINE).unwrap_or("another"),
            },
            Some(_) => ExecutableError::Other { path, source: error },
            None => ExecutableError::NoFormat { path },
        },
        (Errno::NOENT, Some(head)) => match interpreter(head) {
            Some(text) if text.ends_with(b"\r") => ExecutableError::CarriageReturn { path },
            Some(text) => ExecutableError::NoInterpreter { interpreter: PathBuf::from(OsStr::from_bytes(text)), path },
            None => ExecutableError::NotFound { path },
        },
        (Errno::NOENT, None) => ExecutableError::NotFound { path },
        (Errno::ACCESS, _) => ExecutableError::Denied { path },
        _ => ExecutableError::Other { path, source: error },
    }
}

fn read_head(path: &Path) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path).ok()?.take(4096).read_to_end(&mut head).ok()?;
    Some(head)
}

fn number(head: &[u8], at: usize, size: usize) -> Option<u64> {
    let bytes = head.get(at..at.checked_add(size)?)?;
    let little = head.get(5) != Some(&2);
    let fold = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    Some(if little { bytes.iter().rev().fold(0, fold) } else { bytes.iter().fold(0, fold) })
}

/// The machine of an ELF header.
fn machine(head: &[u8]) -> Option<u16> {
    head.starts_with(b"\x7fELF").then(|| number(head, 18, 2).and_then(|machine| u16::try_from(machine).ok()))?
}

fn machine_names(machine: u16) -> Option<&'static str> {
    Some(match machine {
        3 => "i386",
        8 => "mips",
        20 => "ppc",
        21 => "ppc64le",
        22 => "s390x",
        40 => "arm",
        62 => "amd64",
        183 => "arm64",
        243 => "riscv64",
        258 => "loong64",
        _ => return None,
    })
}

fn machine_name(machine: u16) -> String {
    machine_names(machine).map_or_else(|| format!("ELF machine {machine}"), String::from)
}

/// The interpreter that a script's first line or a program's `PT_INTERP` header names.
fn interpreter(head: &[u8]) -> Option<&[u8]> {
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next()?;
        return line.split(|byte| *byte == b' ' || *byte == b'\t').find(|word| !word.is_empty());
    }
    machine(head)?;
    let wide = head.get(4) == Some(&2);
    let field = |narrow: (usize, usize), large: (usize, usize)| {
        let (at, size) = if wide { large } else { narrow };
        number(head, at, size).and_then(|value| usize::try_from(value).ok())
    };
    let table = field((28, 4), (32, 8))?;
    let (size, count) = (field((42, 2), (54, 2))?, field((44, 2), (56, 2))?);
    for index in 0..count {
        let at = table.checked_add(index.checked_mul(size)?)?;
        let at_field = |offset, size| number(head, at.checked_add(offset)?, size);
        const PT_INTERP: u64 = 3;
        if at_field(0, 4)? == PT_INTERP {
            let (offset, length) =
                if wide { (at_field(8, 8)?, at_field(32, 8)?) } else { (at_field(4, 4)?, at_field(16, 4)?) };
            let start = usize::try_from(offset).ok()?;
            let end = start.checked_add(usize::try_from(length).ok()?)?;
            let name = head.get(start..end)?;
            return Some(name.strip_suffix(b"\0").unwrap_or(name));
        }
    }
    None
}

#[cfg(test)]
mod tests;
