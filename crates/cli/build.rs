// SPDX-License-Identifier: Apache-2.0
//! How the program is linked, where that is written for the architecture: its entry point is `sys::early`, and the
//! functions that start a container lie side by side (`cargo xtask order`). The linker is the one that rustc brings for
//! this target.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=link-order.txt");
    if std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("x86_64") {
        println!("cargo::rustc-link-arg-bins=-Wl,--entry=corten_start");
        let list = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("link-order.txt");
        let order = format!("-Wl,--symbol-ordering-file={},--no-warn-symbol-ordering", list.display());
        println!("cargo::rustc-link-arg-bins={order}");
    }
}
