//! The client of the OCI distribution protocol.
