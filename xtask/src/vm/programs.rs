// SPDX-License-Identifier: Apache-2.0
//! Programs of the distribution for the machine, each with the shared libraries that it loads.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};

/// The files that these programs are made of: themselves, their loader and their libraries, by their own paths.
pub(super) fn files(programs: &[&str]) -> Result<BTreeSet<PathBuf>, Box<dyn Error>> {
    let mut files = BTreeSet::new();
    for program in programs {
        let output = testkit::process::command("ldd").arg(program).output()?;
        if !output.status.success() {
            return Err(format!("ldd {program}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        files.insert(PathBuf::from(program));
        files.extend(libraries(&String::from_utf8_lossy(&output.stdout)));
    }
    Ok(files)
}

/// The paths in what ldd(1) prints: `NAME => PATH (ADDRESS)` for a library, `PATH (ADDRESS)` for the loader.
fn libraries(printed: &str) -> Vec<PathBuf> {
    let paths = printed.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    paths.map(Path::new).map(Path::to_owned).collect()
}

/// Every directory above these files, parents first.
pub(super) fn directories(files: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let above = files.iter().flat_map(|file| file.ancestors().skip(1));
    above.filter(|directory| *directory != Path::new("/") && *directory != Path::new("")).map(Path::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_the_loader_are_found() {
        let printed = "\tlinux-vdso.so.1 (0x0)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x1)\n\t/lib64/ld.so.2 (0x2)\n";
        assert_eq!(libraries(printed), [PathBuf::from("/lib/x/libc.so.6"), PathBuf::from("/lib64/ld.so.2")]);
        let above = directories(&libraries(printed).into_iter().collect());
        assert_eq!(above.into_iter().collect::<Vec<_>>(), ["/lib", "/lib/x", "/lib64"].map(PathBuf::from));
    }
}
