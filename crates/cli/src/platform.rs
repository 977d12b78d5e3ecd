// SPDX-License-Identifier: Apache-2.0
//! `--platform` of commands about an image that is here: it has one, and that must be meant.

use client::Client;
use errors::Kind;

use crate::failure::Failure;

/// Refuses an image that is here for another platform than `wanted`: OS[/ARCH[/VARIANT]].
pub(crate) async fn check(client: &Client, image: &str, wanted: Option<&str>) -> Result<(), Failure> {
    let Some(wanted) = wanted else { return Ok(()) };
    let found = client.inspect_image(image).await?;
    let has = [found.os, found.architecture, found.variant].map(Option::unwrap_or_default);
    if fits(wanted, &has) {
        return Ok(());
    }
    let has: Vec<&str> = has.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    Err(Failure::new(Kind::NotFound, format!("the image {image} is here for {}, not for {wanted}", has.join("/")))
        .with_hint(format!("corten pull --platform {wanted} {image} brings that one")))
}

fn fits(wanted: &str, has: &[String; 3]) -> bool {
    let parts: Vec<&str> = wanted.split('/').collect();
    parts.len() <= has.len() && parts.iter().zip(has).all(|(wanted, has)| wanted == has)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_open_fits() {
        let has = ["linux", "arm64", "v8"].map(str::to_owned);
        for (wanted, expected) in [
            ("linux", true),
            ("linux/arm64", true),
            ("linux/arm64/v8", true),
            ("linux/arm64/v7", false),
            ("linux/amd64", false),
            ("linux/arm64/v8/x", false),
            ("", false),
        ] {
            assert_eq!(fits(wanted, &has), expected, "{wanted}");
        }
    }
}
