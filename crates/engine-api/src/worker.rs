// SPDX-License-Identifier: Apache-2.0
//! Work that waits for a client: archives on their way in or out, which take as long as the client takes.

use std::future::Future;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::error::ApiError;

/// Runs `work` on a thread of its own. The threads that serve everybody are a few hundred: so many clients that stall in the
/// middle of an archive would leave none for anybody else.
pub(crate) fn run<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Result<T, ApiError>> {
    let (done, ended) = oneshot::channel();
    let runtime = Handle::current();
    let thread = std::thread::Builder::new().name("archive".to_owned()).spawn(move || {
        let _runtime = runtime.enter();
        // Whoever asked may have left.
        let _ = done.send(work());
    });
    async move {
        thread.map_err(|source| ApiError::Thread { what, source })?;
        // It sends what comes of the work, unless that panics.
        ended.await.map_err(|_| ApiError::Worker(what))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::{Body, Bytes};

    use super::*;
    use crate::{download, upload};

    /// With a single thread for everybody, archives that stall both ways leave it free.
    #[test]
    fn clients_that_stall_take_no_thread_from_others() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).max_blocking_threads(1).enable_all().build();
        runtime.unwrap().block_on(async {
            let (pieces, body) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(1);
            let body = futures_util::stream::unfold(body, |mut body| async { Some((body.recv().await?, body)) });
            let reads = |mut archive: upload::Upload| {
                std::io::Read::read_to_end(&mut archive, &mut Vec::new()).map_err(image::ImageError::Input)
            };
            let sent = tokio::spawn(upload::receive(Body::from_stream(body), "a test", reads));
            let unread = download::send("a test", |mut out| {
                std::io::Write::write_all(&mut out, &[0; 1 << 10])
                    .and_then(|()| {
                        // More than anybody keeps for whoever does not read.
                        (0..1000).try_for_each(|_| std::io::Write::write_all(&mut out, &[0; 1 << 10]))
                    })
                    .map_err(image::ImageError::Output)
            });
            let other = tokio::time::timeout(Duration::from_secs(20), tokio::task::spawn_blocking(|| 7)).await;
            assert_eq!(other.expect("there is a thread").unwrap(), 7);
            drop((pieces, unread));
            assert_eq!(sent.await.unwrap().unwrap(), 0);
        });
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let ended = run("a test", || -> u8 { panic!("on purpose") }).await;
        assert!(matches!(ended, Err(ApiError::Worker("a test"))));
    }
}
