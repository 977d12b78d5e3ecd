// SPDX-License-Identifier: Apache-2.0
//! Content digests (OCI image-spec, `descriptor.md`, "Digests"), of the two algorithms that every edition of the
//! specification registers. SHA-256 is what is made here; SHA-512 is for content that others have named so. Both have no
//! known weakness, so that who may choose between them gains nothing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};

/// How content is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Algorithm {
    /// The one that every registry must support.
    #[default]
    Sha256,
    /// Twice as long; faster where the processor has no instructions for the other.
    Sha512,
}

/// The hash of some content. Written `sha256:<64 lower-case hex digits>` or `sha512:<128 of them>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(Bytes);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Bytes {
    Sha256([u8; 32]),
    Sha512([u8; 64]),
}

/// Two digests that should be one. Boxed where it is part of an error: together they are large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mismatch {
    /// What was asked for or announced.
    pub expected: Digest,
    /// What is there.
    pub found: Digest,
}

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// No `algorithm:` in front, or something else behind it than its digits.
    #[error("{0:?} is not a digest: expected sha256:<64 hex digits> or sha512:<128 hex digits>, in lower case")]
    Form(String),
    /// An algorithm that is not one of [`Algorithm`].
    #[error("digest algorithm {0:?} is not supported; sha256 and sha512 are")]
    Algorithm(String),
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

    /// Its name in a digest.
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        }
    }

    /// The digest of `content`.
    pub fn digest(self, content: impl AsRef<[u8]>) -> Digest {
        Digest(match self {
            Algorithm::Sha256 => Bytes::Sha256(Sha256::digest(content.as_ref()).into()),
            Algorithm::Sha512 => Bytes::Sha512(Sha512::digest(content.as_ref()).into()),
        })
    }
}

impl FromStr for Algorithm {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Algorithm, DigestError> {
        let found = Algorithm::ALL.into_iter().find(|algorithm| algorithm.as_str() == text);
        found.ok_or_else(|| DigestError::Algorithm(text.chars().take(32).collect()))
    }
}

impl Digest {
    /// The SHA-256 of `content`.
    pub fn of(content: impl AsRef<[u8]>) -> Digest {
        Algorithm::Sha256.digest(content)
    }

    /// Whether `found` is this one.
    ///
    /// # Errors
    /// It is another.
    pub fn matches(&self, found: Digest) -> Result<(), Box<Mismatch>> {
        if found == *self { Ok(()) } else { Err(Box::new(Mismatch { expected: *self, found })) }
    }

    /// How it was made.
    pub fn algorithm(&self) -> Algorithm {
        match self.0 {
            Bytes::Sha256(_) => Algorithm::Sha256,
            Bytes::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// The 32 or 64 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Bytes::Sha256(bytes) => bytes,
            Bytes::Sha512(bytes) => bytes,
        }
    }

    /// The hexadecimal digits, without the algorithm. Their number tells it: they are a name by themselves.
    pub fn hex(&self) -> String {
        hex::encode(self.as_bytes())
    }

    /// The digest that has these digits.
    ///
    /// # Errors
    /// [`DigestError::Form`] when no digest has.
    pub fn from_hex(digits: &str) -> Result<Digest, DigestError> {
        let form = || DigestError::Form(digits.chars().take(200).collect());
        if digits.bytes().any(|b| !matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(form());
        }
        let mut bytes = [0; 64];
        // Digits only, so none of them is more than a byte.
        let half = bytes.get_mut(..digits.len() / 2).ok_or_else(form)?;
        hex::decode_to_slice(digits, half).map_err(|_| form())?;
        match digits.len() {
            64 => bytes.first_chunk().map(|bytes| Digest(Bytes::Sha256(*bytes))).ok_or_else(form),
            128 => Ok(Digest(Bytes::Sha512(bytes))),
            _ => Err(form()),
        }
    }

    /// Its blob's name below `blobs/` in an image layout (image-spec, `image-layout.md`).
    pub fn blob_name(&self) -> String {
        format!("{}/{}", self.algorithm().as_str(), self.hex())
    }

    /// The first 12 hexadecimal digits, as lists show them.
    pub fn short(&self) -> String {
        hex::encode(&self.as_bytes()[..6])
    }
}

/// A digest in the making.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    /// A SHA-256 of nothing yet.
    pub fn new() -> Hasher {
        Hasher::with(Algorithm::Sha256)
    }

    /// Nothing hashed yet.
    pub fn with(algorithm: Algorithm) -> Hasher {
        Hasher(match algorithm {
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Sha512::new()),
        })
    }

    /// What it will be a digest of.
    pub fn algorithm(&self) -> Algorithm {
        match self.0 {
            State::Sha256(_) => Algorithm::Sha256,
            State::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// Hashes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
    }

    /// The digest of everything so far.
    pub fn finish(self) -> Digest {
        Digest(match self.0 {
            State::Sha256(state) => Bytes::Sha256(state.finalize().into()),
            State::Sha512(state) => Bytes::Sha512(state.finalize().into()),
        })
    }
}

impl Default for Hasher {
    fn default() -> Hasher {
        Hasher::new()
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Digest, DigestError> {
        let form = || DigestError::Form(text.chars().take(200).collect());
        let (algorithm, digits) = text.split_once(':').ok_or_else(form)?;
        let algorithm: Algorithm = algorithm.parse()?;
        let digest = Digest::from_hex(digits).map_err(|_| form())?;
        if digest.algorithm() == algorithm { Ok(digest) } else { Err(form()) }
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Digest, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm().as_str(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_digest_of_nothing_is_the_known_one() {
        let text = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), text);
        assert_eq!(text.parse(), Ok(Digest::of(b"")));
    }

    #[test]
    fn both_algorithms_are_told_apart_by_their_length() {
        // FIPS 180-4, the example of "abc".
        let text = "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
            2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
        let long = Algorithm::Sha512.digest(b"abc");
        assert_eq!(long.to_string(), text);
        assert_eq!(text.parse(), Ok(long));
        assert_ne!(long, Digest::of(b"abc"));
        for algorithm in Algorithm::ALL {
            let mut hasher = Hasher::with(algorithm);
            hasher.update(b"a");
            hasher.update(b"bc");
            assert_eq!(hasher.algorithm(), algorithm);
            let digest = hasher.finish();
            assert_eq!((digest, digest.algorithm()), (algorithm.digest(b"abc"), algorithm));
            assert_eq!(Digest::from_hex(&digest.hex()), Ok(digest));
        }
        assert_eq!(long.blob_name(), text.replace(':', "/"));
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        for bad in ["", "sha256:", "sha256:../../etc/passwd", "sha512:00", "e3b0", &"sha256:E3".repeat(8)] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
        assert!(format!("sha256:{}", "A".repeat(64)).parse::<Digest>().is_err(), "upper case is not canonical");
        let (short, long) = ("a".repeat(64), "a".repeat(128));
        for bad in [format!("sha512:{short}"), format!("sha256:{long}"), format!("sha512:{long}a")] {
            assert!(matches!(bad.parse::<Digest>(), Err(DigestError::Form(_))), "{bad}");
        }
        assert_eq!(format!("md5:{short}").parse::<Digest>(), Err(DigestError::Algorithm("md5".to_owned())));
    }

    proptest! {
        #[test]
        fn no_text_is_read_as_a_digest_that_is_not_written_so(text in ".{0,150}|sha(256|512):[0-9a-fA-F]{60,130}") {
            if let Ok(digest) = text.parse::<Digest>() {
                prop_assert_eq!(digest.to_string(), text);
            }
        }
    }
}
