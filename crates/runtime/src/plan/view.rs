// SPDX-License-Identifier: Apache-2.0
//! How the kernel's numbers of an operation are written for programs: by the names that people know them by.

use std::fmt::Display;

use serde::Serializer;
use sys::mount::{ATTR_ATIME, Propagation};

use super::capability_name;
use super::mounts::ATTRIBUTE_NAMES;
use super::operation::propagation_name;

/// As it is printed.
pub(crate) fn text<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

pub(super) fn propagation<S: Serializer>(value: &Propagation, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&propagation_name(*value, false))
}

pub(super) fn propagations<S: Serializer>(values: &[(Propagation, bool)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(|(propagation, recursive)| propagation_name(*propagation, *recursive)))
}

pub(super) fn capabilities<S: Serializer>(set: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq((0..64).filter(|number| set & (1 << number) != 0).map(capability_name))
}

pub(super) fn attributes<S: Serializer>(flags: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    // Clearing the whole field of access times is how another value of it is set; it has no name of its own.
    let whole_field = flags & ATTR_ATIME == ATTR_ATIME;
    let shown = |bit: u64| flags & bit != 0 && !(whole_field && bit & ATTR_ATIME != 0);
    let names = ATTRIBUTE_NAMES.iter().filter(|(_, bit)| shown(*bit)).map(|(name, _)| *name);
    serializer.collect_seq(names.chain(whole_field.then_some("atime")))
}
