// SPDX-License-Identifier: Apache-2.0
//! Orders of events that threads come to by chance only.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

const OPTIONS: MountOptions = MountOptions { read_only: true, volatile: false, mount_points: false };

/// A descriptor that stands for a mount, and the other end of it, which is told when it is closed.
fn mount() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    (writer, reader)
}

fn is_open(told: &OwnedFd) -> bool {
    let mut asked = [rustix::event::PollFd::new(told, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut asked, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 0
}

fn begin<'r>(ready: &'r Ready, dir: &str, layers: &[Digest]) -> Begun<'r> {
    ready.begin(Path::new(dir), layers, OPTIONS).unwrap().unwrap()
}

fn taken(ready: &Ready, dir: &str, layers: &[Digest]) -> bool {
    matches!(ready.take(Path::new(dir), layers, OPTIONS), Taken::Mount(_))
}

#[test]
fn of_two_that_are_mounted_at_once_the_later_wish_waits() {
    let mounts = Mounts::default();
    for first_comes_last in [false, true] {
        let ready = Ready::default();
        let (first, second) = (begin(&ready, "first", &[]), begin(&ready, "second", &[]));
        let ((one, one_is_told), (two, two_is_told)) = (mount(), mount());
        let offer_first = |first| {
            let mut outdated: Turn<'_> = ready.offer(first, &[], OPTIONS, one).unwrap();
            outdated.clear(&mounts).unwrap();
        };
        if first_comes_last {
            assert!(ready.offer(second, &[], OPTIONS, two).is_none());
            offer_first(first);
        } else {
            offer_first(first);
            assert!(ready.offer(second, &[], OPTIONS, two).is_none());
        }
        assert!(!is_open(&one_is_told) && is_open(&two_is_told));
        assert!(!taken(&ready, "first", &[]) && taken(&ready, "second", &[]));
    }
}

#[test]
fn what_is_being_mounted_is_waited_for_and_taken() {
    let ready = Ready::default();
    let begun = begin(&ready, "here", &[]);
    // Who wants another directory waits for nothing.
    assert!(!taken(&ready, "there", &[]));
    drop(ready.turn(Path::new("there")));
    let offered = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| {
            let is_taken = taken(&ready, "here", &[]);
            (is_taken, offered.load(Ordering::Acquire))
        });
        let (mount, _told) = mount();
        offered.store(true, Ordering::Release);
        assert!(ready.offer(begun, &[], OPTIONS, mount).is_none());
        assert_eq!(waits.join().unwrap(), (true, true));
    });
}

#[test]
fn a_layer_that_goes_is_waited_for_where_it_is_being_mounted_and_mounted_no_more() {
    let (ready, mounts) = (Ready::default(), Mounts::default());
    let [going, other] = ["going", "other"].map(Digest::of);
    let begun = begin(&ready, "here", &[other, going]);
    let (mount, is_told) = mount();
    std::thread::scope(|scope| {
        let removes = scope.spawn(|| {
            let mut removal = ready.reclaim(&going);
            let mut outdated = removal.outdated.take().expect("it was waited for");
            outdated.clear(&mounts).unwrap();
            drop(outdated);
            let again = ready.begin(Path::new("here"), &[other, going], OPTIONS);
            assert!(matches!(again, Err(SnapshotError::NoLayer { diff_id }) if diff_id == going));
            drop(begin(&ready, "here", &[other]));
        });
        while ready.lock().going.is_empty() && !removes.is_finished() {
            std::thread::yield_now();
        }
        assert!(ready.offer(begun, &[other, going], OPTIONS, mount).is_none());
        removes.join().unwrap();
    });
    assert!(!is_open(&is_told));
    assert!(!taken(&ready, "here", &[other, going]));
    drop(begin(&ready, "here", &[other, going]));
}

#[test]
fn a_layer_that_goes_is_waited_for_where_it_is_let_go_of() {
    let (ready, mounts) = (Ready::default(), Mounts::default());
    let going = Digest::of("going");
    let (mount, is_told) = mount();
    assert!(ready.offer(begin(&ready, "here", &[going]), &[going], OPTIONS, mount).is_none());
    let mut begun = begin(&ready, "there", &[]);
    std::thread::scope(|scope| {
        let removes = scope.spawn(|| {
            assert!(ready.reclaim(&going).outdated.is_none());
            assert!(!is_open(&is_told), "it is closed when nobody has it any more");
        });
        while ready.lock().going.is_empty() && !removes.is_finished() {
            std::thread::yield_now();
        }
        let mut outdated = begun.outdated.take().unwrap();
        outdated.clear(&mounts).unwrap();
        drop(outdated);
        removes.join().unwrap();
    });
}
