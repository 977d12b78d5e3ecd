// SPDX-License-Identifier: Apache-2.0
//! What `HEAD` and `GET /containers/NAME/archive` tell of a file, in a header.

use serde::{Deserialize, Serialize};

/// The header: JSON of a [`PathStat`] in base64.
pub const PATH_STAT_HEADER: &str = "x-docker-container-path-stat";

/// What is known of a file of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PathStat {
    /// The last part of its path.
    pub name: String,
    /// In bytes.
    pub size: i64,
    /// Type and permissions, in the bits of Go's `os.FileMode`.
    pub mode: u32,
    /// When it was last modified: RFC 3339.
    pub mtime: String,
    /// Where a symbolic link leads in the end; empty for everything else.
    pub link_target: String,
}

/// Bits of Go's `os.FileMode`.
mod bits {
    pub(super) const DIRECTORY: u32 = 1 << 31;
    pub(super) const LINK: u32 = 1 << 27;
    pub(super) const DEVICE: u32 = 1 << 26;
    pub(super) const PIPE: u32 = 1 << 25;
    pub(super) const SOCKET: u32 = 1 << 24;
    pub(super) const SET_UID: u32 = 1 << 23;
    pub(super) const SET_GID: u32 = 1 << 22;
    pub(super) const CHARACTER_DEVICE: u32 = 1 << 21;
    pub(super) const STICKY: u32 = 1 << 20;
}

impl PathStat {
    /// What stat(2) says of type and permissions, in Go's bits.
    pub fn go_mode(mode: u32) -> u32 {
        let kind = match mode & 0o170_000 {
            0o040_000 => bits::DIRECTORY,
            0o120_000 => bits::LINK,
            0o060_000 => bits::DEVICE,
            0o020_000 => bits::DEVICE | bits::CHARACTER_DEVICE,
            0o010_000 => bits::PIPE,
            0o140_000 => bits::SOCKET,
            _ => 0,
        };
        let special = [(0o4000, bits::SET_UID), (0o2000, bits::SET_GID), (0o1000, bits::STICKY)];
        let special = special.iter().filter(|(bit, _)| mode & bit != 0).fold(0, |bits, (_, go)| bits | go);
        mode & 0o777 | kind | special
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.mode & bits::DIRECTORY != 0
    }

    /// Whether it is a symbolic link.
    pub fn is_link(&self) -> bool {
        self.mode & bits::LINK != 0
    }

    /// Whether it is a device, a pipe or a socket.
    pub fn is_special(&self) -> bool {
        self.mode & (bits::DEVICE | bits::PIPE | bits::SOCKET) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_gos() {
        let go = |mode| format!("{:#x}", PathStat::go_mode(mode));
        assert_eq!(go(0o040_755), "0x800001ed");
        assert_eq!(go(0o041_777), "0x801001ff");
        assert_eq!(go(0o104_755), "0x8001ed");
        assert_eq!(go(0o120_777), "0x80001ff");
        assert_eq!(go(0o020_666), "0x42001b6");
    }
}
