// SPDX-License-Identifier: Apache-2.0
//! Whether an image may be had: its signatures against the policy and the rules.

use std::fmt;
use std::io;
use std::path::Path;

use errors::{Classify, Kind};
use oci::{Digest, ImageRef};

use crate::key::PublicKey;
use crate::payload::{Payload, PayloadError};
use crate::policy::{Decision, Policy};
use crate::rules::{Prefix, Rules, repository};

/// The most faults that a refusal tells.
const MOST_FAULTS: usize = 5;

/// A signature, and what it is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The text that was signed.
    pub payload: Vec<u8>,
    /// The signature, in base64.
    pub signature: String,
}

/// The image that is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The name by which it is asked for, with a tag or a digest.
    pub name: &'a ImageRef,
    /// The digests that stand for it: its manifest's, and that of an index that was seen to lead to it.
    pub digests: &'a [Digest],
}

/// What is wrong with one signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// None of the keys made it over this payload.
    #[error("a signature was made by another key, or its payload was changed")]
    Key,
    /// What was signed is no payload.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// It is about another image.
    #[error("a signature is for {0}")]
    OtherDigest(Digest),
    /// It is about the same image under another name.
    #[error("a signature is for the name {0}")]
    OtherName(Box<ImageRef>),
}

/// Who refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authority {
    /// The policy of the host.
    Policy {
        /// Its part that applies.
        scope: String,
    },
    /// A rule of `corten trust`.
    Rule(Prefix),
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Authority::Policy { scope } => write!(f, "the signature policy ({scope})"),
            Authority::Rule(prefix) => write!(f, "the trust rule for {prefix}"),
        }
    }
}

/// Why it refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// It refuses whatever is signed.
    Rejected,
    /// It asks for something that is not understood, so that nobody can say whether it is there.
    Unsupported(String),
    /// A key that it names cannot be had.
    Key(String),
    /// It has no name that a signature could be for.
    Nameless,
    /// There is no signature.
    Unsigned,
    /// There are signatures, and none will do.
    Unverified(Vec<Fault>),
}

/// That an image may not be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Who says so.
    pub by: Authority,
    /// Why.
    pub reason: Reason,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = &self.by;
        match &self.reason {
            Reason::Rejected => write!(f, "{by} rejects it"),
            Reason::Unsupported(what) => write!(f, "{by} asks for {what}, which is not supported"),
            Reason::Key(problem) => write!(f, "{by} names a key that cannot be used: {problem}"),
            Reason::Nameless => write!(f, "{by} wants it signed for its name, and it has none"),
            Reason::Unsigned => write!(f, "{by} wants it signed, and there is no signature"),
            Reason::Unverified(faults) => {
                write!(f, "{by} wants it signed, and no signature will do: ")?;
                for (place, fault) in faults.iter().take(MOST_FAULTS).enumerate() {
                    write!(f, "{}{fault}", if place == 0 { "" } else { "; " })?;
                }
                if faults.len() > MOST_FAULTS {
                    write!(f, "; and {} more", faults.len() - MOST_FAULTS)?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for Refusal {}

impl Classify for Refusal {
    fn kind(&self) -> Kind {
        match self.reason {
            Reason::Unsupported(_) => Kind::Unsupported,
            _ => Kind::PermissionDenied,
        }
    }
}

/// The policy and the rules that hold now.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// The host's policy.
    pub policy: Policy,
    /// The rules of `corten trust`.
    pub rules: Rules,
}

impl Trust {
    /// Whether images of this name need a signature.
    ///
    /// # Errors
    /// They are refused whatever is signed.
    pub fn wants_signature(&self, name: &ImageRef) -> Result<bool, Refusal> {
        Ok(self.policy.decide(name).wants_signature()? || self.rules.applying(name).is_some())
    }

    /// Whether an image without a name is accepted: by the policy's default, as no scope and no rule is about it.
    ///
    /// # Errors
    /// Why the policy refuses.
    pub fn judge_nameless(&self) -> Result<(), Refusal> {
        let decision = self.policy.decide_nameless();
        if decision.wants_signature()? { Err(decision.refusal(Reason::Nameless)) } else { Ok(()) }
    }

    /// Whether nothing is asked of any image.
    pub fn accepts_anything(&self) -> bool {
        self.rules.is_empty() && self.policy == Policy::default()
    }

    /// The places of the signatures that count, when the policy and the rules accept the image: none where none is wanted.
    /// `read` reads the keys that the policy names.
    ///
    /// # Errors
    /// Who refuses, and why.
    pub fn judge(
        &self,
        subject: Subject<'_>,
        signatures: &[Signature],
        read: &dyn Fn(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Vec<usize>, Refusal> {
        let decision: Decision<'_> = self.policy.decide(subject.name);
        let mut counting = decision.judge(subject, signatures, read)?;
        if let Some((prefix, keys)) = self.rules.applying(subject.name) {
            // A signature is for a repository here: whoever moves a tag need not sign the image again, and cosign names none.
            let same = |signed: &ImageRef| repository(signed) == repository(subject.name);
            let accepted = accepted(signatures, keys, subject.digests, &same);
            counting.extend(accepted.map_err(|reason| Refusal { by: Authority::Rule(prefix.clone()), reason })?);
        }
        counting.sort_unstable();
        counting.dedup();
        Ok(counting)
    }
}

/// The places of the signatures that one of the keys made over one of the digests and over a name that `matches`.
///
/// # Errors
/// There is none.
pub(crate) fn accepted(
    signatures: &[Signature],
    keys: &[PublicKey],
    digests: &[Digest],
    matches: &dyn Fn(&ImageRef) -> bool,
) -> Result<Vec<usize>, Reason> {
    let mut faults = Vec::new();
    let mut places = Vec::new();
    for (place, signature) in signatures.iter().enumerate() {
        match verify(signature, keys, digests) {
            Ok(claimed) if matches(&claimed.name) => places.push(place),
            Ok(claimed) => faults.push(Fault::OtherName(Box::new(claimed.name))),
            Err(fault) => faults.push(fault),
        }
    }
    match (places.is_empty(), faults.is_empty()) {
        (false, _) => Ok(places),
        (true, true) => Err(Reason::Unsigned),
        (true, false) => Err(Reason::Unverified(faults)),
    }
}

/// What a signature by one of these keys claims about one of these digests, whatever the name.
///
/// # Errors
/// What is wrong with it.
pub fn verify(signature: &Signature, keys: &[PublicKey], digests: &[Digest]) -> Result<Payload, Fault> {
    // The payload is not looked at before somebody answers for it.
    if !keys.iter().any(|key| key.verifies(&signature.payload, &signature.signature)) {
        return Err(Fault::Key);
    }
    let claimed = Payload::parse(&signature.payload)?;
    if digests.contains(&claimed.digest) { Ok(claimed) } else { Err(Fault::OtherDigest(claimed.digest)) }
}

#[cfg(test)]
mod tests;
