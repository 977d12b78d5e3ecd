//! The daemon's transactional store of names, containers, networks and leases.
