// SPDX-License-Identifier: Apache-2.0
//! Which name a signature may be for (containers-policy.json(5), `signedIdentity`).

use oci::ImageRef;

use crate::rules::repository;

/// How the name in a signature must relate to the name by which an image is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Identity {
    /// The same, with its tag or digest.
    Exact,
    /// The same; or only the same repository, where the image is asked for by digest.
    RepoDigestOrExact,
    /// The same repository.
    Repository,
    /// This name.
    Reference(ImageRef),
    /// This repository.
    ExactRepository(ImageRef),
    /// As `RepoDigestOrExact`, when `prefix` of the image's name is replaced.
    Remapped { prefix: String, signed: String },
}

impl Identity {
    /// Whether a signature for `signed` is one for the image that is asked for as `wanted`.
    pub(super) fn matches(&self, wanted: &ImageRef, signed: &ImageRef) -> bool {
        match self {
            Identity::Exact => exact(wanted, signed),
            Identity::RepoDigestOrExact => digest_or_exact(wanted, signed),
            Identity::Repository => repository(wanted) == repository(signed),
            Identity::Reference(name) => exact(name, signed),
            Identity::ExactRepository(name) => repository(name) == repository(signed),
            Identity::Remapped { prefix, signed: replacement } => {
                remapped(wanted, prefix, replacement).is_some_and(|wanted| digest_or_exact(&wanted, signed))
            }
        }
    }
}

/// A name without tag and digest says too little to be the same as another.
fn is_bare(name: &ImageRef) -> bool {
    name.tag().is_none() && name.digest().is_none()
}

fn exact(wanted: &ImageRef, signed: &ImageRef) -> bool {
    let same = repository(wanted) == repository(signed);
    same && !is_bare(wanted) && wanted.tag() == signed.tag() && wanted.digest() == signed.digest()
}

fn digest_or_exact(wanted: &ImageRef, signed: &ImageRef) -> bool {
    match (wanted.tag(), wanted.digest()) {
        // That the signature is for this digest is seen elsewhere.
        (None, Some(_)) => !is_bare(signed) && repository(wanted) == repository(signed),
        _ => exact(wanted, signed),
    }
}

/// `name` with `replacement` for `prefix`, which ends with a component; as it is where it does not begin so. `None` when that
/// makes no name.
fn remapped(name: &ImageRef, prefix: &str, replacement: &str) -> Option<ImageRef> {
    let whole = repository(name);
    let Some(rest) = whole.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/')) else {
        return Some(name.clone());
    };
    let end = match (name.digest(), name.tag()) {
        (Some(digest), _) => format!("@{digest}"),
        (None, Some(tag)) => format!(":{tag}"),
        (None, None) => String::new(),
    };
    format!("{replacement}{rest}{end}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

    fn name(text: &str) -> ImageRef {
        text.replace("DIGEST", DIGEST).parse().unwrap()
    }

    /// How containers/image decides, in its own tests' words.
    #[test]
    fn names_match_as_they_do_for_skopeo() {
        let remapped = Identity::Remapped { prefix: "mirror.example/x".into(), signed: "a.example/y".into() };
        for (identity, wanted, signed, expected) in [
            (&Identity::Exact, "a.example/x:1", "a.example/x:1", true),
            (&Identity::Exact, "a.example/x:1", "a.example/x:2", false),
            (&Identity::Exact, "a.example/x:1", "a.example/x", false),
            (&Identity::Exact, "a.example/x@DIGEST", "a.example/x:1", false),
            (&Identity::Exact, "a.example/x", "a.example/x", false),
            (&Identity::RepoDigestOrExact, "a.example/x:1", "a.example/x:1", true),
            (&Identity::RepoDigestOrExact, "a.example/x:1", "a.example/x:2", false),
            (&Identity::RepoDigestOrExact, "a.example/x:1", "a.example/x", false),
            (&Identity::RepoDigestOrExact, "a.example/x@DIGEST", "a.example/x:1", true),
            (&Identity::RepoDigestOrExact, "a.example/x@DIGEST", "a.example/x", false),
            (&Identity::RepoDigestOrExact, "a.example/x@DIGEST", "a.example/y:1", false),
            (&Identity::Repository, "a.example/x:1", "a.example/x", true),
            (&Identity::Repository, "a.example/x:1", "a.example/x:2", true),
            (&Identity::Repository, "a.example/x:1", "a.example/y:1", false),
            (&Identity::Reference(name("a.example/x:1")), "b.example/z:9", "a.example/x:1", true),
            (&Identity::Reference(name("a.example/x:1")), "b.example/z:9", "b.example/z:9", false),
            (&Identity::ExactRepository(name("a.example/x")), "b.example/z:9", "a.example/x:7", true),
            (&Identity::ExactRepository(name("a.example/x")), "b.example/z:9", "b.example/z:9", false),
            (&remapped, "mirror.example/x/app:1", "a.example/y/app:1", true),
            (&remapped, "mirror.example/x:1", "a.example/y:1", true),
            (&remapped, "mirror.example/x/app:1", "mirror.example/x/app:1", false),
            (&remapped, "mirror.example/xy:1", "mirror.example/xy:1", true),
            (&remapped, "mirror.example/xy:1", "a.example/yy:1", false),
            (&remapped, "mirror.example/x/app@DIGEST", "a.example/y/app:1", true),
        ] {
            assert_eq!(identity.matches(&name(wanted), &name(signed)), expected, "{identity:?} {wanted} {signed}");
        }
    }
}
