// SPDX-License-Identifier: Apache-2.0
//! All files of a host together: which description of a device counts.
//!
//! A directory that is named later goes before one that is named earlier. Two descriptions of one device in one directory
//! are a conflict, and nobody gets that device until it is settled.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::edits::Edits;
use crate::name::{DeviceName, NameError};
use crate::spec::{Spec, SpecError};

/// A file that was read.
#[derive(Debug)]
pub struct File {
    /// Where it is.
    pub path: PathBuf,
    /// Which directory it is in, counted from the one that yields to all others.
    pub directory: usize,
    /// What it says.
    pub spec: Result<Spec, SpecError>,
}

/// The devices of a host.
#[derive(Debug, Default)]
pub struct Registry {
    files: Vec<File>,
}

/// Why there is no such device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// It is no name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// No file describes it.
    #[error("no file describes the device {name}{}", and_broken(.broken))]
    Unknown {
        /// The device.
        name: DeviceName,
        /// Files that cannot be read, and why: one of them may have it.
        broken: Vec<(PathBuf, String)>,
    },
    /// Several files do.
    #[error("the device {name} is described by {} and {}: one must go", .files.0.display(), .files.1.display())]
    Conflict {
        /// The device.
        name: DeviceName,
        /// Two of them.
        files: (PathBuf, PathBuf),
    },
}

fn and_broken(files: &[(PathBuf, String)]) -> String {
    files.iter().map(|(path, problem)| format!("; {} cannot be used: {problem}", path.display())).collect()
}

impl Registry {
    /// The devices that these files describe.
    pub fn new(files: Vec<File>) -> Registry {
        Registry { files }
    }

    /// Files that describe nothing, and why.
    pub fn broken(&self) -> Vec<(PathBuf, String)> {
        let problem = |file: &File| Some((file.path.clone(), errors::chain(file.spec.as_ref().err()?)));
        self.files.iter().filter_map(problem).collect()
    }

    /// All devices that can be asked for, by their full names.
    pub fn devices(&self) -> Vec<DeviceName> {
        let specs = self.files.iter().filter_map(|file| file.spec.as_ref().ok());
        let names = specs.flat_map(|spec| {
            spec.devices.keys().map(|device| DeviceName { kind: spec.kind.clone(), device: device.clone() })
        });
        let all: BTreeSet<DeviceName> = names.collect();
        all.into_iter().filter(|name| self.find(name).is_ok()).collect()
    }

    /// What a container gets that asks for these devices: first what their files add for any of them, once, then what
    /// each adds.
    ///
    /// # Errors
    /// A name that is none, or that no file or several describe.
    pub fn resolve<'a>(&'a self, names: &[impl AsRef<str>]) -> Result<Vec<&'a Edits>, ResolveError> {
        let mut of_files: BTreeMap<usize, &Edits> = BTreeMap::new();
        let mut of_devices = Vec::new();
        let mut seen = BTreeSet::new();
        for name in names {
            let name: DeviceName = name.as_ref().parse()?;
            let (index, spec, edits) = self.find(&name)?;
            of_files.insert(index, &spec.edits);
            if seen.insert(name) {
                of_devices.push(edits);
            }
        }
        Ok(of_files.into_values().chain(of_devices).collect())
    }

    fn find(&self, name: &DeviceName) -> Result<(usize, &Spec, &Edits), ResolveError> {
        let described = self.files.iter().enumerate().filter_map(|(index, file)| {
            let spec = file.spec.as_ref().ok().filter(|spec| spec.kind == name.kind)?;
            Some((index, file, spec, spec.devices.get(&name.device)?))
        });
        let mut best: Vec<_> = described.collect();
        let highest = best.iter().map(|(_, file, ..)| file.directory).max();
        best.retain(|(_, file, ..)| Some(file.directory) == highest);
        match best[..] {
            [] => Err(ResolveError::Unknown { name: name.clone(), broken: self.broken() }),
            [(index, _, spec, edits)] => Ok((index, spec, edits)),
            [(_, first, ..), (_, second, ..), ..] => {
                let files = (first.path.clone(), second.path.clone());
                Err(ResolveError::Conflict { name: name.clone(), files })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Format;

    fn file(path: &str, directory: usize, device: &str, value: &str) -> File {
        let text = format!(
            r#"{{"cdiVersion":"0.6.0","kind":"v.com/c","devices":[{{"name":"{device}","containerEdits":{{"env":["A={value}"]}}}}],
            "containerEdits":{{"env":["FILE={path}"]}}}}"#
        );
        File { path: path.into(), directory, spec: Spec::parse(&text, Format::Json) }
    }

    fn env(edits: &[&Edits]) -> Vec<String> {
        edits.iter().flat_map(|edits| edits.env.clone()).collect()
    }

    #[test]
    fn a_files_edits_come_once_and_before_its_devices() {
        let registry = Registry::new(vec![file("a", 0, "x", "1"), file("b", 0, "y", "2")]);
        let found = registry.resolve(&["v.com/c=y", "v.com/c=x", "v.com/c=y"]).unwrap();
        assert_eq!(env(&found), ["FILE=a", "FILE=b", "A=2", "A=1"]);
        assert_eq!(registry.devices().len(), 2);
    }

    #[test]
    fn a_later_directory_goes_first_and_one_directory_must_agree() {
        let registry = Registry::new(vec![file("a", 0, "x", "1"), file("b", 1, "x", "2")]);
        assert_eq!(env(&registry.resolve(&["v.com/c=x"]).unwrap()), ["FILE=b", "A=2"]);
        let registry = Registry::new(vec![file("a", 0, "x", "1"), file("b", 0, "x", "2")]);
        let error = registry.resolve(&["v.com/c=x"]).unwrap_err().to_string();
        assert!(error.contains("by a and b"), "{error}");
        assert!(registry.devices().is_empty());
    }

    #[test]
    fn an_unknown_device_is_told_with_the_files_that_are_broken() {
        let broken = File { path: "bad.json".into(), directory: 0, spec: Spec::parse("{", Format::Json) };
        let registry = Registry::new(vec![broken, file("a", 0, "x", "1")]);
        let error = registry.resolve(&["v.com/c=z"]).unwrap_err().to_string();
        assert!(error.contains("v.com/c=z") && error.contains("bad.json"), "{error}");
        assert!(matches!(registry.resolve(&["nonsense"]), Err(ResolveError::Name(_))));
        assert_eq!(env(&registry.resolve(&["v.com/c=x"]).unwrap()), ["FILE=a", "A=1"]);
    }
}
