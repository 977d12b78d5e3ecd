// SPDX-License-Identifier: Apache-2.0
//! The options of the driver `local`, with Docker's names: what is mounted where a volume's files would be. `type`, `device`
//! and `o` are what mount(2) is given.

use std::collections::BTreeMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::Path;

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, mount_remount, unmount};

use crate::error::EngineError;

/// Words of `o` that are flags of mount(2): name, flag, and whether it is set or taken away.
const FLAGS: [(&str, MountFlags, bool); 20] = [
    ("ro", MountFlags::RDONLY, true),
    ("rw", MountFlags::RDONLY, false),
    ("nosuid", MountFlags::NOSUID, true),
    ("suid", MountFlags::NOSUID, false),
    ("nodev", MountFlags::NODEV, true),
    ("dev", MountFlags::NODEV, false),
    ("noexec", MountFlags::NOEXEC, true),
    ("exec", MountFlags::NOEXEC, false),
    ("sync", MountFlags::SYNCHRONOUS, true),
    ("async", MountFlags::SYNCHRONOUS, false),
    ("dirsync", MountFlags::DIRSYNC, true),
    ("noatime", MountFlags::NOATIME, true),
    ("atime", MountFlags::NOATIME, false),
    ("nodiratime", MountFlags::NODIRATIME, true),
    ("diratime", MountFlags::NODIRATIME, false),
    ("relatime", MountFlags::RELATIME, true),
    ("norelatime", MountFlags::RELATIME, false),
    ("strictatime", MountFlags::STRICTATIME, true),
    ("lazytime", MountFlags::LAZYTIME, true),
    ("defaults", MountFlags::empty(), true),
];

/// What mount(2) is told for a volume.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    device: String,
    kind: String,
    flags: MountFlags,
    /// `bind`, and whether what is mounted below comes along.
    bind: Option<bool>,
    /// What the file system itself understands.
    data: Vec<String>,
}

/// Checks the options of a new volume.
///
/// # Errors
/// An option that the driver does not have, or that needs another beside it; a size, which cannot be kept.
pub(super) fn check(options: &BTreeMap<String, String>) -> Result<(), EngineError> {
    let invalid = |reason: String| EngineError::invalid("volume options", reason);
    for name in options.keys() {
        match name.as_str() {
            "type" | "device" | "o" => {}
            "size" => {
                let reason = "size: no quota can be set on the data root's file system; limit a volume in memory by \
                              type=tmpfs, device=tmpfs and o=size=SIZE";
                return Err(invalid(reason.to_owned()));
            }
            other => return Err(invalid(format!("invalid option: {other:?}; there are type, device and o"))),
        }
    }
    for (name, needed) in [("device", "type"), ("type", "device"), ("o", "device"), ("o", "type")] {
        if options.contains_key(name) && !options.contains_key(needed) {
            return Err(invalid(format!("missing required option: {needed:?}, which {name} needs")));
        }
    }
    plan(options).map(drop)
}

/// What is mounted; nothing for a volume whose files lie in its directory.
pub(super) fn plan(options: &BTreeMap<String, String>) -> Result<Option<Plan>, EngineError> {
    let (Some(device), Some(kind)) = (options.get("device"), options.get("type")) else { return Ok(None) };
    let mut plan = Plan {
        device: device.clone(),
        kind: kind.clone(),
        flags: MountFlags::empty(),
        bind: (kind == "bind").then_some(false),
        data: Vec::new(),
    };
    let words = options.get("o").map(String::as_str).unwrap_or_default();
    for word in words.split(',').filter(|word| !word.is_empty()) {
        match word {
            "bind" => plan.bind = Some(plan.bind.unwrap_or(false)),
            "rbind" => plan.bind = Some(true),
            _ => match FLAGS.iter().find(|(name, ..)| *name == word) {
                Some((_, flag, true)) => plan.flags.insert(*flag),
                Some((_, flag, false)) => plan.flags.remove(*flag),
                None => plan.data.push(word.to_owned()),
            },
        }
    }
    let texts = [&plan.device, &plan.kind].into_iter().chain(&plan.data);
    if texts.into_iter().any(|text| text.contains('\0')) {
        return Err(EngineError::invalid("volume options", "no text may have a NUL byte"));
    }
    if plan.bind.is_some() && !Path::new(device).is_absolute() {
        return Err(EngineError::invalid("volume options", format!("device: {device:?} is not an absolute path")));
    }
    if plan.bind.is_some() && !plan.data.is_empty() {
        let reason = format!("o: {:?} means nothing to a bind", plan.data.join(","));
        return Err(EngineError::invalid("volume options", reason));
    }
    Ok(Some(plan))
}

