// SPDX-License-Identifier: Apache-2.0
//! A pull of all tags of a repository: one after the other, and those that fail are told at the end.

use api_types::ProgressLine;
use errors::{Kind, Report};
use image::{Images, Platform};
use oci::{ImageRef, Tag};

use super::pull_one;
use crate::error::ApiError;
use crate::routes::progress::{self, Lines};

/// So many failures are told in full; the lines before the end have told all of them.
const TOLD: usize = 10;

/// Tags that could not be pulled.
struct FailedTags {
    /// The repository, as users call it.
    repository: String,
    /// How many tags it has.
    of: usize,
    failed: Vec<(String, Report)>,
    /// How many were not tried any more.
    untried: usize,
}

impl FailedTags {
    /// Told as one error, of the kind of the first.
    fn report(self) -> Report {
        let FailedTags { repository, of, failed, untried } = self;
        let mut text = format!("{} of {of} tags of {repository} could not be pulled", failed.len());
        for (tag, report) in failed.iter().take(TOLD) {
            text.push_str(&format!("; {tag}: {report}"));
        }
        if failed.len() > TOLD {
            text.push_str(&format!("; and {} more", failed.len() - TOLD));
        }
        if untried > 0 {
            text.push_str(&format!("; {untried} were not tried any more"));
        }
        let first = failed.into_iter().next().map(|(_, report)| report);
        let (kind, hint) = first.map_or((Kind::Internal, None), |first| (first.kind, first.hint));
        Report { kind, message: text, hint }
    }
}

/// Pulls every tag that the registry has in the repository of `name`. What fails for a tag's own reasons keeps nothing from the
/// others; what would fail for them, too, ends it.
pub(super) async fn pull(
    images: &Images,
    name: &ImageRef,
    platform: Option<Platform>,
    lines: &Lines,
) -> Result<Vec<ProgressLine>, ApiError> {
    let tags = images.tags_in_registry(name).await?;
    if tags.is_empty() {
        return Err(ApiError::NoTags(name.familiar_repository()));
    }
    let (mut failed, mut untried) = (Vec::new(), 0);
    for (done, tag) in tags.iter().enumerate() {
        let label = |text: String| ProgressLine { id: Some(tag.clone()), ..progress::status(text) };
        lines.say(label(format!("Pulling from {}", name.repository()))).await;
        let pulled = match tagged(name, tag) {
            Ok(name) => pull_one(images, &name, platform.clone(), lines).await,
            Err(error) => Err(error),
        };
        let error = match pulled {
            Ok(last) => {
                for line in last {
                    lines.say(line).await;
                }
                continue;
            }
            Err(error) => Report::from(&error),
        };
        lines.say(label(format!("Not pulled: {error}"))).await;
        let ends_all = matches!(error.kind, Kind::Unavailable | Kind::Unauthorized | Kind::NoSpace);
        failed.push((tag.clone(), error));
        if ends_all {
            untried = tags.len() - done - 1;
            break;
        }
    }
    if failed.is_empty() {
        return Ok(Vec::new());
    }
    let failed = FailedTags { repository: name.familiar_repository(), of: tags.len(), failed, untried };
    Err(ApiError::Tags(failed.report()))
}

/// The name of a tag, which may be something else: it is the registry's word.
fn tagged(name: &ImageRef, tag: &str) -> Result<ImageRef, ApiError> {
    let tag: Tag = tag.parse()?;
    Ok(format!("{}/{}:{}", name.registry(), name.repository(), tag.as_str()).parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_tag_is_no_part_of_a_name() {
        let name: ImageRef = "registry.example:5000/a/b".parse().unwrap();
        assert_eq!(tagged(&name, "v1").unwrap().to_string(), "registry.example:5000/a/b:v1");
        for bad in ["", "a/b", "x@sha256:0", "-v", "v 1", "a:b"] {
            assert!(tagged(&name, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn failures_are_told_up_to_a_bound() {
        let failed = |count: usize, untried| {
            let report = |n| (format!("v{n}"), Report::new(Kind::NotFound, "gone").with_hint("look"));
            FailedTags { repository: "a".into(), of: 20, failed: (0..count).map(report).collect(), untried }
        };
        let two = failed(2, 0).report();
        assert_eq!(two.message, "2 of 20 tags of a could not be pulled; v0: gone; v1: gone");
        assert_eq!((two.kind, two.hint.as_deref()), (Kind::NotFound, Some("look")));
        let many = failed(12, 3).report().message;
        assert!(many.ends_with("v9: gone; and 2 more; 3 were not tried any more"), "{many}");
    }
}
