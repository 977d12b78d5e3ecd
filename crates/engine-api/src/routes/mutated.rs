// SPDX-License-Identifier: Apache-2.0
//! Whatever a client sends, every extractor answers: with a value, or with an error that is the client's, as JSON. Bodies are
//! those of real clients with some values exchanged for others, some names doubled, and some cut off; queries are made of
//! the names that routes know and of texts that try them.
//!
//! `CORTEN_FUZZ_SECONDS` is for how long; 2 without it.

use std::time::{Duration, Instant};

use api_types::docker::{
    ContainerCreateBody, ContainerUpdateBody, ExecConfig, ExecStartConfig, NetworkConnectRequest, NetworkCreateRequest,
    NetworkDisconnectRequest, VolumeCreateRequest,
};
use api_types::{
    AttachRequest, ExecRequest, LeaseRequest, LeaseResource, PortChangeRequest, RunRequest, SignatureText,
    TrustRuleRequest, Wish,
};
use axum::body::Body as HttpBody;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::{Method, Uri};
use axum::response::IntoResponse;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use testkit::mutated::{TEXTS, places};

use crate::convert::{endpoints, networks, old_wishes, to_spec};
use crate::error::ApiError;
use crate::extract::{Body, Parameters};
use crate::filters::{Filters, moment};
use crate::version::{Version, strip};

/// How many cases are tried between two looks at the clock.
const ROUND: u32 = 64;

/// Tries `check` until its part of the time is over: there are so many of these tests.
fn for_a_while<T: std::fmt::Debug>(strategy: impl Strategy<Value = T>, check: impl Fn(T) -> Result<(), TestCaseError>) {
    const TESTS: u32 = 3;
    let seconds = std::env::var("CORTEN_FUZZ_SECONDS").map_or(2, |text| text.parse().expect("a number of seconds"));
    let end = Instant::now() + Duration::from_secs(seconds) / TESTS;
    let config = Config { cases: ROUND, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    while {
        runner.run(&strategy, &check).unwrap_or_else(|error| panic!("{error}"));
        Instant::now() < end
    } {}
}

/// Bodies as clients send them: of a container, an update, an exec, a network, a place in one, a volume, and of Corten's own
/// routes a run, an exec, a change of ports and a lease.
fn originals() -> Vec<Value> {
    serde_json::from_str(include_str!("mutated.json")).expect("JSON")
}

/// Texts that mean something somewhere, and others.
fn text() -> impl Strategy<Value = String> {
    let known = proptest::sample::select(TEXTS.to_vec()).prop_map(str::to_owned);
    prop_oneof![known, "\\PC{0,16}", "[0-9a-z:/,.=-]{0,12}"]
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        prop_oneof![
            Just(i64::MIN),
            Just(-1),
            Just(0),
            Just(1),
            Just(i64::from(u32::MAX)),
            Just(i64::MAX),
            any::<i64>()
        ]
        .prop_map(|number| json!(number)),
        Just(json!(u64::MAX)),
        prop_oneof![Just(0.5), Just(-1e308), Just(1e19), any::<f64>()].prop_map(|number| json!(number)),
    ]
}

