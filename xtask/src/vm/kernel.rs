// SPDX-License-Identifier: Apache-2.0
//! The distribution's cloud kernel: downloaded and unpacked below `target/fixtures`, never installed.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::cargo;

/// Packages that depend on the newest small kernel: Debian's, then Ubuntu's.
const META_PACKAGES: &[&str] = &["linux-image-cloud-amd64", "linux-image-virtual"];

/// A kernel and its modules.
pub(super) struct Kernel {
    /// The compressed kernel image.
    pub(super) image: PathBuf,
    modules: BTreeMap<String, PathBuf>,
}

/// A module to load.
pub(super) struct Module {
    /// Its name, with underscores.
    pub(super) name: String,
    /// What is given to the kernel.
    pub(super) bytes: Vec<u8>,
}

/// The kernel, from the cache or freshly downloaded.
pub(super) fn obtain() -> Result<Kernel, Box<dyn Error>> {
    let packages = kernel_packages()?;
    let directory = cargo::root().join("target/fixtures").join(&packages[0]);
    let unpacked = directory.join("unpacked");
    if !unpacked.exists() {
        let partial = directory.join("partial");
        std::fs::create_dir_all(&partial)?;
        let mut download = testkit::process::command("apt-get");
        download.args(["-o", "APT::Sandbox::User=root", "-qq", "download"]).args(&packages).current_dir(&directory);
        succeed(&mut download)?;
        for entry in std::fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                succeed(testkit::process::command("dpkg-deb").arg("-x").args([&path, &partial]))?;
                std::fs::remove_file(&path)?;
            }
        }
        std::fs::rename(&partial, &unpacked)?;
    }
    Kernel::below(&unpacked)
}

/// The concrete packages the meta package stands for today.
fn kernel_packages() -> Result<Vec<String>, Box<dyn Error>> {
    for meta in META_PACKAGES {
        let output = testkit::process::command("apt-cache")
            .args(["depends", "--no-recommends", "--no-suggests", meta])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()?;
        let packages = dependencies(&String::from_utf8_lossy(&output.stdout));
        if !packages.is_empty() {
            return Ok(packages);
        }
    }
    Err(format!("apt knows none of {}: run apt-get update", META_PACKAGES.join(", ")).into())
}

/// The kernel packages in the answer of `apt-cache depends`.
fn dependencies(answer: &str) -> Vec<String> {
    answer
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .filter(|name| name.starts_with("linux-image-") || name.starts_with("linux-modules-"))
        .map(str::to_owned)
        .collect()
}

impl Kernel {
    fn below(unpacked: &Path) -> Result<Kernel, Box<dyn Error>> {
        let image = std::fs::read_dir(unpacked.join("boot"))?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz")))
            .ok_or("the kernel package has no vmlinuz")?;
        let mut modules = BTreeMap::new();
        let lib = [unpacked.join("lib/modules"), unpacked.join("usr/lib/modules")];
        for directory in lib.iter().filter(|path| path.exists()) {
            collect_modules(directory, &mut modules)?;
        }
        Ok(Kernel { image, modules })
    }

    /// The wanted modules and all they depend on, each after what it needs, with their uncompressed bytes. A module that
    /// this kernel does not have is built in, or the checks in the machine will say what is missing.
    pub(super) fn load_order(&self, wanted: &[&str]) -> Result<Vec<Module>, Box<dyn Error>> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for name in wanted {
            self.visit(name, &mut seen, &mut order)?;
        }
        Ok(order)
    }

    fn visit(&self, name: &str, seen: &mut BTreeSet<String>, order: &mut Vec<Module>) -> Result<(), Box<dyn Error>> {
        let name = name.replace('-', "_");
        let Some(path) = self.modules.get(&name) else { return Ok(()) };
        if !seen.insert(name.clone()) {
            return Ok(());
        }
        let bytes = uncompressed(path)?;
        let (needs, softly) = needs(&bytes);
        for need in needs.iter().chain(&softly) {
            self.visit(need, seen, order)?;
        }
        order.push(Module { name, bytes });
        Ok(())
    }
}

fn collect_modules(directory: &Path, into: &mut BTreeMap<String, PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect_modules(&entry.path(), into)?;
        } else if let Some((stem, _)) = entry.file_name().to_string_lossy().split_once(".ko") {
            into.insert(stem.replace('-', "_"), entry.path());
        }
    }
    Ok(())
}

fn uncompressed(path: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let program = match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return Ok(std::fs::read(path)?),
    };
    let output = testkit::process::command(program).arg("-dc").arg(path).stderr(Stdio::inherit()).output()?;
    if output.status.success() { Ok(output.stdout) } else { Err(format!("{program} -dc {}", path.display()).into()) }
}

/// What a module says of itself in its `.modinfo` section: `depends=a,b` and `softdep=pre: c`.
fn needs(module: &[u8]) -> (Vec<String>, Vec<String>) {
    let mut hard = Vec::new();
    let mut soft = Vec::new();
    for entry in module.split(|&byte| byte == 0) {
        if let Some(list) = entry.strip_prefix(b"depends=") {
            let list = String::from_utf8_lossy(list);
            hard.extend(list.split(',').filter(|name| !name.is_empty()).map(str::to_owned));
        } else if let Some(list) = entry.strip_prefix(b"softdep=pre: ") {
            soft.extend(String::from_utf8_lossy(list).split_whitespace().map(str::to_owned));
        }
    }
    (hard, soft)
}

fn succeed(command: &mut std::process::Command) -> Result<(), Box<dyn Error>> {
    let status = command.stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} failed: {status}").into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meta_package_names_the_kernel_and_its_modules() {
        let answer = "linux-image-virtual\n  Depends: linux-image-6.8.0-1-generic\n  Depends: linux-modules-6.8.0-1\n";
        assert_eq!(dependencies(answer), ["linux-image-6.8.0-1-generic", "linux-modules-6.8.0-1"]);
        assert!(dependencies("nothing\n").is_empty());
    }

    #[test]
    fn a_module_says_what_it_needs() {
        let (hard, soft) = needs(b"\x7fELF\0license=GPL\0depends=stp,llc\0softdep=pre: crc32c\0");
        assert_eq!(hard, ["stp", "llc"]);
        assert_eq!(soft, ["crc32c"]);
    }
}
