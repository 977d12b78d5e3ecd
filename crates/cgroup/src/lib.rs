//! Control groups, v1, hybrid and v2: create, limit, join, observe, kill, remove.
