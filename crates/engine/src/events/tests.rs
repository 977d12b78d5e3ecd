// SPDX-License-Identifier: Apache-2.0
use std::future::Future;
use std::task::{Context, Poll, Waker};

use super::*;

fn bus(events: usize) -> Arc<Bus> {
    let bus = Arc::new(Bus::default());
    (0..events).for_each(|number| tell(&bus, number));
    bus
}

fn tell(bus: &Bus, number: usize) {
    bus.tell(EventKind::Container, "start", number.to_string(), BTreeMap::new());
}

fn hear(bus: &Arc<Bus>, since: Option<Timestamp>, until: Option<Timestamp>) -> EventStream {
    bus.listen(since, until, EventFilter::default())
}

/// The ids of the events that there are now; `None` at the end of the stream.
fn now(events: &mut EventStream) -> Option<Vec<String>> {
    let mut ids = Vec::new();
    loop {
        let mut next = std::pin::pin!(events.next());
        match next.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(batch) => match batch.unwrap() {
                Some(batch) => ids.extend(batch.iter().map(|event| event.id.clone())),
                None => return (!ids.is_empty()).then_some(ids),
            },
            Poll::Pending => return Some(ids),
        }
    }
}

#[tokio::test]
async fn without_bounds_only_what_happens_from_now_on_is_heard() {
    let bus = bus(3);
    let mut events = hear(&bus, None, None);
    assert_eq!(now(&mut events).unwrap(), [""; 0]);
    tell(&bus, 3);
    tell(&bus, 4);
    assert_eq!(now(&mut events).unwrap(), ["3", "4"]);
    assert_eq!(now(&mut events).unwrap(), [""; 0]);
}

#[tokio::test]
async fn what_happened_since_then_comes_first_and_nothing_twice() {
    let bus = bus(2);
    let since = Timestamp::now();
    tell(&bus, 2);
    let mut events = hear(&bus, Some(since), None);
    tell(&bus, 3);
    assert_eq!(now(&mut events).unwrap(), ["2", "3"]);
    let mut all = hear(&bus, Some(Timestamp::UNIX_EPOCH), None);
    assert_eq!(now(&mut all).unwrap(), ["0", "1", "2", "3"]);
}

#[tokio::test]
async fn a_since_to_come_hides_nothing_that_happens_now() {
    let bus = bus(1);
    let mut events = hear(&bus, Some("2200-01-01T00:00:00Z".parse().unwrap()), None);
    tell(&bus, 1);
    assert_eq!(now(&mut events).unwrap(), ["1"]);
}

#[tokio::test]
async fn the_past_ends_at_once() {
    let bus = bus(2);
    let until = Timestamp::now();
    let mut events = hear(&bus, None, Some(until));
    tell(&bus, 2);
    assert_eq!(now(&mut events).unwrap(), ["0", "1"]);
    assert_eq!(now(&mut events), None);
    assert_eq!(now(&mut hear(&bus, None, Some(Timestamp::UNIX_EPOCH))), None);
}

#[tokio::test]
async fn the_future_ends_when_it_comes() {
    let bus = bus(0);
    let until = Timestamp::now() + Duration::from_millis(200);
    let mut events = hear(&bus, None, Some(until));
    tell(&bus, 0);
    assert_eq!(events.next().await.unwrap().unwrap().len(), 1);
    assert!(events.next().await.unwrap().is_none());
    assert!(Timestamp::now() >= until);
}

#[tokio::test]
async fn the_last_256_are_remembered_and_more_only_for_who_listens() {
    let bus = bus(1000);
    let all = Some(Timestamp::UNIX_EPOCH);
    let remembered = now(&mut hear(&bus, all, None)).unwrap();
    assert_eq!((remembered.len(), remembered[0].as_str()), (KEPT, "744"));
    let mut events = hear(&bus, None, None);
    (0..3000).for_each(|number| tell(&bus, number));
    assert_eq!(now(&mut events).unwrap().len(), 3000);
    drop(events);
    tell(&bus, 0);
    assert_eq!(bus.ring().events.len(), KEPT);
}

#[tokio::test]
async fn who_does_not_listen_is_told_how_much_was_missed_and_holds_up_nobody() {
    let bus = bus(0);
    let mut slow = hear(&bus, None, None);
    let mut quick = hear(&bus, None, None);
    let mut heard = 0;
    for number in 0..50_000 {
        tell(&bus, number);
        if number % 1000 == 999 {
            heard += now(&mut quick).unwrap().len();
        }
    }
    assert_eq!(heard, 50_000);
    assert_eq!(bus.ring().events.len(), KEPT_FOR_LISTENERS);
    let missed = (50_000 - KEPT_FOR_LISTENERS) as u64;
    assert!(matches!(slow.next().await, Err(EngineError::EventsMissed(count)) if count == missed));
}

