// SPDX-License-Identifier: Apache-2.0
//! Messages against bytes written down by hand from the protocol's definition.

use super::*;

#[test]
fn requests_without_options_are_their_kind_and_little_more() {
    assert_eq!(Request::Version.encode(), [0x08, 10]);
    let features = Features { mem_track: true, lazy_pages: false };
    assert_eq!(Request::FeatureCheck(features).encode(), [0x08, 9, 0x2a, 2, 0x08, 1]);
    assert_eq!(Request::Notified(true).encode(), [0x08, 6, 0x18, 1]);
    assert_eq!(Request::Notified(false).encode(), [0x08, 6, 0x18, 0]);
}

#[test]
fn the_options_that_are_not_wanted_are_absent() {
    let options = Options { images_dir_fd: 5, log_file: "l", root: "/r".into(), ..Options::default() };
    let expected = [
        &[0x08, 5, 0x48, 4, 0x52, 1][..],
        b"l",
        // notify_scripts, root, manage_cgroups, manage_cgroups_mode, empty_ns, orphan_pts_master
        &[0x60, 1, 0x6a, 2],
        b"/r",
        &[0xc0, 0x01, 1, 0x90, 0x02, 6, 0xb0, 0x02, 0, 0x90, 0x03, 1],
    ]
    .concat();
    let length = u8::try_from(expected.len()).unwrap();
    assert_eq!(Request::Dump(options.clone()).encode(), [&[0x08, 1, 0x12, length][..], &expected].concat());
    assert_eq!(Request::PreDump(options.clone()).encode()[1], 4);
    assert_eq!(Request::Restore(options).encode()[1], 2);
}

#[test]
fn answers_are_read() {
    // DUMP, failed, errno 22, "no"
    let failed = [0x08, 1, 0x10, 0, 0x38, 22, 0x4a, 2, b'n', b'o'];
    let response = Response::decode(&failed).unwrap();
    assert!(response.is(Kind::Dump) && !response.success);
    assert_eq!((response.errno, response.message.as_deref()), (22, Some("no")));
    // NOTIFY with the step "post-restore" and a pid
    let mut notify = vec![0x08, 6, 0x10, 1, 0x2a, 17, 0x0a, 12];
    notify.extend(b"post-restore");
    notify.extend([0x10, 0xd2, 0x09]);
    let response = Response::decode(&notify).unwrap();
    assert_eq!(response.notice, Some(Notice { step: "post-restore".into(), pid: 1234 }));
    let restored = Response::decode(&[0x08, 2, 0x10, 1, 0x22, 2, 0x08, 7]).unwrap();
    assert_eq!((restored.is(Kind::Restore), restored.restored_pid), (true, Some(7)));
    let features = Response::decode(&[0x08, 9, 0x10, 1, 0x42, 2, 0x08, 1]).unwrap();
    assert_eq!(features.features, Features { mem_track: true, lazy_pages: false });
}

#[test]
fn versions_are_one_number() {
    let version = |bytes: &[u8]| {
        let length = u8::try_from(bytes.len()).unwrap();
        Response::decode(&[&[0x08, 10, 0x10, 1, 0x52, length], bytes].concat()).unwrap().version
    };
    assert_eq!(version(&[0x08, 3, 0x10, 17, 0x20, 1]), Some(31701));
    assert_eq!(version(&[0x08, 4, 0x10, 2]), Some(40200));
    assert_eq!(version(&[0x08, 3, 0x10, 17, 0x1a, 1, b'v', 0x20, 1]), Some(31800), "a development version");
    let absurd = [0x08, 0xff, 0xff, 0xff, 0xff, 0x07, 0x10, 0xff, 0xff, 0xff, 0xff, 0x07];
    assert_eq!(version(&absurd), Some(999_900));
}

#[test]
fn hostile_answers_are_errors_and_never_more() {
    assert!(Response::decode(&[0x08]).is_err());
    assert_eq!(Response::decode(&[0x0a, 1, 1]), Err(WireError::OtherType { number: 1 }));
    assert_eq!(Response::decode(&[0x28, 1]), Err(WireError::OtherType { number: 5 }));
    assert!(Response::decode(&[0x2a, 2, 0x0a, 9]).is_err(), "the inner message is short");
    assert_eq!(Response::decode(&[]), Ok(Response::default()));
    // Every prefix and every single changed byte of a message that uses all that is read.
    let mut whole = vec![0x08, 6, 0x10, 1, 0x2a, 17, 0x0a, 12];
    whole.extend(b"post-restore");
    whole.extend([0x10, 0xd2, 0x09, 0x42, 2, 0x08, 1, 0x52, 4, 0x08, 3, 0x10, 17]);
    for length in 0..whole.len() {
        Response::decode(&whole[..length]).ok();
        for byte in 0..=u8::MAX {
            let mut changed = whole.clone();
            changed[length] = byte;
            Response::decode(&changed).ok();
        }
    }
}
