// SPDX-License-Identifier: Apache-2.0
//! `corten system dial-stdio`: connects stdin and stdout to the daemon. `ssh://` runs it on the other machine.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::cli::Context;
use crate::failure::Failure;

/// Connect stdin and stdout to the daemon's socket, as ssh:// does on the other machine
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) async fn run(_: Args, context: &Context) -> Result<u8, Failure> {
    let (mut from_daemon, mut to_daemon) = tokio::io::split(context.client.connect().await?);
    let (mut stdin, mut stdout) = (tokio::io::stdin(), tokio::io::stdout());
    let asked = async {
        tokio::io::copy(&mut stdin, &mut to_daemon).await?;
        // The daemon still answers what it was asked last.
        to_daemon.shutdown().await
    };
    let answered = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = from_daemon.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            stdout.write_all(&buffer[..count]).await?;
            // Answers are waited for: each piece goes on at once.
            stdout.flush().await?;
        }
    };
    tokio::pin!(asked, answered);
    // The daemon's end of the conversation is the end; ours is not, unless it failed.
    let ended: std::io::Result<()> = tokio::select! {
        ended = &mut answered => ended,
        Err(error) = &mut asked => Err(error),
    };
    match ended {
        Ok(()) => Ok(0),
        Err(error) => Err(client::ClientError::Stream(error).into()),
    }
}
