// SPDX-License-Identifier: Apache-2.0
//! Private keys: PKCS#8 (RFC 5958) as it is, or protected by a password as cosign does it.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RsaKeyPair,
};
use spki::Envelope;
use spki::id::{EC, EDWARDS, NULL, P256, RSA};

use super::{KeyError, PublicKey, sealed};
use crate::pem;

const PLAIN_LABEL: &str = "PRIVATE KEY";
/// What cosign wrote until its version 2, and containers/image as well: all versions of both read it.
const SEALED_LABEL: &str = "ENCRYPTED COSIGN PRIVATE KEY";
/// What cosign writes since.
const NEWER_SEALED_LABEL: &str = "ENCRYPTED SIGSTORE PRIVATE KEY";

/// A new pair of keys, as text.
pub struct Generated {
    /// The private key, protected by the password. PEM.
    pub private: String,
    /// The public key. PEM.
    pub public: String,
}

/// A key that signs.
pub struct PrivateKey(Pair);

enum Pair {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
}

impl PrivateKey {
    /// A new P-256 pair, the private half protected by `password`.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn generate(password: &[u8]) -> Result<Generated, KeyError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
            .map_err(|_| KeyError::Operation("making a key"))?;
        let public = PrivateKey::from_pkcs8(document.as_ref())?.public()?.to_pem();
        let private = pem::write(SEALED_LABEL, &sealed::seal(document.as_ref(), password)?);
        Ok(Generated { private, public })
    }

    /// Whether the key in a PEM text needs a password.
    pub fn is_sealed(text: &str) -> bool {
        matches!(pem::parse(text), Some((SEALED_LABEL | NEWER_SEALED_LABEL, _)))
    }

    /// The key in a PEM text.
    ///
    /// # Errors
    /// It is none, or of a kind that is not understood; the password is missing or wrong.
    pub fn from_pem(text: &str, password: Option<&[u8]>) -> Result<PrivateKey, KeyError> {
        match pem::parse(text) {
            Some((PLAIN_LABEL, document)) => PrivateKey::from_pkcs8(&document),
            Some((SEALED_LABEL | NEWER_SEALED_LABEL, sealed)) => {
                PrivateKey::from_pkcs8(&sealed::open(&sealed, password.ok_or(KeyError::PasswordNeeded)?)?)
            }
            Some(("EC PRIVATE KEY" | "RSA PRIVATE KEY", _)) => {
                Err(KeyError::Unsupported("not PKCS#8; `openssl pkcs8 -topk8 -nocrypt` makes it so"))
            }
            Some(("ENCRYPTED PRIVATE KEY", _)) => Err(KeyError::Unsupported("PKCS#8 with a password of its own")),
            _ => Err(KeyError::Malformed { wanted: "private" }),
        }
    }

    fn from_pkcs8(document: &[u8]) -> Result<PrivateKey, KeyError> {
        let random = SystemRandom::new();
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document, &random) {
            return Ok(PrivateKey(Pair::P256(pair)));
        }
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(document) {
            return Ok(PrivateKey(Pair::Ed25519(pair)));
        }
        if let Ok(pair) = RsaKeyPair::from_pkcs8(document) {
            return Ok(PrivateKey(Pair::Rsa(Box::new(pair))));
        }
        if EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, document, &random).is_ok() {
            return Err(KeyError::Unsupported("P-384, which signs over SHA-256 in this format"));
        }
        Err(KeyError::Unsupported("neither ECDSA P-256 nor RSA of 2048 to 4096 bits nor Ed25519"))
    }

    /// The public key that verifies what this one signs.
    ///
    /// # Errors
    /// Never for a key that could be read.
    pub fn public(&self) -> Result<PublicKey, KeyError> {
        PublicKey::from_spki(match &self.0 {
            Pair::P256(pair) => {
                spki::close(&Envelope { algorithm: EC, parameters: P256, key: pair.public_key().as_ref() })
            }
            Pair::Ed25519(pair) => {
                spki::close(&Envelope { algorithm: EDWARDS, parameters: &[], key: pair.public_key().as_ref() })
            }
            Pair::Rsa(pair) => {
                spki::close(&Envelope { algorithm: RSA, parameters: NULL, key: pair.public_key().as_ref() })
            }
        })
    }

    /// The signature of `message`, in base64.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn sign(&self, message: &[u8]) -> Result<String, KeyError> {
        let random = SystemRandom::new();
        let failed = |_| KeyError::Operation("signing");
        Ok(match &self.0 {
            Pair::P256(pair) => BASE64_STANDARD.encode(pair.sign(&random, message).map_err(failed)?),
            Pair::Ed25519(pair) => BASE64_STANDARD.encode(pair.sign(message)),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map_err(failed)?;
                BASE64_STANDARD.encode(signature)
            }
        })
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}
