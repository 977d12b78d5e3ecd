// SPDX-License-Identifier: Apache-2.0
//! Lists: tags, repositories, referrers (distribution-spec, "Content Discovery"), a page at a time.

use std::sync::Arc;

use http::header::{HeaderName, LINK};
use http::{HeaderMap, Response};
use oci::{Digest, RepositoryName, Tag};
use serde_json::{Value, json};

use super::body::Body;
use super::query::{Query, escape};
use super::{answer, blocking};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::manifest::{INDEX, MAX_MANIFEST};
use crate::registry::Registry;

const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
/// Entries of a page that does not say how many it wants, and of any page at most.
const PAGE: usize = 1000;
const MOST: usize = 10_000;

/// `GET /v2/_catalog`. An extension of the Docker registry's that clients rely on.
pub(crate) async fn catalog(
    registry: &Arc<Registry>,
    caller: &Caller<'_>,
    query: &Query,
) -> Result<Response<Body>, ApiError> {
    let storage = Arc::clone(&registry.storage);
    let all = blocking(move || storage.repositories()).await?;
    let names: Vec<&str> = all.iter().filter(|name| caller.sees(name)).map(RepositoryName::as_str).collect();
    let page = Page::of(&names, query, "/v2/_catalog")?;
    let mut response = answer::json("application/json", json!({ "repositories": page.entries }).to_string());
    page.link(response.headers_mut());
    Ok(response)
}

/// `GET /v2/<name>/tags/list`.
pub(crate) async fn tags(
    registry: &Arc<Registry>,
    name: &RepositoryName,
    query: &Query,
) -> Result<Response<Body>, ApiError> {
    let (storage, wanted) = (Arc::clone(&registry.storage), name.clone());
    let all = blocking(move || storage.tags(&wanted)).await?;
    let all = all.ok_or_else(|| ApiError::NameUnknown(name.to_string()))?;
    let names: Vec<&str> = all.iter().map(Tag::as_str).collect();
    let page = Page::of(&names, query, &format!("/v2/{name}/tags/list"))?;
    let mut response =
        answer::json("application/json", json!({ "name": name.as_str(), "tags": page.entries }).to_string());
    page.link(response.headers_mut());
    Ok(response)
}

/// Part of a sorted list.
struct Page<'a> {
    entries: &'a [&'a str],
    /// Where the rest is.
    next: Option<String>,
}

impl<'a> Page<'a> {
    /// The part that `n` and `last` ask for.
    fn of(all: &'a [&'a str], query: &Query, path: &str) -> Result<Page<'a>, ApiError> {
        let count = query.number("n")?.unwrap_or(PAGE).min(MOST);
        let from = query.get("last").map_or(0, |last| all.partition_point(|entry| *entry <= last));
        let entries = &all[from..all.len().min(from + count)];
        let next = match entries.last() {
            Some(last) if from + entries.len() < all.len() => {
                Some(format!("<{path}?last={}&n={count}>; rel=\"next\"", escape(last)))
            }
            _ => None,
        };
        Ok(Page { entries, next })
    }

    fn link(&self, headers: &mut HeaderMap) {
        if let Some(next) = &self.next {
            answer::set(headers, LINK, next);
        }
    }
}

/// `GET /v2/<name>/referrers/<digest>`. As long as the descriptors fit into one manifest they come at once; otherwise the
/// rest is behind a link.
pub(crate) async fn referrers(
    registry: &Arc<Registry>,
    name: &RepositoryName,
    subject: &Digest,
    query: &Query,
) -> Result<Response<Body>, ApiError> {
    let filter = query.get("artifactType").filter(|filter| !filter.is_empty()).map(str::to_owned);
    let last = query.get("last").map(str::parse::<Digest>).transpose()?;
    let (storage, of, about, wanted) = (Arc::clone(&registry.storage), name.clone(), *subject, filter.clone());
    let (entries, next) = blocking(move || {
        let mut entries: Vec<Value> = Vec::new();
        let (mut bytes, mut previous) = (0, None);
        for digest in storage.referrers(&of, &about)?.into_iter().filter(|digest| Some(*digest) > last) {
            let Some(entry) = storage.referrer(&of, &about, &digest)? else { continue };
            if wanted.as_deref().is_some_and(|wanted| !has_type(&entry, wanted)) {
                continue;
            }
            // What annotations may have is bounded by their manifest's length.
            bytes += entry.to_string().len();
            if !entries.is_empty() && (bytes > MAX_MANIFEST || entries.len() == PAGE) {
                return Ok::<_, ApiError>((entries, previous));
            }
            entries.push(entry);
            previous = Some(digest);
        }
        Ok((entries, None))
    })
    .await?;
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
    let mut response = answer::json(INDEX, index.to_string());
    if filter.is_some() {
        answer::set(response.headers_mut(), FILTERS_APPLIED, "artifactType");
    }
    if let Some(last) = next {
        let filter = filter.map_or_else(String::new, |filter| format!("&artifactType={}", escape(&filter)));
        let link = format!("</v2/{name}/referrers/{subject}?last={last}{filter}>; rel=\"next\"");
        answer::set(response.headers_mut(), LINK, &link);
    }
    Ok(response)
}

fn has_type(descriptor: &Value, wanted: &str) -> bool {
    descriptor["artifactType"].as_str() == Some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_begins_after_the_last_and_links_to_the_rest() {
        let all = ["a", "b", "c", "d"];
        let page = |query: &str| {
            let query = Query::of(&format!("/x?{query}").parse().unwrap());
            let page = Page::of(&all, &query, "/x").unwrap();
            (page.entries.to_vec(), page.next)
        };
        assert_eq!(page(""), (all.to_vec(), None));
        assert_eq!(page("n=2"), (vec!["a", "b"], Some("</x?last=b&n=2>; rel=\"next\"".to_owned())));
        assert_eq!(page("n=2&last=b"), (vec!["c", "d"], None));
        assert_eq!(page("last=bb"), (vec!["c", "d"], None), "one that is no more is still a place");
        assert_eq!(page("n=0"), (vec![], None));
        assert_eq!(page("n=9&last=z"), (vec![], None));
    }
}
