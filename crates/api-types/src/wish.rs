// SPDX-License-Identifier: Apache-2.0
//! Docker's bodies with what its newest model does not say: what Corten has beyond it, which are the restart policy
//! `unhealthy`, ports that are published only when a container is ready, checks that answer one question each, and other
//! mounts for a container that is there; and what older clients still send.

use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::checks::{CheckFindings, CheckRequest};
use crate::mounts::MountChangeRequest;

/// Where a body may have the name of a restart policy.
const POLICY_NAMES: [&str; 2] = ["/HostConfig/RestartPolicy/Name", "/RestartPolicy/Name"];
const UNHEALTHY: &str = "unhealthy";
/// What Docker's model is told instead; whoever fails is started again by both.
const INSTEAD: &str = "on-failure";

/// Says when published ports lead to the container: `always` or `ready`.
const PUBLISH_WHEN: &str = "CortenPublishWhen";
/// Checks that answer one question each.
const CHECKS: &str = "CortenChecks";
/// Says of an update which mounts come and go.
const MOUNTS: &str = "CortenMounts";

/// An address for the container's first network, from clients that know of one network alone.
const MAC: &str = "MacAddress";

/// Limits that Docker's model has no more, of the kernel's memory alone. Older clients may still ask for them, and are told
/// rather than left in the belief that they hold.
const GONE: [&str; 4] =
    ["/HostConfig/KernelMemory", "/KernelMemory", "/HostConfig/KernelMemoryTCP", "/KernelMemoryTCP"];

/// Where a body may have `null` for a network in which a container shall be without further wishes: docker-py writes it so.
const ENDPOINTS: &str = "/NetworkingConfig/EndpointsConfig";

/// A body of Docker's model, and what it cannot say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wish<T> {
    /// The body, in which the policy `unhealthy` is `on-failure`.
    pub docker: T,
    /// Whether the restart policy is `unhealthy`.
    pub restart_unhealthy: bool,
    /// Whether published ports lead to the container only while it is ready.
    pub publish_when_ready: bool,
    /// Whether it has started, is alive, is ready: how that is found out.
    pub checks: CheckRequest,
    /// What checks have found: of a container that is told of.
    pub findings: CheckFindings,
    /// Which mounts come and go, of a container that there is.
    pub mount_changes: MountChangeRequest,
    /// The hardware address that older clients want for the container as a whole. Nobody sends it here.
    pub mac: Option<String>,
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Wish<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Wish<T>, D::Error> {
        let mut body = Value::deserialize(deserializer)?;
        let is_set = |place: &&&str| body.pointer(place).and_then(Value::as_i64).is_some_and(|limit| limit != 0);
        if let Some(place) = GONE.iter().find(is_set) {
            let name = place.trim_start_matches("/HostConfig").trim_start_matches('/');
            let text = format!("{name} is not supported: Linux has given this limit up, and Memory counts it");
            return Err(D::Error::custom(text));
        }
        let mut restart_unhealthy = false;
        for place in POLICY_NAMES {
            if let Some(name) = body.pointer_mut(place).filter(|name| **name == UNHEALTHY) {
                (*name, restart_unhealthy) = (INSTEAD.into(), true);
            }
        }
        let when =
            body.pointer_mut("/HostConfig").and_then(Value::as_object_mut).and_then(|host| host.remove(PUBLISH_WHEN));
        let publish_when_ready = match when.as_ref().map(|when| when.as_str().unwrap_or_default()) {
            None | Some("always") => false,
            Some("ready") => true,
            Some(_) => return Err(D::Error::custom(format!("{PUBLISH_WHEN} is always or ready"))),
        };
        let checks =
            body.pointer_mut("/HostConfig").and_then(Value::as_object_mut).and_then(|host| host.remove(CHECKS));
        let checks = checks.filter(|checks| !checks.is_null()).map(serde_json::from_value).transpose();
        let checks = checks.map_err(|error| D::Error::custom(format!("{CHECKS}: {error}")))?.unwrap_or_default();
        let mounts = body.as_object_mut().and_then(|body| body.remove(MOUNTS)).filter(|mounts| !mounts.is_null());
        let mount_changes = mounts.map(serde_json::from_value).transpose();
        let mount_changes = mount_changes.map_err(|error| D::Error::custom(format!("{MOUNTS}: {error}")))?;
        let mount_changes = mount_changes.unwrap_or_default();
        let mac = match body.as_object_mut().and_then(|body| body.remove(MAC)) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(_) => return Err(D::Error::custom(format!("{MAC} is no text"))),
        };
        let endpoints = body.pointer_mut(ENDPOINTS).and_then(Value::as_object_mut);
        for wishes in endpoints.into_iter().flat_map(serde_json::Map::values_mut).filter(|wishes| wishes.is_null()) {
            *wishes = Value::Object(serde_json::Map::new());
        }
        let docker = serde_json::from_value(body).map_err(D::Error::custom)?;
        // Who reads what is told of a container has Docker's model alone.
        let findings = CheckFindings::default();
        Ok(Wish { docker, restart_unhealthy, publish_when_ready, checks, findings, mount_changes, mac })
    }
}

