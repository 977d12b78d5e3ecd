// SPDX-License-Identifier: Apache-2.0
//! One command, one file. Flags, columns and exit codes are the docker CLI's where both have them.

pub(crate) mod attach;
pub(crate) mod commit;
pub(crate) mod complete;
pub(crate) mod completion;
pub(crate) mod container;
pub(crate) mod container_prune;
pub(crate) mod context;
pub(crate) mod copy;
pub(crate) mod cp;
pub(crate) mod create;
pub(crate) mod daemon;
pub(crate) mod diff;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod explain;
pub(crate) mod export;
pub(crate) mod history;
pub(crate) mod image;
pub(crate) mod image_prune;
pub(crate) mod image_sign;
pub(crate) mod image_verify;
pub(crate) mod image_waste;
pub(crate) mod images;
pub(crate) mod import;
pub(crate) mod info;
pub(crate) mod inspect;
pub(crate) mod kill;
pub(crate) mod load;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod logs;
pub(crate) mod man;
pub(crate) mod network;
pub(crate) mod pause;
pub(crate) mod port;
pub(crate) mod ps;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod registry;
pub(crate) mod rename;
pub(crate) mod restart;
pub(crate) mod rm;
pub(crate) mod rmi;
pub(crate) mod run;
pub(crate) mod save;
pub(crate) mod start;
pub(crate) mod stats;
pub(crate) mod stop;
pub(crate) mod system;
pub(crate) mod system_check;
pub(crate) mod system_df;
pub(crate) mod system_dial_stdio;
pub(crate) mod system_leases;
pub(crate) mod system_prune;
pub(crate) mod system_service;
pub(crate) mod tag;
pub(crate) mod top;
pub(crate) mod trust;
pub(crate) mod unpause;
pub(crate) mod update;
pub(crate) mod version;
pub(crate) mod volume;
pub(crate) mod volume_create;
pub(crate) mod volume_ls;
pub(crate) mod volume_prune;
pub(crate) mod volume_rm;
pub(crate) mod wait;

use std::future::poll_fn;
use std::task::Poll;

use crate::failure::Failure;
use crate::printer;

/// So many containers are stopped, removed and so on at once, as by Docker.
const AT_ONCE: usize = 50;

/// Do `action` for each name, printing the names it worked for; errors are printed as they come.
async fn for_each(
    names: &[String],
    mut action: impl AsyncFnMut(&str) -> Result<String, Failure>,
) -> Result<u8, Failure> {
    let mut failed = false;
    for name in names {
        failed |= !tell(action(name).await);
    }
    if failed { Err(Failure::told()) } else { Ok(0) }
}

/// The same for all names at once, for what may take its time: who stops ten containers waits as long as for the slowest of them.
/// They are told in the order in which they were named.
async fn for_all(names: &[String], action: impl AsyncFn(&str) -> Result<String, Failure>) -> Result<u8, Failure> {
    let mut failed = false;
    for some in names.chunks(AT_ONCE) {
        let mut under_way: Vec<_> = some.iter().map(|name| (Some(Box::pin(action(name))), None)).collect();
        let mut told = 0;
        poll_fn(|context| {
            for (pending, outcome) in &mut under_way {
                let Some(future) = pending else { continue };
                if let Poll::Ready(done) = future.as_mut().poll(context) {
                    (*pending, *outcome) = (None, Some(done));
                }
            }
            while let Some(outcome) = under_way.get_mut(told).and_then(|(_, outcome)| outcome.take()) {
                failed |= !tell(outcome);
                told += 1;
            }
            if told == under_way.len() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
    if failed { Err(Failure::told()) } else { Ok(0) }
}

/// Prints the name that something worked for, or why it did not; whether it did.
fn tell(outcome: Result<String, Failure>) -> bool {
    match &outcome {
        Ok(text) => printer::line(text),
        Err(failure) => failure.report.iter().for_each(printer::failure),
    }
    outcome.is_ok()
}
