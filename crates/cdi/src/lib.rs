// SPDX-License-Identifier: Apache-2.0
//! The Container Device Interface (version 1.1.0 of its specification, cncf-tags/container-device-interface): vendors
//! describe their devices in files, and whoever names a device gets what its description adds to a container.
//!
//! **Architecture Invariant:** pure. Text in, values out; the files are read by whoever calls.

mod edits;
mod name;
mod registry;
mod spec;
mod version;

pub use edits::{DeviceNode, Edits, Hook, Mount};
pub use name::{DeviceName, NameError};
pub use registry::{File, Registry, ResolveError};
pub use spec::{Format, Spec, SpecError};
