// SPDX-License-Identifier: Apache-2.0
//! The platforms that a client asks about, as JSON, which Docker's clients write, or as `OS/ARCHITECTURE[/VARIANT]`; and
//! whether an image is for them. Of one name the image for one platform is here.

use api_types::docker::OciPlatform;
use image::{Image, Platform};

use crate::error::ApiError;
use crate::extract::Parameters;
use crate::version::Version;

/// The version in which archives may be of several platforms at once.
const SEVERAL: u32 = 52;

/// The platform that is asked for, since the version 1.`minor`; before it nobody could ask.
pub(crate) fn one(minor: u32, version: Version, parameters: &Parameters) -> Result<Option<Platform>, ApiError> {
    if version.is_before(minor) { Ok(None) } else { any_version(parameters) }
}

/// The same in every version.
pub(crate) fn any_version(parameters: &Parameters) -> Result<Option<Platform>, ApiError> {
    let mut all = named("platform", parameters)?;
    match all.len() {
        0 | 1 => Ok(all.pop()),
        _ => Err(ApiError::invalid("platform", "here only one can be asked about at a time")),
    }
}

/// The platforms of an archive that is asked for, since 1.48; several since 1.52.
pub(crate) fn of_archive(version: Version, parameters: &Parameters) -> Result<Vec<Platform>, ApiError> {
    if version.is_before(48) {
        return Ok(Vec::new());
    }
    let all = named("platform", parameters)?;
    if all.len() > 1 && version.is_before(SEVERAL) {
        return Err(ApiError::invalid("platform", "several at once are there since version 1.52 of the API"));
    }
    Ok(all)
}

/// All values of the parameter `name`, each once. A list of JSON stands for its entries.
pub(crate) fn named(name: &'static str, parameters: &Parameters) -> Result<Vec<Platform>, ApiError> {
    let json = |error: serde_json::Error| ApiError::invalid(name, format!("no JSON of a platform: {error}"));
    let mut all = Vec::new();
    for text in parameters.all(name).map(str::trim).filter(|text| !matches!(*text, "" | "null")) {
        let read: Vec<Platform> = match text.as_bytes()[0] {
            b'[' => {
                let list: Vec<OciPlatform> = serde_json::from_str(text).map_err(json)?;
                list.into_iter().map(|platform| checked(name, platform)).collect::<Result<_, _>>()?
            }
            b'{' => vec![checked(name, serde_json::from_str(text).map_err(json)?)?],
            _ => vec![text.parse()?],
        };
        for platform in read {
            if !all.contains(&platform) {
                all.push(platform);
            }
        }
    }
    Ok(all)
}

fn checked(name: &'static str, platform: OciPlatform) -> Result<Platform, ApiError> {
    let text = |field: Option<String>| field.filter(|text| !text.is_empty());
    let OciPlatform { os, architecture, variant, os_version, os_features } = platform;
    if text(os_version).is_some() || os_features.is_some_and(|list| !list.is_empty()) {
        return Err(ApiError::Unsupported(format!(
            "{name}: os.version and os.features are Windows', and choosing by them"
        )));
    }
    let (Some(os), Some(architecture)) = (text(os), text(architecture)) else {
        return Err(ApiError::invalid(name, "both os and architecture must be there"));
    };
    // As a text it is checked, and usual names of architectures are understood.
    let variant = text(variant).map(|variant| format!("/{variant}")).unwrap_or_default();
    Ok(format!("{os}/{architecture}{variant}").parse()?)
}

/// Refuses an image that is here for another platform than all of those that are asked about.
pub(crate) fn must_serve<'p>(image: &Image, wanted: impl IntoIterator<Item = &'p Platform>) -> Result<(), ApiError> {
    let is = Platform::of(&image.config);
    match wanted.into_iter().find(|wanted| !is.serves(wanted)) {
        None => Ok(()),
        Some(wanted) => Err(ApiError::OtherPlatform { is: is.to_string(), wanted: wanted.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(values: &[&str]) -> Parameters {
        Parameters(values.iter().map(|value| ("platform".to_owned(), (*value).to_owned())).collect())
    }

    fn read(values: &[&str]) -> Result<Vec<String>, ApiError> {
        Ok(named("platform", &parameters(values))?.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn platforms_are_json_or_text_and_may_be_several() {
        let arm = r#"{"os":"linux","architecture":"arm64","variant":"v8"}"#;
        assert_eq!(read(&[arm, "linux/amd64", arm]).unwrap(), ["linux/arm64/v8", "linux/amd64"]);
        assert_eq!(read(&[&format!("[{arm},{{\"os\":\"linux\",\"architecture\":\"x86_64\"}}]")]).unwrap().len(), 2);
        assert_eq!(read(&["", "null", "[]"]).unwrap(), Vec::<String>::new());
        for bad in [
            "{",
            "[7]",
            "{}",
            "linux",
            r#"{"os":"linux"}"#,
            r#"{"os":"li nux","architecture":"amd64"}"#,
            r#"{"os":"windows","architecture":"amd64","os.version":"10"}"#,
        ] {
            assert!(read(&[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn versions_say_how_many_may_be_asked_about() {
        let (two, one_of) = (parameters(&["linux/amd64", "linux/arm64"]), parameters(&["linux/amd64"]));
        assert!(of_archive(Version::of(51), &two).is_err() && of_archive(Version::of(51), &one_of).is_ok());
        assert_eq!(of_archive(Version::of(52), &two).unwrap().len(), 2);
        assert_eq!(of_archive(Version::of(47), &two).unwrap(), []);
        assert!(one(48, Version::NEWEST, &two).is_err());
        assert_eq!(one(48, Version::of(47), &two).unwrap(), None);
    }
}
