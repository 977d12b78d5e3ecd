// SPDX-License-Identifier: Apache-2.0
//! What goes when the disk gets full: decided here, from numbers alone.
//!
//! Two marks keep a collection from beginning again at once: it begins when less than the lower one is free, and goes on
//! until the higher one is. (The kubelet has its two as well, for fullness: 85 and 80 %.)

use std::collections::BTreeMap;

const GIB: u64 = 1 << 30;

/// How much room there shall be on the file system of the images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Threshold {
    /// Nothing is ever removed unasked.
    Off,
    /// 10 % of the file system or 10 GiB, whichever is less; then until 15 % or 15 GiB are free.
    #[default]
    Usual,
    /// So many bytes; then until half as much again is free.
    Bytes(u64),
    /// So many hundredths of the file system, below 100; then until half as much again is free.
    Percent(u8),
}

/// What a threshold means on one file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// With fewer bytes free than this, collection begins.
    pub low: u64,
    /// With as many bytes free as this, it ends.
    pub high: u64,
}

impl Threshold {
    /// The marks on a file system of `total` bytes; `None` when nothing is to be removed.
    pub fn marks(self, total: u64) -> Option<Marks> {
        let part = |percent: u64| (u128::from(total) * u128::from(percent) / 100) as u64;
        let from = |low: u64| Marks { low, high: low.saturating_add(low / 2).min(total) };
        match self {
            Threshold::Off | Threshold::Bytes(0) | Threshold::Percent(0) => None,
            Threshold::Usual => Some(Marks { low: part(10).min(10 * GIB), high: part(15).min(15 * GIB) }),
            Threshold::Bytes(bytes) => Some(from(bytes)),
            Threshold::Percent(percent) => Some(from(part(percent.min(100).into()))),
        }
    }
}

/// In which order things go: what is missed least comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// The beginning of a blob whose pull was interrupted: the next pull of it takes longer.
    Interrupted,
    /// Content that nothing refers to.
    Unreferenced,
    /// An image that no name means, no container needs and no lease protects.
    Dangling,
}

/// Something that may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate<T, K> {
    pub(crate) what: T,
    pub(crate) rank: Rank,
    /// When it came or was used last, in microseconds since the epoch: of one rank what has waited longest goes first.
    pub(crate) since: i64,
    /// What takes room, with its bytes. What another candidate has as well is freed by the last of them.
    pub(crate) parts: Vec<(K, u64)>,
}

