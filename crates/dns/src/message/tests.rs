// SPDX-License-Identifier: Apache-2.0
use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

/// A question as resolvers send them, with these bytes behind it.
fn asked(name: &str, kind: u16, additional: &[u8]) -> Vec<u8> {
    let mut message = vec![0xab, 0xcd, 1, 0x10, 0, 1, 0, 0, 0, 0, 0, u8::from(!additional.is_empty())];
    message.extend_from_slice(&labels(name));
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&CLASS_IN.to_be_bytes());
    message.extend_from_slice(additional);
    message
}

const OPT_4096: [u8; 11] = [0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0];

fn addresses(count: u8) -> Vec<Record> {
    (0..count).map(|last| Record::Address(Ipv4Addr::new(10, 0, 0, last).into())).collect()
}

#[test]
fn a_question_is_read() {
    let message = asked("WWW.Example.org", kind::AAAA, &[]);
    let question = question(&message).unwrap();
    assert_eq!(question.name.as_deref(), Some("www.example.org"));
    assert_eq!((question.kind, question.class, question.limit), (kind::AAAA, CLASS_IN, 512));
    assert_eq!(super::question(&asked("x", kind::A, &OPT_4096)).unwrap().limit, 4096);
}

#[test]
fn an_answer_has_the_question_and_its_records() {
    let message = asked("Db", kind::A, &[]);
    let answer = question(&message).unwrap().answer(Code::NoError, &addresses(2), 512);
    let mut expected = vec![0xab, 0xcd, 0x81, 0x90, 0, 1, 0, 2, 0, 0, 0, 0, 2, b'D', b'b', 0, 0, 1, 0, 1];
    for last in 0..2 {
        expected.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 0, 0, last]);
    }
    assert_eq!(answer, expected);
    assert!(!is_truncated(&answer) && !is_failure(&answer));
    assert!(question(&message).unwrap().is_answered_by(&answer, 0xabcd));
    assert!(!question(&message).unwrap().is_answered_by(&answer, 1), "another number");
    assert!(!question(&asked("other", kind::A, &[])).unwrap().is_answered_by(&answer, 0xabcd), "another question");
    assert!(!question(&message).unwrap().is_answered_by(&message, 0xabcd), "no answer");
}

#[test]
fn what_does_not_fit_is_left_out_and_told_of() {
    let message = asked("many", kind::A, &OPT_4096);
    let question = question(&message).unwrap();
    let short = question.answer(Code::NoError, &addresses(200), 512);
    assert!(short.len() <= 512 && is_truncated(&short), "{}", short.len());
    assert_eq!(short[6..8], [0, 29]);
    assert_eq!(&short[short.len() - 11..short.len() - 6], [0, 0, 41, 4, 208], "extended, as it was asked");
    let whole = question.answer(Code::NoError, &addresses(200), question.limit);
    assert!(!is_truncated(&whole));
    assert_eq!(whole[6..8], [0, 200]);
}

#[test]
fn names_and_ipv6_addresses_are_written() {
    let message = asked("2.0.0.10.in-addr.arpa", kind::PTR, &[]);
    let answer = question(&message).unwrap().answer(Code::NoError, &[Record::Name("db.net".into())], 512);
    assert!(answer.ends_with(b"\x00\x05\x00\x08\x02db\x03net\x00"), "{answer:?}");
    let answer = question(&message).unwrap().answer(Code::NoError, &[Record::Address(Ipv6Addr::LOCALHOST.into())], 512);
    assert!(answer.ends_with(&[0, 5, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]), "{answer:?}");
}

#[test]
fn what_is_no_question_gets_no_answer_or_an_error() {
    assert_eq!(question(&[0; 11]), Err(Refused::Silently), "too short");
    let mut answer = asked("x", kind::A, &[]);
    answer[2] |= 0x80;
    assert_eq!(question(&answer), Err(Refused::Silently), "an answer");
    let refused = |message: &[u8]| match question(message) {
        Err(Refused::With(answer)) => answer[3] & 0x0f,
        other => panic!("{other:?}"),
    };
    let mut update = asked("x", kind::A, &[]);
    update[2] |= 5 << 3;
    assert_eq!(refused(&update), Code::NotImplemented as u8);
    let mut two = asked("x", kind::A, &[]);
    two[5] = 2;
    assert_eq!(refused(&two), Code::FormatError as u8);
    let pointer = [0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1];
    assert_eq!(refused(&pointer), Code::FormatError as u8, "a name that points to itself");
    let long = "a123456789.".repeat(30);
    let mut message = asked("", kind::A, &[]);
    message.truncate(12);
    message.extend(long.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()));
    message.extend_from_slice(&[0, 1, 0, 1]);
    assert_eq!(refused(&message), Code::FormatError as u8, "a name that is too long");
    let mut promised = asked("x", kind::A, &[]);
    promised[11] = 1;
    assert_eq!(refused(&promised), Code::FormatError as u8, "a record that is not there");
}

#[test]
fn labels_that_are_no_names_are_not_looked_up() {
    let mut message = asked("a-b", kind::A, &[]);
    message[14] = b'.';
    assert_eq!(question(&message).unwrap().name, None, "a dot within a label");
    message[14] = 0xff;
    assert_eq!(question(&message).unwrap().name, None);
    assert_eq!(question(&asked("", kind::A, &[])).unwrap().name.as_deref(), Some(""), "the root");
}

#[test]
fn failures_are_told_from_answers() {
    for (code, failure) in [(0, false), (3, false), (1, true), (2, true), (4, true), (5, true)] {
        assert_eq!(is_failure(&[0, 0, 0x80, code]), failure, "{code}");
    }
    assert!(is_failure(&[]));
}

proptest! {
    #[test]
    fn no_message_makes_the_reader_panic(message in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = question(&message);
    }

    /// Mostly questions, with bytes changed.
    #[test]
    fn no_question_makes_the_writer_panic(
        name in "[a-z.]{0,80}", changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..6),
        count in 0u8..60, limit in 0usize..5000,
    ) {
        let mut message = asked(&name, kind::A, &OPT_4096);
        for (at, byte) in changes {
            let length = message.len();
            message[at % length] = byte;
        }
        match question(&message) {
            Ok(question) => {
                let limit = limit.max(SMALLEST_LIMIT);
                let answer = question.answer(Code::NoError, &addresses(count), limit);
                prop_assert!(answer.len() <= limit);
                prop_assert!(question.is_answered_by(&answer, number(&message).unwrap()));
            }
            Err(Refused::With(answer)) => prop_assert_eq!(answer.len(), HEADER),
            Err(Refused::Silently) => {}
        }
    }
}
