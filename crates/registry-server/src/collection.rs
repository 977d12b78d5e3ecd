// SPDX-License-Identifier: Apache-2.0
//! When what nobody needs is collected.

use std::sync::Arc;

use errors::chain;

use crate::registry::{Collection, Registry};
use crate::storage::StorageError;

/// Collects again and again, for as long as it is polled.
pub(crate) async fn run(registry: Arc<Registry>, collection: Collection) {
    loop {
        tokio::time::sleep(collection.interval).await;
        let registry = Arc::clone(&registry);
        let outcome = tokio::task::spawn_blocking(move || {
            let uploads = registry.uploads.remove_abandoned(collection.grace)?;
            let collected = registry.storage.collect(collection.grace)?;
            Ok::<_, StorageError>((uploads, collected))
        });
        match outcome.await {
            Ok(Ok((uploads, collected))) => {
                let (marks, blobs, bytes) = (collected.marks, collected.blobs, collected.bytes);
                let repositories = collected.repositories;
                if uploads + marks + blobs + repositories > 0 {
                    tracing::info!(uploads, marks, blobs, bytes, repositories, "what nobody needs is collected");
                }
            }
            Ok(Err(error)) => tracing::error!(error = chain(&error), "a collection failed"),
            Err(_) => tracing::error!("a collection panicked"),
        }
    }
}
