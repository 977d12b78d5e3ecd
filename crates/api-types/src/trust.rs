// SPDX-License-Identifier: Apache-2.0
//! Signatures and trust. No private key is ever sent: whoever has it signs, and sends the signature.

use serde::{Deserialize, Serialize};

/// The answer to `GET /corten/v1/images/{name}/signatures`: what the registry has under the name. Nobody has verified the
/// signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RegistrySignatures {
    /// The full name, with a tag or a digest.
    pub reference: String,
    /// The digest of the manifest or index.
    pub digest: String,
    /// The signatures beside it.
    pub signatures: Vec<SignatureText>,
}

/// A signature; also the body of `POST /corten/v1/images/{name}/signatures`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SignatureText {
    /// What was signed, byte for byte.
    pub payload: String,
    /// The signature, in base64.
    pub signature: String,
}

/// The body of `POST /corten/v1/trust`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TrustRuleRequest {
    /// Images under this must be signed: a registry, perhaps with the beginning of a path.
    pub prefix: String,
    /// By this public key, in PEM, or by another that was named before.
    pub key: String,
}

/// A rule in the answer to `GET /corten/v1/trust`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TrustRule {
    /// Images under this must be signed.
    pub prefix: String,
    /// By one of these.
    pub keys: Vec<RuleKey>,
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RuleKey {
    /// What kind it is, in words.
    pub kind: String,
    /// The SHA-256 of its `SubjectPublicKeyInfo`.
    pub fingerprint: String,
    /// The key, in PEM.
    pub pem: String,
}
