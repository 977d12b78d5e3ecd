// SPDX-License-Identifier: Apache-2.0
//! Paths to what they mean (distribution-spec, "Endpoints"). A repository's name has slashes, so a path is read from its
//! end.

use http::Method;
use oci::{Digest, RepositoryName, Tag};
use percent_encoding::percent_decode_str;

use crate::auth::{Action, Wanted};
use crate::error::ApiError;
use crate::storage::UploadId;

/// The longest path that is looked at, in bytes: a name, a tag and what stands between.
const MAX_PATH: usize = 1024;

/// A manifest, by one of its two names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ManifestReference {
    Digest(Digest),
    Tag(Tag),
}

/// What a path means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/v2/`
    Base,
    /// `/metrics`, which is no part of the protocol.
    Metrics,
    /// `/v2/_token`: passes, where there are some.
    Pass,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/<name>/tags/list`
    Tags(RepositoryName),
    /// `/v2/<name>/referrers/<digest>`
    Referrers(RepositoryName, Digest),
    /// `/v2/<name>/manifests/<reference>`
    Manifest(RepositoryName, ManifestReference),
    /// `/v2/<name>/blobs/<digest>`
    Blob(RepositoryName, Digest),
    /// `/v2/<name>/blobs/uploads/`
    Uploads(RepositoryName),
    /// `/v2/<name>/blobs/uploads/<id>`
    Upload(RepositoryName, UploadId),
}

impl Route {
    /// What `path` means.
    pub(crate) fn of(path: &str) -> Result<Route, ApiError> {
        if path == "/metrics" {
            return Ok(Route::Metrics);
        }
        if path == "/v2" {
            return Ok(Route::Base);
        }
        let rest = path.strip_prefix("/v2/").filter(|_| path.len() <= MAX_PATH).ok_or(ApiError::NoRoute)?;
        match rest {
            "" => return Ok(Route::Base),
            "_catalog" => return Ok(Route::Catalog),
            // No repository's name begins with an underscore.
            "_token" => return Ok(Route::Pass),
            _ => {}
        }
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return Ok(Route::Tags(repository(name)?));
        }
        if let Some(name) = rest.strip_suffix("/blobs/uploads").or_else(|| rest.strip_suffix("/blobs/uploads/")) {
            return Ok(Route::Uploads(repository(name)?));
        }
        let (front, last) = rest.rsplit_once('/').ok_or(ApiError::NoRoute)?;
        let last = percent_decode_str(last).decode_utf8().map_err(|_| ApiError::NoRoute)?;
        if let Some(name) = front.strip_suffix("/blobs/uploads") {
            let name = repository(name)?;
            return Ok(Route::Upload(name, last.parse().map_err(|()| ApiError::UploadUnknown)?));
        }
        if let Some(name) = front.strip_suffix("/manifests") {
            return Ok(Route::Manifest(repository(name)?, reference(&last)?));
        }
        if let Some(name) = front.strip_suffix("/blobs") {
            return Ok(Route::Blob(repository(name)?, last.parse()?));
        }
        if let Some(name) = front.strip_suffix("/referrers") {
            return Ok(Route::Referrers(repository(name)?, last.parse()?));
        }
        Err(ApiError::NoRoute)
    }

    /// What one must be allowed to do for a request with this method.
    pub(crate) fn wanted(&self, method: &Method) -> Wanted<'_> {
        match self {
            Route::Base | Route::Pass => Wanted::Entry,
            Route::Metrics => Wanted::Metrics,
            Route::Catalog => Wanted::Catalog,
            Route::Tags(name) | Route::Referrers(name, _) => Wanted::Repository(name, Action::Pull),
            // Even to ask how far it is: the upload is its pusher's.
            Route::Uploads(name) | Route::Upload(name, _) => Wanted::Repository(name, Action::Push),
            Route::Manifest(name, _) | Route::Blob(name, _) => {
                let action = match *method {
                    Method::GET | Method::HEAD => Action::Pull,
                    Method::DELETE => Action::Delete,
                    _ => Action::Push,
                };
                Wanted::Repository(name, action)
            }
        }
    }

    /// Its name in the metrics.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Route::Base => "base",
            Route::Metrics => "metrics",
            Route::Catalog => "catalog",
            Route::Pass => "token",
            Route::Tags(_) => "tags",
            Route::Referrers(..) => "referrers",
            Route::Manifest(..) => "manifest",
            Route::Blob(..) => "blob",
            Route::Uploads(_) => "uploads",
            Route::Upload(..) => "upload",
        }
    }

    /// The methods that it has, as an `Allow` header says them.
    pub(crate) fn methods(&self) -> &'static str {
        match self {
            Route::Base => "GET, HEAD",
            Route::Metrics | Route::Pass | Route::Catalog | Route::Tags(_) | Route::Referrers(..) => "GET",
            Route::Manifest(..) => "GET, HEAD, PUT, DELETE",
            Route::Blob(..) => "GET, HEAD, DELETE",
            Route::Uploads(_) => "POST",
            Route::Upload(..) => "GET, HEAD, PATCH, PUT, DELETE",
        }
    }
}

/// Names have no character that would have to be escaped: an escaped one is none.
fn repository(name: &str) -> Result<RepositoryName, ApiError> {
    name.parse().map_err(ApiError::Name)
}

fn reference(text: &str) -> Result<ManifestReference, ApiError> {
    if text.contains(':') {
        return Ok(ManifestReference::Digest(text.parse()?));
    }
    text.parse().map(ManifestReference::Tag).map_err(ApiError::Tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(path: &str) -> Option<Route> {
        Route::of(path).ok()
    }

    #[test]
    fn a_path_is_read_from_its_end() {
        let name = |text: &str| text.parse::<RepositoryName>().unwrap();
        let digest = Digest::of(b"");
        assert_eq!(route("/v2/"), Some(Route::Base));
        assert_eq!(route("/v2/a/blobs/tags/list"), Some(Route::Tags(name("a/blobs"))));
        assert_eq!(
            route(&format!("/v2/a/manifests/b/blobs/{digest}")),
            Some(Route::Blob(name("a/manifests/b"), digest))
        );
        let escaped = digest.to_string().replace(':', "%3A");
        assert_eq!(route(&format!("/v2/a/blobs/{escaped}")), Some(Route::Blob(name("a"), digest)));
        let tag = ManifestReference::Tag("v1".parse().unwrap());
        assert_eq!(route("/v2/a/b/manifests/v1"), Some(Route::Manifest(name("a/b"), tag)));
        assert_eq!(route("/v2/a/blobs/uploads/"), Some(Route::Uploads(name("a"))));
    }

    #[test]
    fn tricks_are_no_names() {
        for path in [
            "/v2/../manifests/x",
            "/v2/a/../b/manifests/x",
            "/v2/%2e%2e/manifests/x",
            "/v2/a%2fb/manifests/x",
            "/v2/A/manifests/x",
            "/v2//manifests/x",
            "/v2/a/manifests/..",
            "/v2/a/manifests/%2e%2e",
            "/v2/a/manifests/x%2fy",
            "/v2/a/blobs/sha256:..%2f..%2fetc%2fpasswd",
            "/v2/a/blobs/uploads/../../../etc/passwd",
            "/v2/a/blobs/uploads/..",
            "/v1/",
            "/",
            "//v2/",
            &format!("/v2/{}/tags/list", "a".repeat(256)),
            &format!("/v2/{}/tags/list", "a/".repeat(600)),
        ] {
            assert_eq!(route(path), None, "{path}");
        }
    }
}