/// What a value is exchanged for.
fn replacement() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(|value| json!(value)),
        number(),
        text().prop_map(|text| json!(text)),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(|items| json!(items)),
            proptest::collection::vec((text(), inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// A body: one of a real client's, changed.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let changes = proptest::collection::vec((any::<prop::sample::Index>(), replacement()), 0..5);
    let whole = (proptest::sample::select(originals()), changes).prop_map(|(mut value, changes)| {
        for (place, new) in changes {
            let found = places(&value);
            if let Some(old) = value.pointer_mut(&found[place.index(found.len())]) {
                *old = new;
            }
        }
        serde_json::to_vec(&value).expect("JSON")
    });
    let broken = (whole, any::<prop::sample::Index>(), 0..8, replacement()).prop_map(|(mut text, at, how, new)| {
        let at = at.index(text.len().max(1)).min(text.len());
        match how {
            0 => text.truncate(at),
            1 => text.splice(at..at, *b"\xff").for_each(drop),
            2 => text.splice(at..at, b"[".repeat(200)).for_each(drop),
            // Every object has this name twice then, and the first of the two is another one.
            3 | 4 => {
                let doubled = ["HostConfig", "Image", "Name", "Cmd", "MacAddress", "PortBindings", "config"][at % 7];
                text = String::from_utf8_lossy(&text).replace('{', &format!("{{\"{doubled}\":{new},")).into_bytes();
            }
            _ => {}
        }
        text
    });
    let deep =
        (1_usize..100_000).prop_map(|depth| [b"{\"a\":".repeat(depth), b"1".to_vec(), b"}".repeat(depth)].concat());
    prop_oneof![20 => broken, 1 => proptest::collection::vec(any::<u8>(), 0..64), 1 => deep]
}

/// That an answer to this error is one that a client can make use of, and not the daemon's own failure.
fn is_the_clients(error: ApiError) -> Result<(), TestCaseError> {
    let shown = error.to_string();
    let response = error.into_response();
    let status = response.status();
    prop_assert!(status.is_client_error() || status.as_u16() == 501, "{status}: {shown}");
    let body = ready(axum::body::to_bytes(response.into_body(), usize::MAX)).expect("a body in one piece");
    let answer: Value = serde_json::from_slice(&body).expect("JSON");
    prop_assert!(answer["message"].as_str().is_some_and(|message| !message.is_empty()), "{answer}");
    Ok(())
}

fn answered<T>(result: Result<T, ApiError>) -> Result<Option<T>, TestCaseError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) => is_the_clients(error).map(|()| None),
    }
}

/// What needs no waiting; timers are there for those who ask for one.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(future)
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<Option<T>, TestCaseError> {
    let request = Request::new(HttpBody::from(bytes.to_vec()));
    answered(ready(Body::<T>::from_request(request, &())).map(|Body(value)| value))
}

#[test]
fn a_body_is_understood_or_refused() {
    let versions = [Version::of(24), Version::of(43), Version::of(51), Version::NEWEST, Version::UNNAMED];
    for_a_while((body(), proptest::sample::select(versions.to_vec())), |(bytes, version)| {
        if let Some(wish) = read::<Wish<ContainerCreateBody>>(&bytes)? {
            answered(old_wishes::container(version, wish, Some("n".into())))?;
        }
        if let Some(wish) = read::<Wish<ContainerUpdateBody>>(&bytes)? {
            answered(to_spec::changes(wish))?;
        }
        if let Some(config) = read::<ExecConfig>(&bytes)? {
            answered(super::attach::detach_keys(config.detach_keys.as_deref()))?;
            answered(to_spec::exec(config))?;
        }
        if let Some(request) = read::<NetworkCreateRequest>(&bytes)? {
            answered(networks::spec(request))?;
        }
        if let Some(settings) = read::<NetworkConnectRequest>(&bytes)?.and_then(|request| request.endpoint_config) {
            answered(endpoints::wish(&settings))?;
        }
        if let Some(request) = read::<VolumeCreateRequest>(&bytes)? {
            answered(to_spec::check_driver(request.driver.as_deref()))?;
        }
        if let Some(request) = read::<PortChangeRequest>(&bytes)? {
            answered(to_spec::ports(Some(&request.publish)))?;
            answered(to_spec::ports(Some(&request.withdraw)))?;
        }
        if let Some(request) = read::<RunRequest>(&bytes)? {
            answered(old_wishes::container(Version::UNNAMED, request.config, request.name))?;
        }
        if let Some(request) = read::<ExecRequest>(&bytes)? {
            answered(to_spec::exec(request.config))?;
        }
        read::<ExecStartConfig>(&bytes)?;
        read::<NetworkDisconnectRequest>(&bytes)?;
        read::<AttachRequest>(&bytes)?;
        read::<LeaseRequest>(&bytes)?;
        read::<LeaseResource>(&bytes)?;
        read::<SignatureText>(&bytes)?;
        read::<TrustRuleRequest>(&bytes)?;
        Ok(())
    });
}

