//! The content store: an OCI image layout whose blobs are visible only when their digest matched.
