// SPDX-License-Identifier: Apache-2.0
//! `corten create`: make a container without starting it.

use crate::cli::Context;
use crate::cli::plain::{Operands, Place, Plain};
use crate::commands::run::{Pulling, body, fetch, is_missing};
use crate::failure::Failure;
use crate::flags::cidfile::IdFile;
use crate::flags::container::{ContainerFlags, Pull};
use crate::printer;

/// Create a container without starting it, and print its id
#[derive(Debug, Default, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    #[command(flatten)]
    flags: ContainerFlags,
    /// The image, then the command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_names = ["IMAGE", "COMMAND"])]
    image_and_command: Vec<String>,
}

impl Plain for Args {
    fn flag(&mut self, name: &str) -> Option<Place<'_>> {
        self.flags.flag(name)
    }

    fn operands(&mut self) -> Option<Operands<'_>> {
        Some(Operands { list: &mut self.image_and_command, least: 1, trailing: true })
    }
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let flags = &args.flags;
    // A required positional has at least one value.
    let (image, command) = args.image_and_command.split_first().map_or(("", &[][..]), |(i, c)| (i.as_str(), c));
    let config = body(flags, image, command, flags.streams(), context)?;
    let id_file = flags.cidfile.as_deref().map(IdFile::create).transpose()?;
    let pulling = Pulling { when: flags.pull, quiet: flags.quiet };
    let (client, platform) = (&context.client, flags.platform.as_deref());
    if flags.pull == Pull::Always {
        fetch(client, image, platform, pulling).await?;
    }
    let create = || client.create_container(flags.name.as_deref(), platform, &config);
    let created = match create().await {
        Err(error) if flags.pull == Pull::Missing && is_missing(client, image, &error).await => {
            fetch(client, image, platform, pulling).await?;
            create().await?
        }
        other => other?,
    };
    if let Some(file) = id_file {
        file.write(&created.id)?;
    }
    created.warnings.iter().for_each(|warning| printer::warning(warning));
    printer::line(&created.id);
    Ok(0)
}
