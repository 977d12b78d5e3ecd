// SPDX-License-Identifier: Apache-2.0
//! Signatures of images in cosign's format, and who must have made them.
//!
//! A signature is made over a [`Payload`], a short JSON text that names a manifest's digest and the image's name. A
//! registry keeps it in a [`SignatureManifest`] beside the image. Whether an image may be had is decided twice: by the
//! host's [`Policy`] (containers-policy.json(5)) and by the [`Rules`] of `corten trust`; both must accept.
//!
//! **Architecture Invariant:** pure. Text and bytes in, values out; whoever calls reads the files and asks the
//! registries. What is not understood is never taken for a yes.

mod judge;
mod key;
mod manifest;
mod payload;
mod pem;
mod policy;
mod rules;

pub use judge::{Authority, Fault, Reason, Refusal, Signature, Subject, Trust, verify};
pub use key::{Generated, KeyError, PrivateKey, PublicKey};
pub use manifest::{Listed, ManifestError, SIGNATURE_ANNOTATION, SIMPLE_SIGNING, SignatureManifest, Written, tag_of};
pub use payload::{Payload, PayloadError};
pub use policy::{Policy, PolicyError};
pub use rules::{Prefix, PrefixError, Rules};
