//! The typed client of the daemon.
