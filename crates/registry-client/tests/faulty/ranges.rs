// SPDX-License-Identifier: Apache-2.0
//! Large blobs over several connections, from registries that limit each one, break some, or know no ranges.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use registry_client::{Client, Options};

use crate::server::{Asked, Registry, Reply};
use crate::{client, content, options, pull_blob};

const SIZE: usize = 24 << 20;

/// Which bytes a request asks for.
fn range(request: &Asked) -> Option<(usize, Option<usize>)> {
    let (from, last) = request.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
    Some((from.parse().unwrap(), last.parse().ok()))
}

/// The answer to it: a part, slowly.
fn part(blob: &[u8], (from, last): (usize, Option<usize>)) -> Reply {
    let end = last.map_or(blob.len(), |last| last + 1);
    let place = format!("bytes {from}-{}/{}", end - 1, blob.len());
    Reply::status(206).header("content-range", &place).body(&blob[from..end]).throttled()
}

/// A registry that throttles each connection. `answer` may answer a request for a range in another way.
async fn throttling(
    blob: &[u8],
    answer: impl Fn(&Asked, (usize, Option<usize>)) -> Option<Reply> + Send + Sync + 'static,
) -> (Registry, Arc<Mutex<Vec<(usize, Option<usize>)>>>) {
    let (blob, asked) = (blob.to_vec(), Arc::<Mutex<Vec<_>>>::default());
    let seen = Arc::clone(&asked);
    let registry = Registry::start(move |request| {
        if !request.path.contains("/blobs/") {
            return Reply::ok("{}");
        }
        match range(&request) {
            None => Reply::ok(blob.clone()).throttled(),
            Some(range) => {
                seen.lock().unwrap().push(range);
                answer(&request, range).unwrap_or_else(|| part(&blob, range))
            }
        }
    })
    .await;
    (registry, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_connection_gets_company_and_nothing_is_fetched_twice() {
    let blob = content(SIZE);
    let (registry, asked) = throttling(&blob, |_, _| None).await;
    assert!(pull_blob(&client(), &registry.image("a"), &blob).await.unwrap() == blob);
    let asked = asked.lock().unwrap().clone();
    let starts: BTreeSet<usize> = asked.iter().map(|(from, _)| *from).collect();
    assert!(asked.len() >= 3 && starts.len() == asked.len(), "{asked:?}");
    assert!(asked.iter().all(|(from, last)| last.is_some_and(|last| last - from < 4 << 20)), "{asked:?}");
    let mut ends: Vec<usize> = asked.iter().map(|(_, last)| last.unwrap() + 1).collect();
    let mut sorted: Vec<usize> = starts.into_iter().collect();
    ends.sort_unstable();
    sorted.sort_unstable();
    assert_eq!(ends[..ends.len() - 1], sorted[1..], "one begins where another ends");
    assert_eq!(ends.last(), Some(&SIZE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fast_connection_is_left_alone() {
    let blob = content(SIZE);
    let sent = blob.clone();
    let registry = Registry::start(move |request| {
        assert_eq!(request.header("range"), None);
        Reply::ok(sent.clone())
    })
    .await;
    assert!(pull_blob(&client(), &registry.image("a"), &blob).await.unwrap() == blob);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_ranges_is_read_in_one_stream() {
    let blob = content(SIZE);
    let whole = blob.clone();
    let (registry, asked) = throttling(&blob, move |_, _| Some(Reply::ok(whole.clone()).throttled())).await;
    assert!(pull_blob(&client(), &registry.image("a"), &blob).await.unwrap() == blob);
    assert!((1..=4).contains(&asked.lock().unwrap().len()), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_breaks_goes_on_and_the_others_stay() {
    let blob = content(SIZE);
    let sent = blob.clone();
    let (registry, asked) = throttling(&blob, move |_, (from, last)| {
        // Whole ranges break after 100,000 bytes; what is asked for in their middle does not.
        let end = last? + 1;
        let place = format!("bytes {from}-{}/{SIZE}", end - 1);
        let is_whole = end - from == 4 << 20;
        is_whole
            .then(|| Reply::status(206).header("content-range", &place).body(&sent[from..end]).breaks_after(100_000))
    })
    .await;
    let client = Client::new(Options { backoff: Duration::from_millis(5), ..options() });
    assert!(pull_blob(&client, &registry.image("a"), &blob).await.unwrap() == blob);
    let asked = asked.lock().unwrap().clone();
    let starts: BTreeSet<usize> = asked.iter().map(|(from, _)| *from).collect();
    assert_eq!(starts.len(), asked.len(), "nothing that had come was asked for again: {asked:?}");
    assert!(
        asked.iter().any(|(from, last)| last.is_some_and(|last| last + 1 - from == (4 << 20) - 100_000)),
        "{asked:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_is_refused_for_good_leaves_the_first_way() {
    let blob = content(SIZE);
    let (registry, asked) = throttling(&blob, |_, (_, last)| last.map(|_| Reply::status(500))).await;
    let client = Client::new(Options { retries: 1, ..options() });
    assert!(pull_blob(&client, &registry.image("a"), &blob).await.unwrap() == blob);
    assert!(asked.lock().unwrap().iter().any(|(_, last)| last.is_none()), "{asked:?}");
}
