// SPDX-License-Identifier: Apache-2.0
//! Checks that hold on every cgroup version: the host lane runs them on this machine, the vm lane on pure v2. And those
//! that only the vm lane can run.
//!
//! Each starts a daemon or a runtime of its own, and so also proves that nothing is left when that has gone.
//! `docker_cli`, `docker_runtime`, `copying`, `log_server` and `own_registry` are no checks: they are what other tests stand
//! on.

pub mod chance;
pub mod checkpoint;
pub mod clock;
pub mod copying;
pub mod docker_cli;
pub mod docker_runtime;
pub mod isolation;
pub mod life;
pub mod limits;
pub mod log_server;
pub mod network;
pub mod oci;
pub mod operations;
pub mod own_registry;
pub mod podman;
pub mod user_namespaces;

/// A check and its name.
pub type Check = (&'static str, fn());

macro_rules! checks {
    ($($module:ident :: $name:ident),* $(,)?) => { &[$((stringify!($name), $module::$name)),*] };
}

/// Every check that both lanes run.
pub const CHECKS_ON_BOTH_CGROUP_VERSIONS: &[Check] = checks![
    life::the_exit_code_is_the_commands,
    life::a_container_runs_in_the_background_and_is_stopped,
    life::a_command_is_executed_in_a_running_container,
    isolation::every_namespace_is_its_own,
    isolation::the_command_is_process_one_and_sees_no_other,
    isolation::capabilities_are_dockers_default_set,
    isolation::the_seccomp_filter_is_on_and_forbids,
    isolation::kernel_paths_are_masked_and_read_only,
    limits::a_container_over_its_memory_is_killed_and_inspect_says_so,
    limits::half_a_processor_is_half_a_processor,
    limits::a_fork_bomb_stops_at_the_limit,
    network::a_container_on_the_bridge_has_an_address_and_a_gateway,
    network::a_published_port_is_reachable_from_the_host,
    operations::a_paused_container_stands_still,
    operations::limits_are_changed_together_or_not_at_all,
    operations::events_tell_of_want_of_memory_and_end_with_the_container,
    operations::a_process_is_executed_in_a_group_below,
    operations::a_containers_user_owns_its_cgroup_where_that_is_safe,
];

/// Checks for the vm lane only: what there is to see needs a machine with cgroup v2 alone, or with a user who has been
/// given ids and a cgroup.
pub const CHECKS_OF_THE_VM: &[Check] = checks![
    clock::a_clock_that_is_set_confuses_nobody,
    oci::a_user_without_anything_runs_a_container,
    oci::a_user_with_ids_of_others_runs_a_container,
    oci::a_user_who_is_nobody_inside_still_provides_the_files,
    oci::a_user_with_a_cgroup_limits_a_container,
    oci::roots_container_has_a_user_namespace_and_another_joins_it,
    oci::clocks_of_a_container_are_off,
    user_namespaces::roots_are_nobody_on_the_host,
];

/// What needs a CRIU that knows the kernel.
pub const CHECKS_WITH_CRIU: &[Check] = checks![
    checkpoint::a_container_goes_on_counting_after_a_restore,
    checkpoint::a_container_left_running_runs_on_and_is_saved_all_the_same,
    checkpoint::a_pre_dump_is_the_parent_of_a_dump,
    checkpoint::a_terminal_is_handed_over_again,
    checkpoint::a_restore_in_the_foreground_has_the_containers_exit_code,
    checkpoint::an_open_connection_goes_on_in_a_new_network_namespace,
    checkpoint::a_restore_that_fails_leaves_nothing,
];

/// Every check of podman's machine in the vm lane.
pub const CHECKS_OF_PODMAN: &[Check] = checks![
    podman::podman_runs_a_command,
    podman::podman_operates_a_container,
    podman::podman_limits_and_checks,
    podman::podman_maps_users
];
