// SPDX-License-Identifier: Apache-2.0
//! The limits that `run`, `create` and `update` set.

use api_types::docker::{ContainerUpdateBody, HostConfig};
use clap::Args;

use super::size;

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitFlags {
    /// Weight at block devices, from 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u16>,
    /// Length of a period of processor time, microseconds
    #[arg(long, value_name = "NUMBER")]
    cpu_period: Option<i64>,
    /// Processor time in a period, microseconds; -1 for any
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    cpu_quota: Option<i64>,
    /// Length of a period of real-time processor time, microseconds
    #[arg(long, value_name = "NUMBER")]
    cpu_rt_period: Option<i64>,
    /// Real-time processor time in a period, microseconds
    #[arg(long, value_name = "NUMBER")]
    cpu_rt_runtime: Option<i64>,
    /// Weight of its share of the processors; 1024 is the usual one
    #[arg(short, long, value_name = "WEIGHT")]
    cpu_shares: Option<i64>,
    /// Processors that may be used, as in 0.5
    #[arg(long, value_name = "NUMBER", value_parser = size::nano_cpus)]
    cpus: Option<i64>,
    /// Processors it may run on, as in 0-2,5
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes it may use, as in 0-1
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Memory limit, as in 512m
    #[arg(short, long, value_name = "SIZE", value_parser = size::bytes)]
    memory: Option<i64>,
    /// Memory that it keeps when memory is short
    #[arg(long, value_name = "SIZE", value_parser = size::bytes)]
    memory_reservation: Option<i64>,
    /// Memory and swap together; -1 for unlimited swap
    #[arg(long, value_name = "SIZE", value_parser = size::bytes_or_unlimited, allow_hyphen_values = true)]
    memory_swap: Option<i64>,
    /// How many processes and threads there may be; -1 for any number
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
}

impl LimitFlags {
    /// Sets them in `host`.
    pub(super) fn apply(&self, host: HostConfig) -> HostConfig {
        HostConfig {
            blkio_weight: self.blkio_weight,
            cpu_period: self.cpu_period,
            cpu_quota: self.cpu_quota,
            cpu_realtime_period: self.cpu_rt_period,
            cpu_realtime_runtime: self.cpu_rt_runtime,
            cpu_shares: self.cpu_shares,
            nano_cpus: self.cpus,
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
            memory: self.memory,
            memory_reservation: self.memory_reservation,
            memory_swap: self.memory_swap,
            pids_limit: self.pids_limit,
            ..host
        }
    }

    /// The changes that they are for a container that is there.
    pub(crate) fn changes(self) -> ContainerUpdateBody {
        ContainerUpdateBody {
            blkio_weight: self.blkio_weight,
            cpu_period: self.cpu_period,
            cpu_quota: self.cpu_quota,
            cpu_realtime_period: self.cpu_rt_period,
            cpu_realtime_runtime: self.cpu_rt_runtime,
            cpu_shares: self.cpu_shares,
            nano_cpus: self.cpus,
            cpuset_cpus: self.cpuset_cpus,
            cpuset_mems: self.cpuset_mems,
            memory: self.memory,
            memory_reservation: self.memory_reservation,
            memory_swap: self.memory_swap,
            pids_limit: self.pids_limit,
            ..ContainerUpdateBody::default()
        }
    }
}
