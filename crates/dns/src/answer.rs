// SPDX-License-Identifier: Apache-2.0
//! What becomes of a question: answered from what is known here, or handed on.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};

use oci::ContainerId;

use crate::Names;
use crate::message::{CLASS_IN, Code, Question, Record, kind};

/// What becomes of a question.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Answer(Code, Vec<Record>),
    /// To be asked of upstream servers.
    Forward,
}

/// Whose turn it is to stand first among the addresses of a name: one count for each of some groups of names, so that names
/// that are asked for in turn do not take each other's turns.
#[derive(Debug)]
pub(crate) struct Turns([AtomicUsize; 64]);

impl Turns {
    pub(crate) fn new() -> Turns {
        Turns([const { AtomicUsize::new(0) }; 64])
    }

    fn next(&self, name: &str) -> usize {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let group = hasher.finish() as usize % self.0.len();
        self.0[group].fetch_add(1, Ordering::Relaxed)
    }
}

/// Decides about a question. A name that is known here is never asked for elsewhere, whatever is asked about it: an upstream
/// server would say that there is no such name.
pub(crate) fn decide(question: &Question<'_>, asker: &ContainerId, names: &dyn Names, turns: &Turns) -> Decision {
    if let Some(name) = question.name.as_deref().filter(|name| question.class == CLASS_IN && !name.is_empty()) {
        if question.kind == kind::PTR
            && let Some(found) = reversed(name).and_then(|address| names.name_of(asker, address))
        {
            return Decision::Answer(Code::NoError, vec![Record::Name(found)]);
        }
        if let Some(addresses) = names.addresses(asker, name) {
            return Decision::Answer(Code::NoError, records(question.kind, addresses, || turns.next(name)));
        }
    }
    if names.may_forward(asker) { Decision::Forward } else { Decision::Answer(Code::ServerFailure, Vec::new()) }
}

fn records(asked: u16, addresses: Vec<IpAddr>, turn: impl FnOnce() -> usize) -> Vec<Record> {
    let wanted: fn(&IpAddr) -> bool = match asked {
        kind::A => IpAddr::is_ipv4,
        kind::AAAA => IpAddr::is_ipv6,
        _ => return Vec::new(),
    };
    let mut addresses: Vec<IpAddr> = addresses.into_iter().filter(wanted).collect();
    if addresses.len() > 1 {
        let first = turn() % addresses.len();
        addresses.rotate_left(first);
    }
    addresses.into_iter().map(Record::Address).collect()
}

/// The address in `4.3.2.1.in-addr.arpa`, or in as many digits as an IPv6 address has before `ip6.arpa` (RFC 3596, section 2.5).
fn reversed(name: &str) -> Option<IpAddr> {
    if let Some(digits) = name.strip_suffix(".ip6.arpa") {
        return reversed_digits(digits).map(IpAddr::V6);
    }
    let [d, c, b, a] = name.strip_suffix(".in-addr.arpa")?.parse::<Ipv4Addr>().ok()?.octets();
    Some(Ipv4Addr::new(a, b, c, d).into())
}

fn reversed_digits(digits: &str) -> Option<Ipv6Addr> {
    let mut bits = 0u128;
    let mut count = 0;
    for label in digits.split('.').rev() {
        let [digit] = label.as_bytes() else { return None };
        bits = bits << 4 | u128::from(char::from(*digit).to_digit(16)?);
        count += 1;
    }
    (count == 32).then(|| Ipv6Addr::from_bits(bits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::question;

    struct Two;

    const SIX: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x2a);

    impl Names for Two {
        fn addresses(&self, _: &ContainerId, name: &str) -> Option<Vec<IpAddr>> {
            match name {
                "two" => Some(vec![[10, 0, 0, 1].into(), [10, 0, 0, 2].into()]),
                "both" => Some(vec![[10, 0, 0, 3].into(), SIX.into()]),
                _ => None,
            }
        }

        fn name_of(&self, _: &ContainerId, address: IpAddr) -> Option<String> {
            match address {
                IpAddr::V4(address) => (address.octets() == [10, 0, 0, 1]).then(|| "two.net".to_owned()),
                IpAddr::V6(address) => (address == SIX).then(|| "both.net".to_owned()),
            }
        }

        fn may_forward(&self, asker: &ContainerId) -> bool {
            !asker.as_str().starts_with('0')
        }
    }

    /// What becomes of it, asked by a container whose id has only this digit.
    fn asked(turns: &Turns, digit: &str, name: &[u8], kind: u16) -> Decision {
        let asker: ContainerId = digit.repeat(64).parse().unwrap();
        let mut message = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(name);
        message.extend_from_slice(&kind.to_be_bytes());
        message.extend_from_slice(&[0, 1]);
        decide(&question(&message).unwrap(), &asker, &Two, turns)
    }

    #[test]
    fn addresses_come_in_turn() {
        let turns = Turns::new();
        let mut firsts = Vec::new();
        for _ in 0..4 {
            let Decision::Answer(Code::NoError, records) = asked(&turns, "1", b"\x03two\0", kind::A) else { panic!() };
            assert_eq!(records.len(), 2);
            firsts.push(records[0].clone());
            // What has one answer takes no turn.
            assert_eq!(
                asked(&turns, "1", b"\x03TWO\0", kind::AAAA),
                Decision::Answer(Code::NoError, vec![]),
                "known, and without such an address"
            );
        }
        assert!(firsts[0] != firsts[1] && firsts[0] == firsts[2] && firsts[1] == firsts[3], "{firsts:?}");
    }

    #[test]
    fn addresses_have_names() {
        let turns = Turns::new();
        assert_eq!(
            asked(&turns, "0", b"\x011\x010\x010\x0210\x07in-addr\x04arpa\0", kind::PTR),
            Decision::Answer(Code::NoError, vec![Record::Name("two.net".into())])
        );
        let unknown = asked(&turns, "1", b"\x019\x010\x010\x0210\x07in-addr\x04arpa\0", kind::PTR);
        assert_eq!(unknown, Decision::Forward);
    }

    #[test]
    fn each_family_is_asked_for_by_itself() {
        let turns = Turns::new();
        let answers = |kind, address: IpAddr| {
            let expected = Decision::Answer(Code::NoError, vec![Record::Address(address)]);
            assert_eq!(asked(&turns, "1", b"\x04both\0", kind), expected);
        };
        answers(kind::A, [10, 0, 0, 3].into());
        answers(kind::AAAA, SIX.into());
        let mut name: Vec<u8> = "a2".chars().flat_map(|digit| [1, digit as u8]).collect();
        name.extend([1, b'0'].repeat(26));
        name.extend(b"\x010\x010\x01d\x01f\x03ip6\x04arpa\0");
        let named = Decision::Answer(Code::NoError, vec![Record::Name("both.net".into())]);
        assert_eq!(asked(&turns, "0", &name, kind::PTR), named);
        assert_eq!(reversed("2.0.0.0.0.d.f.ip6.arpa"), None);
        assert_eq!(reversed(&format!("{}d.f.ip6.arpa", "ü.".repeat(30))), None);
    }

    #[test]
    fn only_unknown_names_are_handed_on_and_only_for_whom_it_may_be() {
        let turns = Turns::new();
        const TXT: u16 = 16;
        assert_eq!(asked(&turns, "1", b"\x03two\0", TXT), Decision::Answer(Code::NoError, vec![]));
        assert_eq!(asked(&turns, "1", b"\x05other\0", kind::A), Decision::Forward);
        assert_eq!(asked(&turns, "0", b"\x05other\0", kind::A), Decision::Answer(Code::ServerFailure, vec![]));
    }
}
