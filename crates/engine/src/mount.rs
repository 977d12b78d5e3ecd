// SPDX-License-Identifier: Apache-2.0
//! What is mounted into a container: the wishes of its maker, and what has become of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci::Digest;
use serde::{Deserialize, Serialize};

/// Something mounted into the container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Mount {
    /// A file or directory of the host.
    Bind {
        /// An absolute path on the host.
        source: PathBuf,
        /// An absolute path in the container.
        target: String,
        /// Not writable, recursively where the kernel can.
        read_only: bool,
        /// A missing source is made as a directory (`-v`), or is an error (`--mount`).
        create_source: bool,
        /// Mount propagation: `private` and so on; `rprivate` when absent.
        propagation: Option<String>,
        /// The rest.
        #[serde(default)]
        options: BindOptions,
    },
    /// A new, empty tmpfs.
    Tmpfs {
        /// An absolute path in the container.
        target: String,
        /// Mount options beyond `nosuid,nodev,noexec` (`size=64m`, `mode=1777`, `exec`).
        options: Vec<String>,
        /// How it was asked for.
        #[serde(default)]
        given: Given,
    },
    /// A volume.
    Volume(VolumeMount),
    /// The files of an image, which nobody can change.
    Image(ImageMount),
}

/// How something was asked for. Docker shows it where it was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Given {
    /// By `-v` with a source, or by `--tmpfs`.
    #[default]
    Short,
    /// By `--mount`.
    Long,
    /// By `-v /PATH`, or by the image.
    Declared,
    /// By `--volumes-from`.
    From,
}

/// How a bind is made, beyond what every one says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BindOptions {
    /// How it was asked for.
    pub given: Given,
    /// What `-v` says behind the second colon.
    pub mode: String,
    /// What is mounted below the source stays behind.
    pub non_recursive: bool,
    /// A read-only bind leaves what is mounted below its source writable.
    pub read_only_non_recursive: bool,
    /// It is shown with the ids of the container's user namespace: what is the host's root's is the container's root's.
    pub idmap: bool,
}

/// A volume in a container. As a wish it may have no name; what has become of it has one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeMount {
    /// Its name; a new one with a name of its own when empty.
    pub name: String,
    /// An absolute path in the container.
    pub target: String,
    /// Not writable.
    pub read_only: bool,
    /// What the image has at the target is not copied into it while it is empty.
    pub no_copy: bool,
    /// The directory of the volume that is mounted, relative to it; all of it when absent.
    pub subpath: Option<String>,
    /// What `-v` says behind the second colon.
    pub mode: String,
    /// Mount propagation; `rprivate` when absent.
    pub propagation: Option<String>,
    /// How it was asked for.
    pub given: Given,
    /// What its label and options are if it must be made.
    pub labels: BTreeMap<String, String>,
    /// See `labels`.
    pub options: BTreeMap<String, String>,
    /// Nobody has named it: it may go with its container.
    pub anonymous: bool,
    /// Where the host has it, once it is known.
    pub source: PathBuf,
}

/// An image in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageMount {
    /// Its name or id, as it was written.
    pub image: String,
    /// An absolute path in the container.
    pub target: String,
    /// The directory or file of the image that is mounted, relative to its root; all of it when absent.
    pub subpath: Option<String>,
    /// How it was asked for.
    pub given: Given,
    /// Which image it is, once that is known.
    pub id: Option<Digest>,
    /// Its layers, bottom first.
    pub layers: Vec<Digest>,
}

/// Another container whose mounts are taken over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumesFrom {
    /// Its name or id.
    pub container: String,
    /// As it was written, with what may stand behind the colon.
    pub text: String,
    /// None of them is writable here.
    pub read_only: bool,
}

impl Mount {
    /// Where in the container it is.
    pub fn target(&self) -> &str {
        match self {
            Mount::Bind { target, .. } | Mount::Tmpfs { target, .. } => target,
            Mount::Volume(volume) => &volume.target,
            Mount::Image(image) => &image.target,
        }
    }

    /// How it was asked for.
    pub fn given(&self) -> Given {
        match self {
            Mount::Bind { options, .. } => options.given,
            Mount::Tmpfs { given, .. } => *given,
            Mount::Volume(volume) => volume.given,
            Mount::Image(image) => image.given,
        }
    }

    /// Whether it is a bind that is to be shown with the container's ids.
    pub fn is_idmapped(&self) -> bool {
        matches!(self, Mount::Bind { options, .. } if options.idmap)
    }

    /// The volume, if it is one.
    pub fn volume(&self) -> Option<&VolumeMount> {
        match self {
            Mount::Volume(volume) => Some(volume),
            Mount::Bind { .. } | Mount::Tmpfs { .. } | Mount::Image(_) => None,
        }
    }

    /// The image, if it is one.
    pub fn image(&self) -> Option<&ImageMount> {
        match self {
            Mount::Image(image) => Some(image),
            Mount::Bind { .. } | Mount::Tmpfs { .. } | Mount::Volume(_) => None,
        }
    }
}

/// Puts mounts in the order in which they are made: what is mounted below another must come after it, or it would be
/// hidden.
pub(crate) fn order(mounts: &mut [Mount]) {
    mounts.sort_by_key(|mount| clean(mount.target()).split('/').filter(|part| !part.is_empty()).count());
}

/// An absolute path without `.`, `..`, and slashes that say nothing; by its text alone.
pub fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_cleaned_by_its_text() {
        for (path, expected) in
            [("/", "/"), ("/a//b/", "/a/b"), ("/a/./b/../c", "/a/c"), ("/../a", "/a"), ("/a/..", "/")]
        {
            assert_eq!(clean(path), expected, "{path}");
        }
    }

    #[test]
    fn what_earlier_versions_have_written_is_read() {
        let bind = r#"{"Bind":{"source":"/a","target":"/b","read_only":true,"create_source":true,"propagation":null}}"#;
        let Mount::Bind { options, .. } = serde_json::from_str(bind).unwrap() else { panic!("no bind") };
        assert_eq!(options, BindOptions::default());
        let tmpfs: Mount = serde_json::from_str(r#"{"Tmpfs":{"target":"/t","options":["size=1m"]}}"#).unwrap();
        assert_eq!((tmpfs.target(), tmpfs.given()), ("/t", Given::Short));
    }
}
