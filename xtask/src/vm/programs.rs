// SPDX-License-Identifier: Apache-2.0
//! Programs of the distribution for a machine, with the shared libraries they need.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};

/// The programs, the files, and every library that one of them needs.
pub(super) fn with_libraries(programs: &[&str], files: &[&str]) -> Result<BTreeSet<PathBuf>, Box<dyn Error>> {
    let mut all: BTreeSet<PathBuf> = programs.iter().chain(files).map(PathBuf::from).collect();
    for program in programs {
        let output = testkit::process::command("ldd").arg(program).output()?;
        if !output.status.success() {
            return Err(format!("ldd {program}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let needed = libraries(&String::from_utf8_lossy(&output.stdout));
        if needed.is_empty() {
            return Err(format!("ldd {program} names no library").into());
        }
        all.extend(needed);
    }
    Ok(all)
}

/// The paths in what `ldd` prints: `name => path (address)`, or the loader's path alone.
fn libraries(answer: &str) -> Vec<PathBuf> {
    let path = |line: &str| line.split_whitespace().find(|word| Path::new(word).is_absolute()).map(PathBuf::from);
    answer.lines().filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_and_the_loader_are_named() {
        let answer = "\tlinux-vdso.so.1 (0x00007f)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(libraries(answer), expected.map(PathBuf::from));
    }
}
