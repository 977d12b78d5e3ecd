// SPDX-License-Identifier: Apache-2.0
//! Limits on this machine's cgroup version. The vm lane runs the same checks on pure v2.

use end_to_end::limits;

#[test]
fn a_container_over_its_memory_is_killed_and_inspect_says_so() {
    limits::a_container_over_its_memory_is_killed_and_inspect_says_so();
}

#[test]
fn half_a_processor_is_half_a_processor() {
    limits::half_a_processor_is_half_a_processor();
}

#[test]
fn a_fork_bomb_stops_at_the_limit() {
    limits::a_fork_bomb_stops_at_the_limit();
}
