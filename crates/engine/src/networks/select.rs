// SPDX-License-Identifier: Apache-2.0
//! Which of the networks a listing is about.

use jiff::Timestamp;

use super::Network;
use crate::Engine;
use crate::error::EngineError;
use crate::select::{check_pattern, fits};

/// What networks are chosen by. Of several values of one filter one must fit, except of labels; what is empty lets all
/// through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkFilters {
    /// Parts of ids; `^` and `$` hold the beginning and the end.
    pub ids: Vec<String>,
    /// Parts of names, as of ids.
    pub names: Vec<String>,
    /// Words of [`super::NetworkDriver::as_str`].
    pub drivers: Vec<String>,
    /// `local`, or nothing is chosen.
    pub scopes: Vec<String>,
    /// Whether it was made by a user.
    pub user_defined: Option<bool>,
    /// Labels it must have: `KEY` or `KEY=VALUE`.
    pub labels: Vec<String>,
    /// Labels it must not have.
    pub without_labels: Vec<String>,
    /// Made before that moment.
    pub until: Option<Timestamp>,
    /// Whether no container names it.
    pub dangling: Option<bool>,
}

impl NetworkFilters {
    /// Whether they let a network through; of who uses it they know nothing.
    pub fn admit(&self, network: &Network) -> bool {
        fn any(list: &[String], fit: impl Fn(&str) -> bool) -> bool {
            list.is_empty() || list.iter().any(|value| fit(value))
        }
        any(&self.ids, |pattern| fits(pattern, network.id.as_str()))
            && any(&self.names, |pattern| fits(pattern, &network.name))
            && any(&self.drivers, |driver| driver == network.driver.as_str())
            && any(&self.scopes, |scope| scope == "local")
            && self.user_defined.is_none_or(|wanted| wanted == network.is_user_defined())
            && self.labels.iter().all(|label| has_label(network, label))
            && !self.without_labels.iter().any(|label| has_label(network, label))
            && self.until.is_none_or(|until| network.created < until)
    }
}

fn has_label(network: &Network, wanted: &str) -> bool {
    let (key, value) = wanted.split_once('=').map_or((wanted, None), |(key, value)| (key, Some(value)));
    network.labels.get(key).is_some_and(|found| value.is_none_or(|value| found == value))
}

impl Engine {
    /// The networks that `filters` let through, by name.
    ///
    /// # Errors
    /// A pattern that is more than a part of a name.
    pub fn select_networks(&self, filters: &NetworkFilters) -> Result<Vec<Network>, EngineError> {
        filters.ids.iter().chain(&filters.names).try_for_each(|pattern| check_pattern(pattern))?;
        let is_used = |network: &Network| self.network_is_used(&network.id);
        let fits = |network: &Network| {
            let dangling = |wanted| wanted == (network.is_user_defined() && !is_used(network));
            filters.admit(network) && filters.dangling.is_none_or(dangling)
        };
        Ok(self.networks().into_iter().filter(fits).collect())
    }
}

#[cfg(test)]
mod tests {
    use network::NetworkId;

    use super::*;
    use crate::networks::NetworkDriver;

    #[test]
    fn each_filter_lets_through_what_fits() {
        let network = Network {
            id: NetworkId::from_random([7; 32]),
            name: "mine".into(),
            created: Timestamp::from_second(1000).unwrap(),
            driver: NetworkDriver::Bridge,
            internal: false,
            attachable: false,
            ipam: None,
            ipv6: None,
            options: Default::default(),
            labels: [("a".to_owned(), "1".to_owned())].into(),
        };
        let admits = |change: fn(&mut NetworkFilters)| {
            let mut filters = NetworkFilters::default();
            change(&mut filters);
            filters.admit(&network)
        };
        assert!(admits(|_| {}));
        assert!(admits(|f| f.names = vec!["other".into(), "min".into()]));
        assert!(!admits(|f| f.names = vec!["^min$".into()]));
        assert!(admits(|f| f.ids = vec!["^0707".into()]));
        assert!(!admits(|f| f.drivers = vec!["host".into()]));
        assert!(!admits(|f| f.scopes = vec!["swarm".into()]));
        assert!(admits(|f| f.user_defined = Some(true)) && !admits(|f| f.user_defined = Some(false)));
        assert!(admits(|f| f.labels = vec!["a".into(), "a=1".into()]));
        assert!(!admits(|f| f.labels = vec!["a".into(), "b".into()]));
        assert!(!admits(|f| f.without_labels = vec!["a=1".into()]));
        assert!(admits(|f| f.until = Timestamp::from_second(1001).ok()));
        assert!(!admits(|f| f.until = Timestamp::from_second(1000).ok()));
    }
}
