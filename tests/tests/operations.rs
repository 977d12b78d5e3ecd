// SPDX-License-Identifier: Apache-2.0
//! `corten oci` on running containers, on this machine's cgroup version. The vm lane runs the same checks on pure v2.

use end_to_end::operations;

#[test]
fn a_paused_container_stands_still() {
    operations::a_paused_container_stands_still();
}

#[test]
fn limits_are_changed_together_or_not_at_all() {
    operations::limits_are_changed_together_or_not_at_all();
}

#[test]
fn events_tell_of_want_of_memory_and_end_with_the_container() {
    operations::events_tell_of_want_of_memory_and_end_with_the_container();
}

#[test]
fn a_process_is_executed_in_a_group_below() {
    operations::a_process_is_executed_in_a_group_below();
}

#[test]
fn a_containers_user_owns_its_cgroup_where_that_is_safe() {
    operations::a_containers_user_owns_its_cgroup_where_that_is_safe();
}
