// SPDX-License-Identifier: Apache-2.0
//! Names the program's entry point: `sys::early`, where it is written for the architecture.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("x86_64") {
        println!("cargo::rustc-link-arg-bins=-Wl,--entry=corten_start");
    }
}
