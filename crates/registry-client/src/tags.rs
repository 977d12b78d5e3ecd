// SPDX-License-Identifier: Apache-2.0
//! The tags of a repository (distribution-spec, "Content Discovery"), a page after the other.

use std::collections::BTreeSet;

use http::header::LINK;
use http::{HeaderMap, StatusCode, Uri};
use oci::ImageRef;
use serde::Deserialize;

use crate::ask::Ask;
use crate::client::Client;
use crate::error::RegistryError;

/// The longest page, in bytes: as long as a manifest.
const MAX_PAGE: u64 = 4 << 20;
/// The most pages. Registries put a hundred tags on one, or more.
const MAX_PAGES: usize = 1000;
/// The most bytes of all pages.
const MAX_LIST: u64 = 32 << 20;

#[derive(Deserialize)]
struct Page {
    /// Some registries write null for none.
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl Client {
    /// The tags in the repository of `image`, whatever tag that has itself, each once and in the registry's order. They are
    /// as the registry gives them: that they can be tags is not checked. Mirrors may not have all, so they are only asked
    /// where nobody answers for the registry itself.
    ///
    /// # Errors
    /// The repository is not there or not to be read; the list has no end.
    pub async fn tags(&self, image: &ImageRef) -> Result<Vec<String>, RegistryError> {
        let places = self.transport().places(image)?;
        let error = match self.tags_at(&places.own).await {
            Ok(tags) => return Ok(tags),
            Err(error) => error,
        };
        if matches!(error, RegistryError::Unreachable { .. } | RegistryError::Silent { .. }) {
            for mirror in &places.mirrors {
                match self.tags_at(mirror).await {
                    Ok(tags) => return Ok(tags),
                    Err(error) => self.transport().pass_over(mirror, &error),
                }
            }
        }
        Err(error)
    }

    async fn tags_at(&self, image: &ImageRef) -> Result<Vec<String>, RegistryError> {
        let (mut tags, mut known, mut asked, mut room) = (Vec::new(), BTreeSet::new(), BTreeSet::new(), MAX_LIST);
        let mut path = format!("/v2/{}/tags/list", image.repository());
        while asked.len() < MAX_PAGES && asked.insert(path.clone()) {
            let ask = Ask::pull(image.registry(), image.repository(), &path);
            let response = self.transport().get(ask).await?;
            if response.status() == StatusCode::NOT_FOUND {
                let message = self.transport().message(ask, response.into_body()).await;
                let (image, registry) = (image.familiar_repository(), image.registry().to_owned());
                return Err(RegistryError::ImageNotFound { image, registry, message });
            }
            if !response.status().is_success() {
                return Err(self.refused(ask, &image.familiar_repository(), response).await);
            }
            let next = next(&path, response.headers());
            let body = self.transport().read(ask, response.into_body(), MAX_PAGE.min(room)).await?;
            room -= body.len() as u64;
            let page: Page = serde_json::from_slice(&body).map_err(|source| {
                let registry = image.registry().to_owned();
                RegistryError::Malformed { registry, what: "list of tags", source }
            })?;
            tags.extend(page.tags.unwrap_or_default().into_iter().filter(|tag| known.insert(tag.clone())));
            match next {
                Some(next) => path = next,
                None => return Ok(tags),
            }
        }
        Err(RegistryError::Endless { registry: image.registry().to_owned(), path })
    }
}

/// Path and query of the page behind this one, if there is one (RFC 8288). It is the same registry's, whatever host the link
/// names.
fn next(path: &str, headers: &HeaderMap) -> Option<String> {
    let links = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    let mut links = links.flat_map(|value| value.split(','));
    let target = links.find_map(|link| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = |parameter: &str| {
            let value = parameter.trim().strip_prefix("rel=").map(|value| value.trim_matches('"'));
            value.is_some_and(|value| value.eq_ignore_ascii_case("next"))
        };
        parameters.split(';').any(is_next).then_some(target)
    })?;
    let own = path.split('?').next().unwrap_or(path);
    let address: Uri = match target.as_bytes().first()? {
        b'?' => format!("{own}{target}").parse().ok()?,
        b'/' => target.parse().ok()?,
        _ if target.contains("://") => target.parse().ok()?,
        _ => format!("{}/{target}", own.rsplit_once('/').map_or("", |(directory, _)| directory)).parse().ok()?,
    };
    address.path_and_query().map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_where_the_link_leads_and_never_elsewhere() {
        let after = |link: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(LINK, link.parse().unwrap());
            next("/v2/a/tags/list?n=1", &headers)
        };
        for (link, expected) in [
            ("</v2/a/tags/list?last=x&n=1>; rel=\"next\"", Some("/v2/a/tags/list?last=x&n=1")),
            ("<https://b.example/v2/a/tags/list?last=x>; rel=next", Some("/v2/a/tags/list?last=x")),
            ("<?last=x>;rel=\"next\"", Some("/v2/a/tags/list?last=x")),
            ("<list?last=x>; title=\"x\"; rel=\"Next\"", Some("/v2/a/tags/list?last=x")),
            ("</first>; rel=\"first\", </v2/a/tags/list?last=y>; rel=\"next\"", Some("/v2/a/tags/list?last=y")),
            ("</v2/a/tags/list?last=x>; rel=\"prev\"", None),
            ("/v2/a/tags/list?last=x", None),
            ("<>; rel=\"next\"", None),
        ] {
            assert_eq!(after(link).as_deref(), expected, "{link}");
        }
    }
}
