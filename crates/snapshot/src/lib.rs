//! Snapshots: unpacked layers shared read-only under a container's writable one.