/// What goes, in this order, so that `missing` bytes more are free; everything, if it does not suffice.
pub(crate) fn plan<T, K: Ord + Copy>(missing: u64, mut candidates: Vec<Candidate<T, K>>) -> Vec<Candidate<T, K>> {
    candidates.sort_by_key(|candidate| (candidate.rank, candidate.since));
    let mut holders: BTreeMap<K, usize> = BTreeMap::new();
    for (key, _) in candidates.iter().flat_map(|candidate| &candidate.parts) {
        *holders.entry(*key).or_default() += 1;
    }
    let mut freed = 0_u64;
    let enough = |candidate: &Candidate<T, K>| {
        if freed >= missing {
            return false;
        }
        for (key, bytes) in &candidate.parts {
            let left = holders.get_mut(key).map(|count| {
                *count -= 1;
                *count
            });
            if left == Some(0) {
                freed = freed.saturating_add(*bytes);
            }
        }
        true
    };
    let mut taking = enough;
    candidates.into_iter().take_while(|candidate| taking(candidate)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(what: &'static str, rank: Rank, since: i64, parts: &[(u32, u64)]) -> Candidate<&'static str, u32> {
        Candidate { what, rank, since, parts: parts.to_vec() }
    }

    fn planned(missing: u64, candidates: &[Candidate<&'static str, u32>]) -> Vec<&'static str> {
        plan(missing, candidates.to_vec()).into_iter().map(|candidate| candidate.what).collect()
    }

    #[test]
    fn the_usual_threshold_is_a_tenth_but_ten_gibibytes_at_most() {
        assert_eq!(Threshold::Usual.marks(20 * GIB), Some(Marks { low: 2 * GIB, high: 3 * GIB }));
        assert_eq!(Threshold::Usual.marks(4000 * GIB), Some(Marks { low: 10 * GIB, high: 15 * GIB }));
        assert_eq!(Threshold::Usual.marks(u64::MAX), Some(Marks { low: 10 * GIB, high: 15 * GIB }));
    }

    #[test]
    fn a_threshold_of_ones_own() {
        assert_eq!(Threshold::Bytes(1000).marks(5000), Some(Marks { low: 1000, high: 1500 }));
        assert_eq!(Threshold::Bytes(4000).marks(5000), Some(Marks { low: 4000, high: 5000 }));
        assert_eq!(Threshold::Percent(40).marks(1000), Some(Marks { low: 400, high: 600 }));
        for off in [Threshold::Off, Threshold::Bytes(0), Threshold::Percent(0)] {
            assert_eq!(off.marks(1000), None);
        }
    }

    #[test]
    fn what_is_missed_least_goes_first_and_no_more_than_is_needed() {
        let all = [
            candidate("young image", Rank::Dangling, 9, &[(1, 100)]),
            candidate("old image", Rank::Dangling, 2, &[(2, 100)]),
            candidate("leftover", Rank::Unreferenced, 5, &[(3, 10)]),
            candidate("half a blob", Rank::Interrupted, 7, &[(4, 5)]),
        ];
        assert_eq!(planned(0, &all), [""; 0]);
        assert_eq!(planned(5, &all), ["half a blob"]);
        assert_eq!(planned(6, &all), ["half a blob", "leftover"]);
        assert_eq!(planned(115, &all), ["half a blob", "leftover", "old image"]);
        assert_eq!(planned(116, &all).len(), 4);
        assert_eq!(planned(u64::MAX, &all).len(), 4);
    }

    #[test]
    fn what_two_share_is_freed_by_the_second() {
        let all = [
            candidate("first", Rank::Dangling, 1, &[(1, 1000), (2, 10)]),
            candidate("second", Rank::Dangling, 2, &[(1, 1000), (3, 10)]),
            candidate("third", Rank::Dangling, 3, &[(4, 10)]),
        ];
        assert_eq!(planned(10, &all), ["first"]);
        assert_eq!(planned(11, &all), ["first", "second"]);
        assert_eq!(planned(1020, &all), ["first", "second"]);
        assert_eq!(planned(1021, &all).len(), 3);
    }

    proptest::proptest! {
        #[test]
        fn no_plan_could_be_shorter(
            missing in 0_u64..400,
            parts in proptest::collection::vec((0_u8..3, 0_i64..5, proptest::collection::vec((0_u32..6, 1_u64..50), 0..4)), 0..8),
        ) {
            // One key has one size.
            let size = |key: u32| u64::from(key) * 17 + 3;
            let rank = [Rank::Interrupted, Rank::Unreferenced, Rank::Dangling];
            let all: Vec<Candidate<usize, u32>> = parts.iter().enumerate().map(|(what, (r, since, parts))| {
                let mut keys: Vec<u32> = parts.iter().map(|(key, _)| *key).collect();
                keys.sort_unstable();
                keys.dedup();
                Candidate { what, rank: rank[usize::from(*r)], since: *since, parts: keys.into_iter().map(|key| (key, size(key))).collect() }
            }).collect();
            let freed = |gone: &[usize]| -> u64 {
                let keys = |gone: bool, list: &[usize]| -> std::collections::BTreeSet<u32> {
                    let wanted = all.iter().filter(|c| list.contains(&c.what) == gone);
                    wanted.flat_map(|c| c.parts.iter().map(|(key, _)| *key)).collect()
                };
                keys(true, gone).difference(&keys(false, gone)).map(|key| size(*key)).sum()
            };
            let gone: Vec<usize> = plan(missing, all.clone()).iter().map(|c| c.what).collect();
            if gone.len() < all.len() {
                assert!(freed(&gone) >= missing);
            }
            if let [shorter @ .., _] = &gone[..] {
                assert!(freed(shorter) < missing);
            }
        }
    }
}