impl<T: Serialize> Serialize for Wish<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let changes_mounts = self.mount_changes != MountChangeRequest::default();
        let has_checks = self.checks != CheckRequest::default();
        if !self.restart_unhealthy
            && !self.publish_when_ready
            && !changes_mounts
            && !has_checks
            && self.findings == CheckFindings::default()
        {
            return self.docker.serialize(serializer);
        }
        let mut body = serde_json::to_value(&self.docker).map_err(S::Error::custom)?;
        for place in POLICY_NAMES.into_iter().filter(|_| self.restart_unhealthy) {
            if let Some(name) = body.pointer_mut(place) {
                *name = UNHEALTHY.into();
            }
        }
        if let Some(host) = body.pointer_mut("/HostConfig").and_then(Value::as_object_mut)
            && self.publish_when_ready
        {
            host.insert(PUBLISH_WHEN.to_owned(), "ready".into());
        }
        if let Some(host) = body.pointer_mut("/HostConfig").and_then(Value::as_object_mut).filter(|_| has_checks) {
            host.insert(CHECKS.to_owned(), serde_json::to_value(&self.checks).map_err(S::Error::custom)?);
        }
        if let Some(state) = body.pointer_mut("/State").and_then(Value::as_object_mut)
            && let Value::Object(findings) = serde_json::to_value(&self.findings).map_err(S::Error::custom)?
        {
            state.extend(findings);
        }
        if let Some(body) = body.as_object_mut().filter(|_| changes_mounts) {
            body.insert(MOUNTS.to_owned(), serde_json::to_value(&self.mount_changes).map_err(S::Error::custom)?);
        }
        body.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::CheckRestart;
    use crate::docker::{ContainerCreateBody, ContainerInspectResponse, ContainerUpdateBody, RestartPolicyNameEnum};

    #[test]
    fn limits_that_are_no_more_are_refused_by_name() {
        for text in [r#"{"HostConfig":{"KernelMemory":1048576}}"#, r#"{"KernelMemory":-1}"#] {
            let error = serde_json::from_str::<Wish<ContainerCreateBody>>(text).unwrap_err().to_string();
            assert!(error.starts_with("KernelMemory is not supported"), "{error}");
        }
        let zeros = r#"{"HostConfig":{"KernelMemory":0,"KernelMemoryTCP":0}}"#;
        assert!(serde_json::from_str::<Wish<ContainerCreateBody>>(zeros).is_ok(), "older clients send all fields");
    }

    #[test]
    fn a_network_without_wishes_may_be_null() {
        let text = r#"{"Image":"x","NetworkingConfig":{"EndpointsConfig":{"mine":null}}}"#;
        let wish: Wish<ContainerCreateBody> = serde_json::from_str(text).unwrap();
        let endpoints = wish.docker.networking_config.unwrap().endpoints_config.unwrap();
        assert_eq!(endpoints.into_iter().collect::<Vec<_>>(), [("mine".to_owned(), Default::default())]);
    }

    #[test]
    fn the_policy_unhealthy_goes_both_ways_and_others_are_dockers() {
        let text = r#"{"HostConfig":{"RestartPolicy":{"MaximumRetryCount":2,"Name":"unhealthy"}},"Image":"x"}"#;
        let wish: Wish<ContainerCreateBody> = serde_json::from_str(text).unwrap();
        let policy = wish.docker.host_config.clone().and_then(|host| host.restart_policy).unwrap();
        assert_eq!((wish.restart_unhealthy, policy.name), (true, Some(RestartPolicyNameEnum::ON_FAILURE)));
        assert_eq!(serde_json::to_string(&wish).unwrap(), text);
        let text = r#"{"RestartPolicy":{"Name":"unhealthy"}}"#;
        let wish: Wish<ContainerUpdateBody> = serde_json::from_str(text).unwrap();
        assert_eq!((wish.restart_unhealthy, serde_json::to_string(&wish).unwrap()), (true, text.to_owned()));
        let text = r#"{"Image":"x","MacAddress":"02:42:00:00:00:07"}"#;
        let wish: Wish<ContainerCreateBody> = serde_json::from_str(text).unwrap();
        assert_eq!(wish.mac.as_deref(), Some("02:42:00:00:00:07"));
        let plain: Wish<ContainerUpdateBody> = serde_json::from_str(r#"{"RestartPolicy":{"Name":"always"}}"#).unwrap();
        assert!(!plain.restart_unhealthy);
        let text = r#"{"HostConfig":{"CortenPublishWhen":"ready"},"Image":"x"}"#;
        let wish: Wish<ContainerCreateBody> = serde_json::from_str(text).unwrap();
        assert_eq!((wish.publish_when_ready, serde_json::to_string(&wish).unwrap()), (true, text.to_owned()));
        let text = r#"{"CortenMounts":{"Add":[{"Target":"/data","Type":"tmpfs"}],"Remove":["/old"]},"Memory":9}"#;
        let wish: Wish<ContainerUpdateBody> = serde_json::from_str(text).unwrap();
        assert_eq!(wish.mount_changes.remove, ["/old"]);
        assert_eq!(serde_json::to_string(&wish).unwrap(), text);
        let text = r#"{"HostConfig":{"CortenChecks":{"Liveness":{"Test":["CORTEN-TCP","80"]}}},"Image":"x"}"#;
        let wish: Wish<ContainerCreateBody> = serde_json::from_str(text).unwrap();
        assert!(wish.checks.liveness.is_some() && wish.checks.startup.is_none());
        assert_eq!(serde_json::to_string(&wish).unwrap(), text);
        let restart = Some(CheckRestart { at: "now".into(), reason: "why".into() });
        let findings = CheckFindings { checks: None, restart };
        let docker = ContainerInspectResponse { state: Some(Default::default()), ..Default::default() };
        let told = serde_json::to_string(&Wish { docker, findings, ..Wish::default() }).unwrap();
        assert_eq!(told, r#"{"State":{"CortenRestart":{"At":"now","Reason":"why"}}}"#);
        for bad in [
            r#"{"HostConfig":{"CortenPublishWhen":"never"}}"#,
            r#"{"HostConfig":{"CortenChecks":{"Alive":{}}}}"#,
            r#"{"CortenMounts":{"Added":[]}}"#,
            r#"{"CortenMounts":{"Add":[{"Target":7}]}}"#,
            r#"{"MacAddress":7}"#,
            r#"{"RestartPolicy":{"Name":"sometimes"}}"#,
            r#"{"RestartPolicy":"#,
            "[]",
        ] {
            assert!(serde_json::from_str::<Wish<ContainerUpdateBody>>(bad).is_err(), "{bad}");
        }
    }
}
