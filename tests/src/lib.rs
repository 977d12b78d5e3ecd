// SPDX-License-Identifier: Apache-2.0
//! Checks that hold on every cgroup version: the host lane runs them on this machine, the vm lane on pure v2.
//!
//! Each starts a daemon of its own, and so also proves that nothing is left when the daemon has gone.

pub mod checkpoint;
pub mod isolation;
pub mod life;
pub mod limits;
pub mod network;

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
