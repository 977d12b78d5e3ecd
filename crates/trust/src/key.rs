// SPDX-License-Identifier: Apache-2.0
//! Keys: which are understood, how they are read and written, and what they sign.
//!
//! Signatures are made over SHA-256 whatever the curve, as cosign makes them; Ed25519 signs the text itself.

mod private;
mod sealed;

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use errors::{Classify, Kind};
use oci::Digest;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use serde::{Deserialize, Serialize};
use spki::id::{EC, EDWARDS, NULL, P256, P384, RSA};

pub use private::{Generated, PrivateKey};

use crate::pem;

const PUBLIC_LABEL: &str = "PUBLIC KEY";
/// The smallest RSA modulus that is believed, in bits.
const SMALLEST_RSA: usize = 2048;

/// Why a text is no key that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not PEM, or something else than a key.
    #[error("it is not a {wanted} key in PEM form")]
    Malformed {
        /// `public` or `private`.
        wanted: &'static str,
    },
    /// A kind of key that is not understood.
    #[error("it is a key of a kind that is not understood: {0}")]
    Unsupported(&'static str),
    /// A private key that a password protects, and no password.
    #[error("it is protected by a password, and none was given")]
    PasswordNeeded,
    /// A wrong password, or a file that was changed.
    #[error("the password does not open it, or it was changed")]
    Password,
    /// Opening it would take more memory or time than is reasonable.
    #[error("its protection asks for more memory or time than is allowed")]
    Cost,
    /// The system gives no random numbers, or the key cannot be used.
    #[error("{0} failed")]
    Operation(&'static str),
}

impl Classify for KeyError {
    fn kind(&self) -> Kind {
        match self {
            KeyError::Malformed { .. } | KeyError::PasswordNeeded | KeyError::Cost => Kind::InvalidArgument,
            KeyError::Unsupported(_) => Kind::Unsupported,
            KeyError::Password => Kind::PermissionDenied,
            KeyError::Operation(_) => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            KeyError::Malformed { .. } => Some("`corten trust key generate` makes a pair of keys".to_owned()),
            KeyError::Unsupported(_) => {
                Some("ECDSA P-256, RSA from 2048 bits, and Ed25519 sign and verify; P-384 verifies".to_owned())
            }
            KeyError::PasswordNeeded => Some("set COSIGN_PASSWORD, or give --password-file FILE".to_owned()),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    P256,
    P384,
    Rsa,
    Ed25519,
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Algorithm::P256 => "ECDSA P-256",
            Algorithm::P384 => "ECDSA P-384",
            Algorithm::Rsa => "RSA",
            Algorithm::Ed25519 => "Ed25519",
        }
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Algorithm::P256 => &ECDSA_P256_SHA256_ASN1,
            Algorithm::P384 => &ECDSA_P384_SHA256_ASN1,
            Algorithm::Rsa => &RSA_PKCS1_2048_8192_SHA256,
            Algorithm::Ed25519 => &ED25519,
        }
    }
}

/// A key that verifies signatures.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey {
    algorithm: Algorithm,
    spki: Vec<u8>,
}

impl PublicKey {
    /// The key in a PEM text (`PUBLIC KEY`, a `SubjectPublicKeyInfo`).
    ///
    /// # Errors
    /// It is none, or of a kind that is not understood.
    pub fn from_pem(text: &str) -> Result<PublicKey, KeyError> {
        match pem::parse(text) {
            Some((PUBLIC_LABEL, spki)) => PublicKey::from_spki(spki),
            _ => Err(KeyError::Malformed { wanted: "public" }),
        }
    }

    fn from_spki(spki: Vec<u8>) -> Result<PublicKey, KeyError> {
        let malformed = || KeyError::Malformed { wanted: "public" };
        let envelope = spki::open(&spki).ok_or_else(malformed)?;
        let (algorithm, whole) = match (envelope.algorithm, envelope.parameters) {
            (EC, P256) => (Algorithm::P256, envelope.key.len() == 65 && envelope.key.first() == Some(&4)),
            (EC, P384) => (Algorithm::P384, envelope.key.len() == 97 && envelope.key.first() == Some(&4)),
            (EC, _) => return Err(KeyError::Unsupported("an elliptic curve other than P-256 and P-384")),
            (EDWARDS, []) => (Algorithm::Ed25519, envelope.key.len() == 32),
            (RSA, NULL) => {
                let bits = rsa_bits(envelope.key).ok_or_else(malformed)?;
                if bits < SMALLEST_RSA {
                    return Err(KeyError::Unsupported("RSA with fewer than 2048 bits"));
                }
                (Algorithm::Rsa, true)
            }
            _ => return Err(KeyError::Unsupported("neither ECDSA nor RSA nor Ed25519")),
        };
        if whole { Ok(PublicKey { algorithm, spki }) } else { Err(malformed()) }
    }

    /// The key as PEM.
    pub fn to_pem(&self) -> String {
        pem::write(PUBLIC_LABEL, &self.spki)
    }

    /// What tells this key from others: the SHA-256 of its `SubjectPublicKeyInfo`.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.spki)
    }

    /// What kind of key it is, in words.
    pub fn kind(&self) -> &'static str {
        self.algorithm.name()
    }

    /// Whether this key made `signature` (in base64) over `message`.
    pub fn verifies(&self, message: &[u8], signature: &str) -> bool {
        let (Ok(signature), Some(envelope)) = (BASE64_STANDARD.decode(signature.trim()), spki::open(&self.spki)) else {
            return false;
        };
        UnparsedPublicKey::new(self.algorithm.verification(), envelope.key).verify(message, &signature).is_ok()
    }
}

/// The length of the modulus in an `RSAPublicKey` (RFC 8017, section A.1.1).
fn rsa_bits(key: &[u8]) -> Option<usize> {
    let (numbers, rest) = spki::element(key, spki::SEQUENCE)?;
    let (modulus, exponent) = spki::element(numbers, spki::INTEGER)?;
    let (_, nothing) = spki::element(exponent, spki::INTEGER)?;
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let first = modulus.get(zeros)?;
    let bits = (modulus.len() - zeros) * 8 - first.leading_zeros() as usize;
    (rest.is_empty() && nothing.is_empty()).then_some(bits)
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}, {})", self.kind(), self.fingerprint())
    }
}

impl TryFrom<String> for PublicKey {
    type Error = KeyError;

    fn try_from(text: String) -> Result<PublicKey, KeyError> {
        PublicKey::from_pem(&text)
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> String {
        key.to_pem()
    }
}

#[cfg(test)]
mod tests;
