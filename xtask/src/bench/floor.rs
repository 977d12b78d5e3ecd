// SPDX-License-Identifier: Apache-2.0
//! The floor: a C program that makes a container by the bare system calls (`floor/floor.c`), compiled when it is needed.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::process::command;

use crate::cargo;

/// The compiled program and the filter it installs: the same instructions as Corten's.
pub(super) struct Floor {
    program: PathBuf,
    filter: PathBuf,
}

impl Floor {
    /// Compiles it into `directory`, with the filter for `profile` beside it.
    pub(super) fn build(directory: &Path, profile: &oci::runtime_spec::LinuxSeccomp) -> Result<Floor, Box<dyn Error>> {
        let (program, filter) = (directory.join("floor"), directory.join("filter"));
        let source = cargo::root().join("xtask/src/bench/floor/floor.c");
        let status =
            command("cc").args(["-O2", "-Wall", "-Werror", "-static", "-o"]).arg(&program).arg(source).status()?;
        if !status.success() {
            return Err(format!("cc failed: {status}").into());
        }
        let native = seccomp::native_arch().ok_or("no table of system calls for this machine")?;
        let compiled = seccomp::compile(profile, native)?;
        // struct sock_filter (linux/filter.h)
        let bytes = compiled.instructions.iter().flat_map(|i| {
            let [code, operand] = [i.code.to_ne_bytes().to_vec(), i.k.to_ne_bytes().to_vec()];
            [code, vec![i.jt, i.jf], operand].concat()
        });
        std::fs::write(&filter, bytes.collect::<Vec<u8>>())?;
        Ok(Floor { program, filter })
    }

    /// Makes a container from `rootfs`, waits for its end and removes what it made.
    pub(super) fn run(&self, rootfs: &Path) -> Command {
        let mut floor = command(&self.program);
        floor.arg("run").arg(&self.filter).arg(rootfs);
        floor
    }

    /// `create`, `start` and `delete`, with what is kept between them in `state`.
    pub(super) fn create(&self, rootfs: &Path, state: &Path) -> Command {
        let mut floor = command(&self.program);
        floor.arg("create").arg(&self.filter).arg(rootfs).arg(state);
        floor
    }

    /// See [`Floor::create`].
    pub(super) fn verb(&self, verb: &str, state: &Path) -> Command {
        let mut floor = command(&self.program);
        floor.arg(verb).arg(state);
        floor
    }
}
