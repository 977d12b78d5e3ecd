// SPDX-License-Identifier: Apache-2.0
//! Waste in archives as they come.

use image::Quiet;
use tar::{Builder, EntryType, Header};

use crate::fixture::{Draft, Host, tar};
use crate::tiny_registry::TinyRegistry;

fn header(kind: EntryType, name: &str, size: usize) -> Header {
    let mut header = Header::new_ustar();
    // As GNU tar writes them: the library would leave out the first two characters.
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(size as u64);
    header.set_cksum();
    header
}

#[tokio::test]
async fn a_file_whose_link_is_still_to_be_seen_is_no_waste_however_it_is_written() {
    let (host, registry) = (Host::new(), TinyRegistry::start());
    let mut below = Builder::new(Vec::new());
    below.append(&header(EntryType::Regular, "./a", 3), &b"abc"[..]).unwrap();
    let mut link = header(EntryType::Link, "./b", 0);
    link.as_old_mut().linkname[..3].copy_from_slice(b"./a");
    link.set_cksum();
    below.append(&link, &b""[..]).unwrap();
    let layers = [below.into_inner().unwrap(), tar(&[(".wh.a", "")])];
    let name = registry.push("linked", &Draft::new(&layers));
    host.images.pull(&name, None, &Quiet).await.unwrap();
    let waste = host.images.waste(&name.to_string()).unwrap();
    assert_eq!((waste.size, waste.wasted), (3, 0), "{waste:?}");
}
