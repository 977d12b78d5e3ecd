// SPDX-License-Identifier: Apache-2.0
//! Images copied from one place to another, without being unpacked: registries, OCI image layouts as directories and as
//! archives, archives of `docker save`, and plain directories.
//!
//! A [`Place`] is read through one trait (`source.rs`) and written through another (`destination.rs`); each kind of place is
//! one file that has both. What is copied, and in which form, `copy.rs` decides, knowing neither.
//!
//! What comes from a place is never believed: every blob's digest and size are compared on its way, and the last bytes are
//! handed on only when they are right. What is written gets its name when it is whole. A blob is never in memory, only
//! some pieces of it.
//!
//! **Architecture Invariant:** images are copied here, and kept elsewhere: no image store, no database, no names of this
//! host's images. Everything blocks except what waits for a registry.

mod blob;
mod copy;
mod destination;
mod directory;
mod docker_archive;
mod document;
mod error;
mod layout;
mod leftovers;
mod name;
mod oci_archive;
mod oci_layout;
mod packed;
mod progress;
mod registry;
mod source;
mod spool;
mod staged;
mod stop;
mod tree;

pub use copy::{Copied, Options, copy};
pub use error::TransferError;
pub use name::{Choice, Place, PlaceError};
pub use progress::{Event, Progress, Quiet, Status};
pub use registry::Registries;
pub use stop::Stop;
