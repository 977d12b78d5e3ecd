// SPDX-License-Identifier: Apache-2.0
//! Which of an archive's images are wanted, and which of them bears a name that several have.

use std::collections::BTreeSet;

use oci::image_spec::ImageConfiguration;
use oci::{ImageRef, Platform};

use crate::document;
use crate::error::ImageError;
use crate::records::ImageRecord;

/// Refuses an image that is for none of `platforms`, if there are any.
pub(super) fn check(label: &str, config: &ImageConfiguration, platforms: &[Platform]) -> Result<(), ImageError> {
    let is = Platform::of(config);
    match platforms.first() {
        Some(first) if !platforms.iter().any(|wanted| is.serves(wanted)) => document::serves(label, config, first),
        _ => Ok(()),
    }
}

/// Refuses an archive that has nothing for one of `platforms`.
pub(super) fn check_all<T>(images: &[(ImageRecord, T)], platforms: &[Platform]) -> Result<(), ImageError> {
    let available: Vec<Platform> = images.iter().map(|(record, _)| Platform::of(&record.config)).collect();
    let missing = platforms.iter().find(|wanted| !available.iter().any(|is| is.serves(wanted)));
    match missing {
        None => Ok(()),
        Some(wanted) => Err(document::wrong_platform("the archive", wanted, available)),
    }
}

/// Leaves each name to one of the images that have it.
pub(super) fn give_names(images: &mut [(ImageRecord, BTreeSet<ImageRef>)], platforms: &[Platform]) {
    if platforms.len() < 2 {
        return;
    }
    let host = Platform::host();
    let preferred: Vec<&Platform> = platforms.iter().filter(|wanted| host.serves(wanted)).chain(platforms).collect();
    images.sort_by_key(|(record, _)| {
        let is = Platform::of(&record.config);
        preferred.iter().position(|wanted| is.serves(wanted))
    });
    let mut taken = BTreeSet::new();
    for (_, names) in images {
        names.retain(|name| taken.insert(name.clone()));
    }
}