#[tokio::test]
async fn long_labels_take_no_more_than_their_share() {
    let bus = bus(0);
    let _listener = hear(&bus, None, None);
    for _ in 0..100 {
        let label = ("long".to_owned(), "x".repeat(1 << 20));
        bus.tell(EventKind::Container, "start", "x".to_owned(), [label].into());
    }
    let ring = bus.ring();
    assert!(ring.bytes <= MOST_BYTES && ring.events.len() == 7, "{} in {}", ring.bytes, ring.events.len());
}

#[tokio::test]
async fn all_streams_end_with_the_daemon() {
    let bus = bus(0);
    let mut events = hear(&bus, None, None);
    tell(&bus, 0);
    bus.close();
    assert_eq!(events.next().await.unwrap().unwrap().len(), 1);
    assert!(events.next().await.unwrap().is_none());
}

fn event(kind: EventKind, action: &'static str, id: &str, attributes: &[(&str, &str)]) -> Event {
    let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Event { kind, action: action.into(), id: id.to_owned(), attributes, time: Timestamp::UNIX_EPOCH }
}

#[test]
fn filters_are_dockers() {
    let attributes = [("image", "127.0.0.1:5000/web:1"), ("name", "front"), ("tier", "a=b")];
    let start = event(EventKind::Container, "start", "abcdef", &attributes);
    let exec = event(EventKind::Container, "exec_start: sh -c x", "abcdef", &attributes);
    let pull = event(EventKind::Image, "pull", "busybox:latest", &[("name", "busybox")]);
    type Field = fn(&mut EventFilter) -> &mut Vec<String>;
    let kinds: Field = |filter| &mut filter.kinds;
    let actions: Field = |filter| &mut filter.actions;
    let containers: Field = |filter| &mut filter.containers;
    let images: Field = |filter| &mut filter.images;
    let labels: Field = |filter| &mut filter.labels;
    let scopes: Field = |filter| &mut filter.scopes;
    for (field, wanted, fits) in [
        (kinds, &["container"][..], [true, true, false]),
        (kinds, &["image", "container"], [true, true, true]),
        (kinds, &["network"], [false, false, false]),
        (actions, &["start"], [true, false, false]),
        (actions, &["exec_start"], [false, true, false]),
        (actions, &["exec_start: sh -c x"], [false, true, false]),
        (actions, &["exec_create", "st"], [true, false, false]),
        (actions, &["st"], [false, false, false]),
        (containers, &["abcdef"], [true, true, false]),
        (containers, &["abc"], [true, true, false]),
        (containers, &["front"], [true, true, false]),
        (containers, &["busybox"], [false, false, false]),
        (images, &["127.0.0.1:5000/web"], [true, true, false]),
        (images, &["127.0.0.1:5000/web:1"], [true, true, false]),
        (images, &["127.0.0.1:5000/web:2"], [false, false, false]),
        (images, &["busybox"], [false, false, true]),
        (labels, &["tier"], [true, true, false]),
        (labels, &["tier=a=b", "name=front"], [true, true, false]),
        (labels, &["tier=a", "name=front"], [false, false, false]),
        (scopes, &["local"], [true, true, true]),
        (scopes, &["swarm"], [false, false, false]),
    ] {
        let mut filter = EventFilter::default();
        *field(&mut filter) = wanted.iter().map(|text| (*text).to_owned()).collect();
        let found = [&start, &exec, &pull].map(|event| filter.lets_through(event));
        assert_eq!(found, fits, "{wanted:?}");
    }
    assert!(!EventFilter { nothing: true, ..EventFilter::default() }.lets_through(&start));
}

#[test]
fn what_happens_to_images_is_told_as_docker_does() {
    let bus = bus(0);
    let (id, name) = (oci::Digest::of("x"), "busybox:1".parse::<oci::ImageRef>().unwrap());
    for (deed, action, actor, called) in [
        (Deed::Pulled(name.clone()), "pull", "busybox:1", "busybox"),
        (Deed::Pushed(name.clone()), "push", "busybox:1", "busybox"),
        (Deed::Tagged(name.clone()), "tag", &*id.to_string(), "busybox:1"),
        (Deed::Untagged, "untag", &id.to_string(), &*id.to_string()),
        (Deed::Deleted, "delete", &id.to_string(), &id.to_string()),
        (Deed::Imported, "import", &id.to_string(), &id.to_string()),
        (Deed::Loaded, "load", &id.to_string(), &id.to_string()),
        (Deed::Saved, "save", &id.to_string(), &id.to_string()),
    ] {
        let labels = [("name".to_owned(), "forged".to_owned()), ("label".to_owned(), "kept".to_owned())].into();
        bus.tell_of_image(News { deed, id, labels });
        let ring = bus.ring();
        let event = ring.events.back().unwrap();
        assert_eq!((event.action.as_ref(), event.id.as_str()), (action, actor));
        assert_eq!((event.attributes["name"].as_str(), event.attributes["label"].as_str()), (called, "kept"));
    }
}
