// SPDX-License-Identifier: Apache-2.0
//! What was used last, up to a limit.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// A map that forgets what was not used for the longest time once its values cost more than its limit.
#[derive(Debug)]
pub(crate) struct Lru<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// The keys by their last use.
    order: BTreeMap<u64, K>,
    now: u64,
    cost: usize,
    limit: usize,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    cost: usize,
    used: u64,
}

impl<K: Clone + Eq + Hash, V: Clone> Lru<K, V> {
    /// An empty map for values that cost at most `limit` together.
    pub(crate) fn new(limit: usize) -> Lru<K, V> {
        Lru { entries: HashMap::new(), order: BTreeMap::new(), now: 0, cost: 0, limit }
    }

    /// The value of `key`, which is used by that.
    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        let entry = self.entries.get_mut(key)?;
        if entry.used != self.now {
            let key = self.order.remove(&entry.used)?;
            self.now += 1;
            entry.used = self.now;
            self.order.insert(self.now, key);
        }
        Some(entry.value.clone())
    }

    /// Keeps `value`, which costs `cost`. One that costs more than the limit alone is not kept.
    pub(crate) fn insert(&mut self, key: K, value: V, cost: usize) {
        self.remove(&key);
        if cost > self.limit {
            return;
        }
        self.now += 1;
        self.cost += cost;
        self.order.insert(self.now, key.clone());
        self.entries.insert(key, Entry { value, cost, used: self.now });
        while self.cost > self.limit {
            let Some((_, oldest)) = self.order.pop_first() else { return };
            if let Some(entry) = self.entries.remove(&oldest) {
                self.cost -= entry.cost;
            }
        }
    }

    /// Forgets `key`.
    pub(crate) fn remove(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.used);
            self.cost -= entry.cost;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let mut map = Lru::new(10);
        for key in ["a", "b", "c"] {
            map.insert(key, key, 3);
        }
        assert_eq!(map.get(&"a"), Some("a"));
        map.insert("d", "d", 4);
        assert_eq!(
            (map.get(&"a"), map.get(&"b"), map.get(&"c"), map.get(&"d")),
            (Some("a"), None, Some("c"), Some("d"))
        );
        assert_eq!(map.cost, 10);
    }

    #[test]
    fn a_replaced_value_costs_once_and_one_too_large_is_not_kept() {
        let mut map = Lru::new(10);
        map.insert(1, "old", 6);
        map.insert(1, "new", 6);
        map.insert(2, "other", 4);
        assert_eq!((map.get(&1), map.get(&2)), (Some("new"), Some("other")));
        map.insert(2, "huge", 11);
        assert_eq!((map.get(&1), map.get(&2), map.cost, map.order.len()), (Some("new"), None, 6, 1));
        map.remove(&1);
        assert_eq!((map.cost, map.order.len(), map.entries.len()), (0, 0, 0));
    }
}
