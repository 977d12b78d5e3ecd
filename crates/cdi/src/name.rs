// SPDX-License-Identifier: Apache-2.0
//! `vendor.com/class=device`.

use std::fmt;
use std::str::FromStr;

/// A device's full name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceName {
    /// `vendor.com/class`
    pub kind: String,
    /// The name among its kind.
    pub device: String,
}

/// Why a text names no device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no device's name: write vendor.com/class=device")]
pub struct NameError(String);

impl FromStr for DeviceName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<DeviceName, NameError> {
        let error = || NameError(text.chars().take(128).collect());
        let (kind, device) = text.split_once('=').ok_or_else(error)?;
        if is_kind(kind) && is_device(device) {
            Ok(DeviceName { kind: kind.to_owned(), device: device.to_owned() })
        } else {
            Err(error())
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.kind, self.device)
    }
}

/// `vendor.com/class`: a DNS name, then a word of at most 63 characters.
pub(crate) fn is_kind(text: &str) -> bool {
    text.split_once('/').is_some_and(|(vendor, class)| {
        vendor.len() <= 253
            && vendor.split('.').all(|label| label.len() <= 63 && is_word(label, "-_"))
            && is_class(class)
    })
}

fn is_class(text: &str) -> bool {
    text.len() <= 63 && text.starts_with(|first: char| first.is_ascii_alphabetic()) && is_word(text, "-_.")
}

/// The name of a device among its kind. A colon is in use (`gpu:0`), though the specification's text has none.
pub(crate) fn is_device(text: &str) -> bool {
    is_word(text, "-_.:")
}

/// Letters and digits, with these between them.
fn is_word(text: &str, between: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric();
    text.starts_with(plain)
        && text.ends_with(plain)
        && text.chars().all(|letter| plain(letter) || between.contains(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_a_vendor_a_class_and_a_device() {
        let name: DeviceName = "vendor.com/gpu=gpu0".parse().unwrap();
        assert_eq!((name.kind.as_str(), name.device.as_str()), ("vendor.com/gpu", "gpu0"));
        assert_eq!(name.to_string(), "vendor.com/gpu=gpu0");
        for good in ["nvidia.com/gpu=all", "a/b=0", "foo.bar.baz/foo-bar123.B_az=x:1"] {
            assert!(good.parse::<DeviceName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "gpu",
            "vendor.com/gpu",
            "vendor.com=gpu",
            "/gpu=a",
            "vendor.com/=a",
            "vendor.com/gpu=",
            "vendor.com/gpu/x=a",
            "vendor..com/gpu=a",
            ".vendor/gpu=a",
            "vendor.com/-gpu=a",
            "vendor.com/0gpu=a",
            "vendor.com/gpu=-a",
            "vendor.com/gpu=a b",
            "vendor.com/gpu=../../etc",
            "vendor.com/gpu=a\nb",
        ] {
            assert!(bad.parse::<DeviceName>().is_err(), "{bad:?}");
        }
    }
}
