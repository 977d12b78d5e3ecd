// SPDX-License-Identifier: Apache-2.0
//! What the prune commands share: asking the daemon to remove what is unused of one kind, and telling what has gone.

use client::{Client, ClientError, Filter};

use crate::printer;
use crate::printer::{confirm, human};

/// What has gone of one kind.
pub(crate) struct Gone {
    heading: &'static str,
    lines: Vec<String>,
    /// Bytes that the disk has back.
    pub(crate) reclaimed: u64,
}

impl Gone {
    fn new(heading: &'static str, lines: Option<Vec<String>>, reclaimed: Option<i64>) -> Gone {
        let reclaimed = reclaimed.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
        Gone { heading, lines: lines.unwrap_or_default(), reclaimed }
    }

    /// Prints what has gone, if anything has.
    pub(crate) fn show(&self) {
        if !self.lines.is_empty() {
            printer::line(self.heading);
            self.lines.iter().for_each(|line| printer::line(line));
            printer::line("");
        }
    }

    /// The same, and what it comes to.
    pub(crate) fn show_with_total(&self) {
        self.show();
        total(self.reclaimed);
    }
}

/// Prints how many bytes the disk has back.
pub(crate) fn total(bytes: u64) {
    printer::line(&format!("Total reclaimed space: {}", human::size(bytes)));
}

/// Whether to go on: by `force`, or because the user wants `which` removed.
pub(crate) fn may_go(force: bool, which: &[&str]) -> bool {
    force || confirm::is_wanted(which)
}

/// Containers that do not run.
pub(crate) async fn containers(client: &Client, filters: &[Filter]) -> Result<Gone, ClientError> {
    let pruned = client.prune_containers(filters).await?;
    Ok(Gone::new("Deleted Containers:", pruned.containers_deleted, pruned.space_reclaimed))
}

/// Networks that no container names.
pub(crate) async fn networks(client: &Client, filters: &[Filter]) -> Result<Gone, ClientError> {
    let pruned = client.prune_networks(filters).await?;
    Ok(Gone::new("Deleted Networks:", pruned.networks_deleted, None))
}

/// Volumes that no container has: those that nobody has named, or with `all` any.
pub(crate) async fn volumes(client: &Client, all: bool, filters: &[Filter]) -> Result<Gone, ClientError> {
    let all = all.then(|| ("all".to_owned(), "true".to_owned()));
    let filters: Vec<Filter> = filters.iter().cloned().chain(all).collect();
    let pruned = client.prune_volumes(&filters).await?;
    Ok(Gone::new("Deleted Volumes:", pruned.volumes_deleted, pruned.space_reclaimed))
}

/// Images that no container needs: those without a name, or with `all` any.
pub(crate) async fn images(client: &Client, all: bool, filters: &[Filter]) -> Result<Gone, ClientError> {
    let dangling = ("dangling".to_owned(), (!all).to_string());
    let filters: Vec<Filter> = filters.iter().cloned().chain([dangling]).collect();
    let pruned = client.prune_images(&filters).await?;
    let mut lines = Vec::new();
    for item in pruned.images_deleted.unwrap_or_default() {
        lines.extend(item.untagged.map(|name| format!("untagged: {name}")));
        lines.extend(item.deleted.map(|digest| format!("deleted: {digest}")));
    }
    Ok(Gone::new("Deleted Images:", Some(lines), pruned.space_reclaimed))
}