impl Plan {
    /// Mounts it at `path`. Nothing is left there on an error.
    pub(super) fn mount(&self, path: &Path) -> Result<(), EngineError> {
        let failed = |errno: rustix::io::Errno| EngineError::VolumeMount {
            device: self.device.clone(),
            kind: self.kind.clone(),
            path: path.to_owned(),
            source: errno.into(),
        };
        if let Some(recursive) = self.bind {
            let bind = if recursive { MountFlags::BIND | MountFlags::REC } else { MountFlags::BIND };
            mount(self.device.as_str(), path, c"", bind, None).map_err(failed)?;
            let rest =
                if self.flags.is_empty() { Ok(()) } else { mount_remount(path, MountFlags::BIND | self.flags, c"") };
            return rest.map_err(|errno| {
                take_back(path);
                failed(errno)
            });
        }
        let data = self.resolved_data()?;
        // `check` has refused NUL bytes.
        let data = std::ffi::CString::new(data).map_err(|_| failed(rustix::io::Errno::INVAL))?;
        mount(self.device.as_str(), path, self.kind.as_str(), self.flags, Some(data.as_c_str())).map_err(failed)?;
        // What happens to it on the host is no matter of others' namespaces.
        mount_change(path, MountPropagationFlags::PRIVATE).map_err(|errno| {
            take_back(path);
            failed(errno)
        })
    }

    /// The data for the file system; a network's wants addresses and no names.
    fn resolved_data(&self) -> Result<String, EngineError> {
        let mut data = self.data.clone();
        if matches!(self.kind.as_str(), "nfs" | "nfs4" | "cifs") {
            for word in &mut data {
                let Some(name) = word.strip_prefix("addr=").filter(|name| name.parse::<IpAddr>().is_err()) else {
                    continue;
                };
                let found = (name, 0).to_socket_addrs().ok().and_then(|mut found| found.next());
                let address = found.ok_or_else(|| {
                    EngineError::invalid("volume options", format!("o: the address of {name:?} is not known"))
                })?;
                *word = format!("addr={}", address.ip());
            }
        }
        Ok(data.join(","))
    }
}

/// Unmounts what has just been mounted and could not be made what it shall be.
fn take_back(path: &Path) {
    if let Err(errno) = unmount(path, UnmountFlags::DETACH) {
        tracing::error!(path = %path.display(), %errno, "a volume's mount is left behind");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(list: &[(&str, &str)]) -> BTreeMap<String, String> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn words_are_flags_or_the_file_systems() {
        let tmpfs = options(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,noexec,ro,rw,uid=1000")]);
        let plan = plan(&tmpfs).unwrap().unwrap();
        assert_eq!((plan.flags, plan.bind), (MountFlags::NOEXEC, None));
        assert_eq!(plan.data, ["size=1m", "uid=1000"]);
        assert_eq!(super::plan(&options(&[])).unwrap(), None);
    }

    #[test]
    fn a_bind_is_asked_for_by_type_or_option() {
        for list in [
            [("type", "bind"), ("device", "/srv"), ("o", "ro")],
            [("type", "none"), ("device", "/srv"), ("o", "bind,ro")],
        ] {
            let plan = plan(&options(&list)).unwrap().unwrap();
            assert_eq!((plan.bind, plan.flags), (Some(false), MountFlags::RDONLY));
        }
        let all = plan(&options(&[("type", "none"), ("device", "/srv"), ("o", "rbind")])).unwrap().unwrap();
        assert_eq!(all.bind, Some(true));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        check(&options(&[])).unwrap();
        check(&options(&[("type", "nfs"), ("device", ":/x"), ("o", "addr=server,rw")])).unwrap();
        for bad in [
            &[("colour", "red")][..],
            &[("size", "1g")],
            &[("type", "tmpfs")],
            &[("device", "/dev/sda1")],
            &[("o", "ro")],
            &[("type", "none"), ("device", "srv"), ("o", "bind")],
            &[("type", "none"), ("device", "/srv"), ("o", "bind,size=1m")],
            &[("type", "tmpfs"), ("device", "tm\0pfs")],
        ] {
            assert!(check(&options(bad)).is_err(), "{bad:?}");
        }
    }
}
