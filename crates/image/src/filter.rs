// SPDX-License-Identifier: Apache-2.0
//! Which images are meant: the filters of `images` and `image prune`, by Docker's rules.

mod glob;

use jiff::Timestamp;
use oci::ImageRef;

use crate::error::ImageError;
use crate::{Image, Images};

use glob::Glob;

/// What an image must be. The default: nothing in particular.
#[derive(Debug, Clone, Default)]
pub struct Filters {
    /// Whether it has no name at all.
    pub dangling: Option<bool>,
    /// Patterns, one of which a name of it must match: the name with its tag, or without.
    pub references: Vec<String>,
    /// Labels it must have, all of them: `KEY` or `KEY=VALUE`.
    pub labels: Vec<String>,
    /// Labels of which it must have none.
    pub without_labels: Vec<String>,
    /// The name or id of an image that must be younger.
    pub before: Option<String>,
    /// The name or id of an image that must be older.
    pub since: Option<String>,
    /// The moment before which it must have been made.
    pub until: Option<Timestamp>,
}

impl Images {
    /// The images that `filters` let through, sorted by their names. Where patterns are given, an image is shown with
    /// the names that match alone.
    ///
    /// # Errors
    /// [`ImageError::Pattern`]; [`ImageError::NotFound`] for the image of `before` or `since`; the metadata cannot be
    /// read.
    pub fn select(&self, filters: &Filters) -> Result<Vec<Image>, ImageError> {
        let made = |name: &Option<String>| -> Result<Option<Timestamp>, ImageError> {
            let Some(name) = name else { return Ok(None) };
            Ok(Some(created(&self.resolve(name)?)))
        };
        let (before, since) = (made(&filters.before)?, made(&filters.since)?);
        let patterns = filters.references.iter().map(|text| Glob::new(text));
        let patterns: Vec<Glob> = patterns.collect::<Result<_, _>>()?;
        let mut images = self.list()?;
        images.retain_mut(|image| {
            let at = created(image);
            filters.dangling.is_none_or(|wanted| image.names.is_empty() == wanted)
                && filters.labels.iter().all(|label| has_label(image, label))
                && !filters.without_labels.iter().any(|label| has_label(image, label))
                && before.is_none_or(|limit| at < limit)
                && since.is_none_or(|limit| at > limit)
                && filters.until.is_none_or(|limit| at < limit)
                && keep_matching(image, &patterns)
        });
        Ok(images)
    }
}

/// When the image was made; long ago, where it does not say.
fn created(image: &Image) -> Timestamp {
    image.created.as_deref().and_then(|time| time.parse().ok()).unwrap_or(Timestamp::MIN)
}

fn has_label(image: &Image, wanted: &str) -> bool {
    let labels = image.config.config().as_ref().and_then(|config| config.labels().as_ref());
    let (key, value) = match wanted.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (wanted, None),
    };
    labels.and_then(|labels| labels.get(key)).is_some_and(|found| value.is_none_or(|value| found == value))
}

/// Drops the names that no pattern matches. `false` when none is left.
fn keep_matching(image: &mut Image, patterns: &[Glob]) -> bool {
    if patterns.is_empty() {
        return true;
    }
    let matches = |name: &ImageRef| {
        let (full, repository) = (name.to_string(), name.familiar_repository());
        patterns.iter().any(|pattern| pattern.matches(&full) || pattern.matches(&repository))
    };
    image.names.retain(matches);
    image.repo_digests.retain(matches);
    !image.names.is_empty()
}
