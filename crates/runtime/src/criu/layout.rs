// SPDX-License-Identifier: Apache-2.0
//! What of a container CRIU does not save or make itself, taken from the container's plan. Pure.
//!
//! A bind mount's content belongs to the host, a joined network namespace to somebody else: CRIU is told a name for
//! each when it dumps, and what has that name when it restores.

use std::path::{Path, PathBuf};

use oci::runtime_spec::{LinuxNamespaceType, Spec};

use super::CriuError;
use crate::plan::{CgroupHierarchy, MountSource, Operation, Plan, RootSource};

/// Where a bind mount is, and what it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bind {
    pub(crate) destination: PathBuf,
    pub(crate) source: PathBuf,
    pub(crate) recursive: bool,
}

/// What must be there in the root before CRIU mounts over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Point {
    Directory(PathBuf),
    /// A directory that no symbolic link may lead to.
    KernelDirectory(PathBuf),
    /// A file or directory as the bind's source; what is below it may need its content.
    Bind(Bind),
}

/// A container's files and namespaces, as far as CRIU must be told of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) root: PathBuf,
    pub(crate) binds: Vec<Bind>,
    /// Destinations of cgroup v1 hierarchies that are bound from the host.
    pub(crate) hierarchies: Vec<(PathBuf, CgroupHierarchy)>,
    pub(crate) masked: Vec<PathBuf>,
    pub(crate) devices: Vec<PathBuf>,
    pub(crate) points: Vec<Point>,
    /// Joined namespaces that stay as they are: the key CRIU knows them by, CRIU's word for the kind, the file.
    pub(crate) kept: Vec<(&'static str, &'static str, PathBuf)>,
    /// Joined namespaces that CRIU enters before it restores into them.
    pub(crate) entered: Vec<(&'static str, PathBuf)>,
}

impl Layout {
    pub(crate) fn of(spec: &Spec, plan: &Plan) -> Result<Layout, CriuError> {
        let mut layout = Layout::default();
        for operation in &plan.operations {
            match operation {
                Operation::AttachRoot(RootSource::Path(path) | RootSource::Opened(path))
                | Operation::AttachRootInPlace(path) => layout.root = path.clone(),
                Operation::Mount(mount) => layout.mount(&mount.destination, &mount.source, plan),
                Operation::Mask(path) => layout.masked.push(path.clone()),
                Operation::Device(device) => layout.devices.push(device.path.clone()),
                _ => {}
            }
        }
        layout.namespaces(spec)?;
        Ok(layout)
    }

    fn mount(&mut self, destination: &Path, source: &MountSource, plan: &Plan) {
        match source {
            MountSource::Bind { source, recursive, .. } => {
                let bind = Bind { destination: destination.to_owned(), source: source.clone(), recursive: *recursive };
                self.binds.push(bind.clone());
                self.point(Point::Bind(bind), destination, plan);
            }
            MountSource::Cgroup1 { hierarchies, namespace } => {
                // In a namespace of its own the container has mounts of its own, which CRIU knows how to make.
                if !namespace {
                    let bound =
                        |hierarchy: &CgroupHierarchy| (destination.join(hierarchy.directory()), hierarchy.clone());
                    self.hierarchies.extend(hierarchies.iter().map(bound));
                }
            }
            // What they change or show is a mount that was there before.
            MountSource::Existing { .. } | MountSource::Inside { .. } => {}
            // It appears with sysfs.
            MountSource::FileSystem { kind, .. } if kind == "cgroup2" => {}
            MountSource::FileSystem { kind, .. } if matches!(kind.as_str(), "proc" | "sysfs") => {
                self.point(Point::KernelDirectory(destination.to_owned()), destination, plan);
            }
            MountSource::FileSystem { .. } => {
                self.point(Point::Directory(destination.to_owned()), destination, plan);
            }
        }
    }

    /// What is on a tmpfs comes back with the tmpfs.
    fn point(&mut self, point: Point, destination: &Path, plan: &Plan) {
        let below_tmpfs = plan.operations.iter().any(|operation| match operation {
            Operation::Mount(mount) => {
                let is_tmpfs = matches!(&mount.source, MountSource::FileSystem { kind, .. } if kind == "tmpfs");
                is_tmpfs && destination != mount.destination && destination.starts_with(&mount.destination)
            }
            _ => false,
        });
        if !below_tmpfs {
            self.points.push(point);
        }
    }

