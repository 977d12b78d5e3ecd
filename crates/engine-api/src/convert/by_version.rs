// SPDX-License-Identifier: Apache-2.0
//! Answers as older versions of the API had them. The models are the newest version's; what earlier clients look for and
//! later ones no longer get is added here, and what came later taken away.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::error::ApiError;
use crate::version::Version;

/// What of a configuration of an image was always empty, and is not sent any more.
const OF_CONTAINERS_ONLY: [(&str, Value); 10] = [
    ("Hostname", Value::Null),
    ("Domainname", Value::Null),
    ("AttachStdin", Value::Bool(false)),
    ("AttachStdout", Value::Bool(false)),
    ("AttachStderr", Value::Bool(false)),
    ("Tty", Value::Bool(false)),
    ("OpenStdin", Value::Bool(false)),
    ("StdinOnce", Value::Bool(false)),
    ("Image", Value::Null),
    ("OnBuild", Value::Null),
];

/// `answer` for a client of `version`: as it is for the newest, as `shape` makes it for others.
pub(crate) fn answer(
    version: Version,
    answer: impl Serialize,
    shape: fn(Version, &mut Value),
) -> Result<Response, ApiError> {
    if version == Version::NEWEST {
        return Ok(Json(answer).into_response());
    }
    let mut value = serde_json::to_value(answer).map_err(ApiError::Answer)?;
    shape(version, &mut value);
    Ok(Json(value).into_response())
}

/// `GET /images/json`.
pub(crate) fn images(version: Version, list: &mut Value) {
    each(list, |image| {
        virtual_size(version, image);
        if version.is_before(43) {
            for (names, none) in [("RepoTags", "<none>:<none>"), ("RepoDigests", "<none>@<none>")] {
                if image.get(names).and_then(Value::as_array).is_none_or(Vec::is_empty) {
                    image.insert(names.to_owned(), json!([none]));
                }
            }
        }
        if version.is_before(48) {
            image.remove("Descriptor");
        }
        if version.is_before(51) {
            image.insert("Containers".to_owned(), json!(-1));
        }
    });
}

/// `GET /images/NAME/json`.
pub(crate) fn image(version: Version, image: &mut Value) {
    let Some(image) = image.as_object_mut() else { return };
    virtual_size(version, image);
    if version.is_before(44) {
        image.entry("Created").or_insert_with(|| json!("0001-01-01T00:00:00Z"));
    }
    if version.is_before(45) {
        image.insert("Container".to_owned(), json!(""));
        image.insert("ContainerConfig".to_owned(), json!({}));
    }
    if version.is_before(48) {
        image.remove("Descriptor");
    }
    if version.is_before(50)
        && let Some(Value::Object(config)) = image.get_mut("Config")
    {
        for (field, value) in OF_CONTAINERS_ONLY {
            let value = match (field, value) {
                ("OnBuild", value) => value,
                (_, Value::Null) => json!(""),
                (_, value) => value,
            };
            config.entry(field).or_insert(value);
        }
    }
    for field in ["Parent", "DockerVersion"] {
        image.entry(field).or_insert_with(|| json!(""));
    }
}

/// `GET /system/df`.
pub(crate) fn disk_usage(version: Version, usage: &mut Value) {
    if let Some(list) = usage.get_mut("Images") {
        each(list, |image| virtual_size(version, image));
    }
    if version.is_before(42)
        && let Some(usage) = usage.as_object_mut()
    {
        usage.insert("BuilderSize".to_owned(), json!(0));
    }
}

/// `GET /info`.
pub(crate) fn info(version: Version, info: &mut Value) {
    let Some(info) = info.as_object_mut() else { return };
    if version.is_before(50) {
        info.insert("BridgeNfIptables".to_owned(), json!(false));
        info.insert("BridgeNfIp6tables".to_owned(), json!(false));
    }
    if version.is_before(49) {
        for commit in ["ContainerdCommit", "RuncCommit", "InitCommit"] {
            if let Some(Value::Object(commit)) = info.get_mut(commit)
                && let Some(id) = commit.get("ID").cloned()
            {
                commit.insert("Expected".to_owned(), id);
            }
        }
    }
}

fn virtual_size(version: Version, image: &mut Map<String, Value>) {
    if version.is_before(44)
        && let Some(size) = image.get("Size").cloned()
    {
        image.insert("VirtualSize".to_owned(), size);
    }
}

fn each(list: &mut Value, change: impl Fn(&mut Map<String, Value>)) {
    list.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut).for_each(change);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shaped(shape: fn(Version, &mut Value), minor: u32, mut value: Value) -> Value {
        shape(Version::of(minor), &mut value);
        value
    }

    #[test]
    fn images_have_a_virtual_size_until_1_43_and_a_descriptor_from_1_48_on() {
        let list = || json!([{"Size": 7, "RepoTags": [], "RepoDigests": ["a@b"], "Containers": 2, "Descriptor": {}}]);
        let old = shaped(images, 42, list());
        let expected = json!([{"Size": 7, "VirtualSize": 7, "RepoTags": ["<none>:<none>"], "RepoDigests": ["a@b"],
            "Containers": -1}]);
        assert_eq!(old, expected);
        assert_eq!(shaped(images, 43, list())[0]["RepoTags"], json!([]));
        assert_eq!(shaped(images, 44, list())[0].get("VirtualSize"), None);
        assert_eq!(shaped(images, 50, list())[0]["Descriptor"], json!({}));
        assert_eq!(shaped(images, 51, list()), list());
    }

    #[test]
    fn an_image_has_the_fields_of_containers_until_1_49() {
        let image = || json!({"Size": 7, "Config": {"Cmd": ["x"]}, "Descriptor": {}});
        let old = shaped(super::image, 40, image());
        assert_eq!(
            (&old["VirtualSize"], &old["Config"]["Tty"], &old["Container"]),
            (&json!(7), &json!(false), &json!(""))
        );
        assert_eq!((&old["Config"]["Hostname"], &old["Config"]["OnBuild"]), (&json!(""), &Value::Null));
        assert_eq!((&old["Config"]["Cmd"], &old["Created"]), (&json!(["x"]), &json!("0001-01-01T00:00:00Z")));
        assert!(old.get("Descriptor").is_none());
        let new = shaped(super::image, 50, image());
        assert_eq!(new["Config"], json!({"Cmd": ["x"]}));
        assert!(new.get("VirtualSize").is_none() && new.get("ContainerConfig").is_none());
    }

    #[test]
    fn the_host_and_its_disk_are_told_of_as_before() {
        let commits = || json!({"RuncCommit": {"ID": "a"}});
        assert_eq!(shaped(info, 48, commits())["RuncCommit"]["Expected"], "a");
        assert_eq!(shaped(info, 49, commits())["BridgeNfIptables"], false);
        assert_eq!(shaped(info, 50, commits()), commits());
        let usage = || json!({"Images": [{"Size": 3}]});
        assert_eq!(
            shaped(disk_usage, 41, usage()),
            json!({"Images": [{"Size": 3, "VirtualSize": 3}], "BuilderSize": 0})
        );
        assert_eq!(shaped(disk_usage, 44, usage()), usage());
    }
}
