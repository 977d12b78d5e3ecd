// SPDX-License-Identifier: Apache-2.0
//! The words of the OCI specifications: digests, image names, container ids, and (re-exported) the types of the image
//! and runtime specifications.
//!
//! **Architecture Invariant:** pure. Text and bytes in, values out; no I/O.

mod digest;
pub mod document;
mod id;
pub mod manifest;
pub mod media_type;
mod platform;
mod reference;
mod repository;

pub use digest::{Algorithm, Digest, DigestError, Hasher, Mismatch};
pub use id::{ContainerId, IdError};
pub use oci_spec::{OciSpecError, image as image_spec, runtime as runtime_spec};
pub use platform::{Platform, PlatformError};
pub use reference::{ImageRef, ReferenceError, registry_of};
pub use repository::{RepositoryName, Tag};