    fn namespaces(&mut self, spec: &Spec) -> Result<(), CriuError> {
        let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
        for namespace in listed.into_iter().flatten() {
            let Some(path) = namespace.path().as_ref().filter(|path| !path.as_os_str().is_empty()) else { continue };
            let path = path.clone();
            match namespace.typ() {
                LinuxNamespaceType::Network => self.kept.push(("extRootNetNS", "net", path)),
                LinuxNamespaceType::Pid => self.kept.push(("extRootPidNS", "pid", path)),
                LinuxNamespaceType::Ipc => self.entered.push(("ipc", path)),
                LinuxNamespaceType::Uts => self.entered.push(("uts", path)),
                kind => {
                    let what = format!("linux.namespaces[type={kind}].path");
                    let reason = "CRIU cannot restore a container into somebody else's namespace of this kind";
                    return Err(CriuError::Unsupported { what, reason });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Inputs, plan};

    fn layout(change: impl FnOnce(&mut serde_json::Value)) -> Result<Layout, CriuError> {
        let mut config = crate::oci_cli::sample();
        config["process"]["terminal"] = false.into();
        change(&mut config);
        let spec: Spec = serde_json::from_value(config).unwrap();
        let hierarchies = vec![CgroupHierarchy { controllers: vec!["memory".into()], name: None }];
        let plan = plan(&spec, &Inputs { bundle: "/b".into(), hierarchies, ..Inputs::default() }).unwrap();
        Layout::of(&spec, &plan)
    }

    fn push(config: &mut serde_json::Value, mount: serde_json::Value) {
        config["mounts"].as_array_mut().unwrap().push(mount);
    }

    #[test]
    fn a_plain_container_has_masks_and_devices_and_no_bind() {
        let layout = layout(|_| {}).unwrap();
        assert_eq!((layout.root.as_path(), layout.binds.len()), (Path::new("/b/rootfs"), 0));
        assert!(layout.hierarchies.is_empty(), "it has a cgroup namespace");
        assert!(layout.masked.contains(&"/proc/kcore".into()) && layout.devices.contains(&"/dev/null".into()));
        let points: Vec<_> = layout.points.into_iter().collect();
        let expected = [
            Point::KernelDirectory("/proc".into()),
            Point::Directory("/dev".into()),
            Point::KernelDirectory("/sys".into()),
        ];
        assert_eq!(points, expected, "what is below /dev comes back with its tmpfs");
    }

    #[test]
    fn binds_are_external_and_need_a_place_unless_a_tmpfs_has_it() {
        let layout = layout(|config| {
            push(config, serde_json::json!({ "destination": "/data", "source": "/srv", "options": ["rbind"] }));
            push(config, serde_json::json!({ "destination": "/dev/x", "source": "rel", "options": ["bind"] }));
        })
        .unwrap();
        let data = Bind { destination: "/data".into(), source: "/srv".into(), recursive: true };
        let below = Bind { destination: "/dev/x".into(), source: "/b/rel".into(), recursive: false };
        assert_eq!(layout.binds, [data.clone(), below]);
        assert_eq!(layout.points.last(), Some(&Point::Bind(data)));
    }

    #[test]
    fn hierarchies_are_external_without_a_cgroup_namespace() {
        let layout = layout(|config| {
            let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|namespace| namespace["type"] != "cgroup");
        })
        .unwrap();
        assert_eq!(layout.hierarchies[0].0, Path::new("/sys/fs/cgroup/memory"));
    }

    #[test]
    fn joined_namespaces_are_kept_entered_or_refused() {
        let join = |config: &mut serde_json::Value, kind: &str| {
            let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|namespace| namespace["type"] != kind);
            namespaces.push(serde_json::json!({ "type": kind, "path": format!("/ns/{kind}") }));
        };
        let kept = layout(|config| join(config, "network")).unwrap().kept;
        assert_eq!(kept, [("extRootNetNS", "net", PathBuf::from("/ns/network"))]);
        assert_eq!(layout(|config| join(config, "ipc")).unwrap().entered, [("ipc", PathBuf::from("/ns/ipc"))]);
        let refused = layout(|config| join(config, "cgroup")).unwrap_err();
        assert!(refused.to_string().starts_with("linux.namespaces[type=cgroup].path cannot be"), "{refused}");
    }
}
