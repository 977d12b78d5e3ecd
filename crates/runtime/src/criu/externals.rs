// SPDX-License-Identifier: Apache-2.0
//! What CRIU is told of a container's surroundings: a name for each thing that is not its to save, and at a restore
//! what has that name now. The names are runc's, so that either restores what the other checkpointed.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::layout::Layout;
use super::rpc::ExternalMount;
use super::stage::{is_directory, really};
use super::{Criu, CriuError};
use crate::prepare;
use crate::resolve::Root;

const NULL: &str = "/dev/null";

/// The names of the mounts that stay outside a checkpoint; `root` is the container's root.
pub(crate) fn mounts_to_dump(layout: &Layout, root: &OwnedFd) -> Result<Vec<ExternalMount>, CriuError> {
    use std::os::fd::AsFd;
    let binds = layout.binds.iter().map(|bind| &bind.destination);
    let hierarchies = layout.hierarchies.iter().map(|(destination, _)| destination);
    let mut mounts = Vec::new();
    for destination in binds.chain(hierarchies).chain(&layout.devices) {
        let place = really(root, destination)?;
        mounts.push(ExternalMount { key: place.clone(), value: place });
    }
    for masked in &layout.masked {
        match Root::new(root.as_fd()).open(masked, OFlags::PATH) {
            Ok(found) if is_directory(&found)? => {}
            Ok(_) => mounts.push(ExternalMount { key: really(root, masked)?, value: NULL.into() }),
            Err(error) if matches!(error.errno(), Errno::NOENT | Errno::NOTDIR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(mounts)
}

/// What has those names now; `root` is the root file system, `cgroup` the container's new cgroup.
pub(crate) fn mounts_to_restore(
    layout: &Layout,
    root: &OwnedFd,
    cgroup: &str,
) -> Result<Vec<ExternalMount>, CriuError> {
    let mut mounts = Vec::new();
    for bind in &layout.binds {
        mounts.push(ExternalMount { key: really(root, &bind.destination)?, value: bind.source.clone() });
    }
    for (destination, hierarchy) in &layout.hierarchies {
        if let Some(value) = prepare::host_cgroup(hierarchy, cgroup) {
            mounts.push(ExternalMount { key: really(root, destination)?, value });
        }
    }
    if !layout.masked.is_empty() {
        mounts.push(ExternalMount { key: NULL.into(), value: NULL.into() });
    }
    let same = |path: &std::path::PathBuf| ExternalMount { key: path.clone(), value: path.clone() };
    mounts.extend(layout.devices.iter().filter(|path| path.as_path() != Path::new(NULL)).map(same));
    Ok(mounts)
}

/// The names of the joined namespaces that stay outside a checkpoint: `net[4026531840]:extRootNetNS`.
pub(crate) fn namespaces_to_dump(layout: &Layout, criu: &Criu) -> Result<Vec<String>, CriuError> {
    let name = |(key, kind, path): &(&str, &str, std::path::PathBuf)| {
        needs(criu, kind)?;
        let metadata = rustix::fs::stat(path).map_err(|errno| sys::Error::new(format!("stat({path:?})"), errno))?;
        Ok(format!("{kind}[{}]:{key}", metadata.st_ino))
    };
    layout.kept.iter().map(name).collect()
}

/// Files for CRIU to inherit, and under which names it does; their numbers are the same there as here.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    pub(crate) files: Vec<OwnedFd>,
    pub(crate) named: Vec<(String, i32)>,
}

/// The files of the namespaces that stayed outside.
pub(crate) fn namespaces_to_restore(layout: &Layout, criu: &Criu) -> Result<Inherited, CriuError> {
    let mut inherited = Inherited::default();
    for (key, kind, path) in &layout.kept {
        needs(criu, kind)?;
        let file = prepare::open_namespace(path)?;
        inherited.named.push(((*key).to_owned(), file.as_raw_fd()));
        inherited.files.push(file);
    }
    Ok(inherited)
}

fn needs(criu: &Criu, kind: &str) -> Result<(), CriuError> {
    match kind {
        "pid" => criu.needs(3_15_00, "a pid namespace joined by its path"),
        _ => criu.needs(3_11_00, "a network namespace joined by its path"),
    }
}

/// The cgroups a process is in, each controller for itself, as CRIU wants the new places.
pub(crate) fn cgroup_roots(pid: i32) -> Result<Vec<(String, String)>, CriuError> {
    let path = format!("/proc/{pid}/cgroup");
    let text = std::fs::read_to_string(&path).map_err(CriuError::file("read", path))?;
    Ok(parse_cgroups(&text))
}

fn parse_cgroups(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    lines
        .flat_map(|(controllers, place)| controllers.split(',').map(move |one| (one.to_owned(), place.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_controller_has_its_own_root() {
        let roots = parse_cgroups("4:cpu,cpuacct:/a\n1:name=systemd:/b:c\n0::/u\nnonsense\n");
        let expected = [("cpu", "/a"), ("cpuacct", "/a"), ("name=systemd", "/b:c"), ("", "/u")];
        assert_eq!(roots, expected.map(|(controller, path)| (controller.to_owned(), path.to_owned())));
    }

    #[test]
    fn masks_are_external_where_they_are_files() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("directory")).unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let root = super::super::stage::open_root(dir.path()).unwrap();
        let layout = Layout {
            masked: vec!["/directory".into(), "/file".into(), "/missing".into(), "/file/below".into()],
            ..Layout::default()
        };
        let mounts = mounts_to_dump(&layout, &root).unwrap();
        assert_eq!(mounts, [ExternalMount { key: "/file".into(), value: NULL.into() }]);
    }
}
