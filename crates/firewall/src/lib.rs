//! One nf_tables table of our own, spoken over netlink.
