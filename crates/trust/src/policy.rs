// SPDX-License-Identifier: Apache-2.0
//! The host's policy, `/etc/containers/policy.json` (containers-policy.json(5)), which podman, skopeo and buildah obey, too.
//!
//! Images of registries are in its transport `docker`. The most specific scope that names an image decides alone; all of its
//! requirements must hold. A requirement that is not understood never holds.

mod format;
mod identity;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use errors::{Classify, Kind};
use oci::ImageRef;

use crate::judge::{Authority, Reason, Refusal, Signature, Subject, accepted};
use crate::key::PublicKey;
use crate::rules::repository;

use format::{Keys, Requirement};

/// The longest policy that is read, in bytes.
const LONGEST: usize = 1 << 20;

/// Why a text is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Not the JSON that it must be.
    #[error("it is malformed: {0}")]
    Malformed(String),
    /// A list of requirements without any, or one that contradicts itself.
    #[error("{place}: {problem}")]
    Requirement {
        /// Where.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// Longer than any policy.
    #[error("it is longer than {LONGEST} bytes")]
    TooLong,
}

impl Classify for PolicyError {
    fn kind(&self) -> Kind {
        Kind::InvalidArgument
    }

    fn hint(&self) -> Option<String> {
        Some("containers-policy.json(5) describes what it must look like".to_owned())
    }
}

/// What a host asks of images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    default: Vec<Requirement>,
    /// Scope → requirements, of the transport `docker`.
    registries: BTreeMap<String, Vec<Requirement>>,
}

impl Default for Policy {
    /// The policy of a host that has none: everything is accepted.
    fn default() -> Policy {
        Policy { default: vec![Requirement::Accept], registries: BTreeMap::new() }
    }
}

impl Policy {
    /// The policy in a text.
    ///
    /// # Errors
    /// It is none; a field is not known, which may have been meant to forbid something.
    pub fn parse(text: &[u8]) -> Result<Policy, PolicyError> {
        if text.len() > LONGEST {
            return Err(PolicyError::TooLong);
        }
        format::parse(text)
    }

    /// What it says about an image of this name.
    pub(crate) fn decide(&self, name: &ImageRef) -> Decision<'_> {
        for scope in scopes(name) {
            if let Some((scope, requirements)) = self.registries.iter().find(|(known, _)| same_scope(known, &scope)) {
                let scope = if scope.is_empty() { "all registries".to_owned() } else { scope.clone() };
                return Decision { scope, requirements };
            }
        }
        self.decide_nameless()
    }

    /// What it says about an image without a name.
    pub(crate) fn decide_nameless(&self) -> Decision<'_> {
        Decision { scope: "default".to_owned(), requirements: &self.default }
    }
}

/// The scopes that an image is in, the most specific first: name with tag or digest, repository, what is above it, host, hosts
/// with `*`, and the whole transport.
fn scopes(name: &ImageRef) -> Vec<String> {
    let mut repository = repository(name);
    let mut scopes = vec![match (name.digest(), name.tag()) {
        (Some(digest), _) => format!("{repository}@{digest}"),
        (None, tag) => format!("{repository}:{}", tag.unwrap_or("latest")),
    }];
    loop {
        scopes.push(repository.clone());
        match repository.rfind('/') {
            Some(slash) => repository.truncate(slash),
            None => break,
        }
    }
    let mut host = repository.split(':').next().unwrap_or_default();
    while let Some((_, above)) = host.split_once('.') {
        scopes.push(format!("*.{above}"));
        host = above;
    }
    scopes.push(String::new());
    scopes
}

/// Whether a scope of the policy is this one. Hosts are the same in any case.
fn same_scope(written: &str, scope: &str) -> bool {
    let split = |text: &str| text.find('/').unwrap_or(text.len());
    let ((host, path), (other, rest)) = (written.split_at(split(written)), scope.split_at(split(scope)));
    host.eq_ignore_ascii_case(other) && path == rest
}

/// The part of a policy that is about one image.
#[derive(Debug)]
pub(crate) struct Decision<'a> {
    scope: String,
    requirements: &'a [Requirement],
}

impl Decision<'_> {
    pub(crate) fn refusal(&self, reason: Reason) -> Refusal {
        Refusal { by: Authority::Policy { scope: self.scope.clone() }, reason }
    }

    /// Whether a signature is wanted.
    pub(crate) fn wants_signature(&self) -> Result<bool, Refusal> {
        let mut wanted = false;
        for requirement in self.requirements {
            match requirement {
                Requirement::Accept => {}
                Requirement::Reject => return Err(self.refusal(Reason::Rejected)),
                Requirement::Unsupported(what) => return Err(self.refusal(Reason::Unsupported((*what).to_owned()))),
                Requirement::Signed { .. } => wanted = true,
            }
        }
        Ok(wanted)
    }

    /// The places of the signatures that count, if all requirements hold.
    pub(crate) fn judge(
        &self,
        subject: Subject<'_>,
        signatures: &[Signature],
        read: &dyn Fn(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Vec<usize>, Refusal> {
        self.wants_signature()?;
        let mut counting = Vec::new();
        for requirement in self.requirements {
            let Requirement::Signed { keys, identity } = requirement else { continue };
            let keys = public_keys(keys, read).map_err(|reason| self.refusal(reason))?;
            let matches = |signed: &ImageRef| identity.matches(subject.name, signed);
            let places = accepted(signatures, &keys, subject.digests, &matches);
            counting.extend(places.map_err(|reason| self.refusal(reason))?);
        }
        Ok(counting)
    }
}

/// The keys that a requirement names. One that cannot be had spoils them all, as with skopeo: better than not to notice.
fn public_keys(keys: &Keys, read: &dyn Fn(&Path) -> io::Result<Vec<u8>>) -> Result<Vec<PublicKey>, Reason> {
    let parse = |what: String, text: &[u8]| {
        let text = std::str::from_utf8(text).unwrap_or_default();
        PublicKey::from_pem(text).map_err(|error| Reason::Key(format!("{what}: {error}")))
    };
    match keys {
        Keys::Data(texts) => texts.iter().map(|text| parse("keyData".to_owned(), text)).collect(),
        Keys::Files(paths) => {
            let keys = paths.iter().map(|path| {
                let text = read(path).map_err(|error| Reason::Key(format!("{}: {error}", path.display())))?;
                parse(path.display().to_string(), &text)
            });
            keys.collect()
        }
    }
}

#[cfg(test)]
mod tests;