/// A value of the parameter `filters`, in either of its forms or in none.
fn filters() -> impl Strategy<Value = String> {
    let known = [
        "all",
        "ancestor",
        "before",
        "container",
        "dangling",
        "driver",
        "event",
        "exited",
        "expose",
        "health",
        "id",
        "image",
        "label",
        "label!",
        "name",
        "network",
        "publish",
        "reference",
        "scope",
        "since",
        "status",
        "type",
        "until",
        "volume",
    ];
    let name = prop_oneof![4 => proptest::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => text()];
    let values = prop_oneof![
        3 => proptest::collection::vec(text(), 0..4).prop_map(|list| json!(list)),
        2 => proptest::collection::vec((text(), any::<bool>()), 0..4)
            .prop_map(|set| Value::Object(set.into_iter().map(|(value, wanted)| (value, json!(wanted))).collect())),
        1 => replacement(),
    ];
    let map = proptest::collection::vec((name, values), 0..4);
    let text_of = |map: Vec<(String, Value)>| {
        // By hand: a name may be there twice.
        let fields: Vec<String> = map.iter().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
        format!("{{{}}}", fields.join(","))
    };
    prop_oneof![6 => map.prop_map(text_of), 1 => text(), 1 => replacement().prop_map(|value| value.to_string())]
}

#[test]
fn filters_are_understood_or_refused() {
    for_a_while(filters(), |text| {
        let parameters = Parameters(vec![("filters".to_owned(), text)]);
        let read = || Filters::of(&parameters);
        answered(read().and_then(Filters::into_prune))?;
        answered(read().and_then(Filters::into_container_prune))?;
        answered(read().and_then(Filters::into_volumes))?;
        answered(read().and_then(Filters::into_volume_prune))?;
        answered(read().and_then(Filters::into_events))?;
        answered(read().and_then(Filters::into_containers))?;
        answered(read().and_then(Filters::into_networks))?;
        answered(read().and_then(Filters::into_network_prune))?;
        answered(read().and_then(Filters::into_list))?;
        answered(read().and_then(Filters::into_plugins))?;
        Ok(())
    });
}

#[test]
fn an_address_is_understood_or_refused() {
    let encoded = text().prop_map(|text| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>());
    let value = prop_oneof![encoded, "[!-~&&[^#]]{0,20}"];
    let names = ["t", "h", "w", "limit", "tail", "since", "until", "platform", "signal", "all", "stream"];
    let pairs = proptest::collection::vec((proptest::sample::select(names.to_vec()), value), 0..6);
    let paths =
        ["/containers/json", "/v1.44/events", "/v1.9/x", "/v2.0/x", "/v1.", "/v1.99999999999/x", "/v1./x", "/v/", "//"];
    for_a_while((proptest::sample::select(paths.to_vec()), pairs), |(path, pairs)| {
        let query: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let Ok(uri) = format!("{path}?{}", query.join("&")).parse::<Uri>() else { return Ok(()) };
        answered(strip(&Method::GET, &uri))?;
        let (mut parts, ()) = Request::builder().uri(uri).body(()).expect("a request").into_parts();
        let read = ready(Parameters::from_request_parts(&mut parts, &()));
        let Some(parameters) = answered(read)? else { return Ok(()) };
        answered(parameters.number::<i64>("t"))?;
        answered(parameters.number::<u16>("h"))?;
        answered(super::platforms::any_version(&parameters))?;
        answered(super::platforms::of_archive(Version::NEWEST, &parameters))?;
        answered(super::containers::size(&parameters))?;
        answered(super::events::bounds(&parameters, jiff::Timestamp::now()))?;
        answered(super::logs::options(&parameters))?;
        for name in names {
            parameters.flag(name);
            if let Some(text) = parameters.get(name) {
                moment(text, jiff::Timestamp::now());
            }
        }
        Ok(())
    });
}
