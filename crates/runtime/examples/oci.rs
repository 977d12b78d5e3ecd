// SPDX-License-Identifier: Apache-2.0
//! The OCI command line as a program of its own: what `corten oci` runs, for tests and for trying it.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(runtime::oci_cli::main(std::env::args_os().skip(1)))
}
