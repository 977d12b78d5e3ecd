//! The OCI runtime: a spec becomes a plan of typed operations, the plan is applied.
