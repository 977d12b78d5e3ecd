// SPDX-License-Identifier: Apache-2.0
//! The image that is pulled: four real layers, each a Debian root below a directory of its own.

use std::path::PathBuf;

use testkit::fixtures::cached;
use testkit::fixtures::debian::{self, Form};
use testkit::fixtures::image::Image;

/// The image as an OCI layout, made once.
pub(super) fn four_layers() -> PathBuf {
    cached("bench-image", |partial| {
        let root = std::fs::read(debian::root(Form::Plain)).expect("the root was just made");
        let image = (1..=4).fold(Image::default(), |image, number| image.layer(moved(&root, number), Form::Gzip));
        image.config(serde_json::json!({"Cmd": ["true"]})).write(partial);
    })
}

/// The same archive with every name, and every hard link's target, below `copy-N`.
fn moved(root: &[u8], number: u32) -> Vec<u8> {
    let prefix = PathBuf::from(format!("copy-{number}"));
    let mut archive = tar::Archive::new(root);
    let mut into = tar::Builder::new(Vec::new());
    for entry in archive.entries().expect("an archive") {
        let mut entry = entry.expect("an archive");
        let path = prefix.join(entry.path().expect("a path"));
        let mut header = entry.header().clone();
        let link = entry.link_name().expect("a path").map(std::borrow::Cow::into_owned);
        match link {
            Some(target) if header.entry_type().is_hard_link() => {
                into.append_link(&mut header, path, prefix.join(target))
            }
            Some(target) => into.append_link(&mut header, path, target),
            None => into.append_data(&mut header, path, &mut entry),
        }
        .expect("memory takes it");
    }
    into.into_inner().expect("memory takes it")
}
