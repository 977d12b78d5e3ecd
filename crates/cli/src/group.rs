// SPDX-License-Identifier: Apache-2.0
//! `commands!`: the commands of the program, or of a group, as a table of one line each.

/// Declares the commands of the program or of a group: `Name(Arguments) => function,`, one line each, below the heading
/// that the help lists them under. The function is `async fn(Arguments, &Context) -> Result<u8, Failure>`. What clap must
/// know of a command stands before its name, as in `#[command(name = "ls")]`.
///
/// It makes the enum that clap parses, its `dispatch`, which runs the command that was given, and `SECTIONS`, for the
/// help. With `deferred;` in front it makes `Deferred` as well: the same commands for clap, whose flags are not made
/// before their command is met.
macro_rules! commands {
    (deferred; $($heading:literal { $($(#[$attribute:meta])* $name:ident($args:ty) => $run:path,)* })*) => {
        #[derive(clap::Subcommand)]
        #[command(defer = true)]
        enum Deferred {
            $($($(#[$attribute])* $name($args),)*)*
        }

        commands! { $($heading { $($(#[$attribute])* $name($args) => $run,)* })* }
    };
    ($($heading:literal { $($(#[$attribute:meta])* $name:ident($args:ty) => $run:path,)* })*) => {
        #[derive(Debug, clap::Subcommand)]
        pub(crate) enum Command {
            $($($(#[$attribute])* $name($args),)*)*
        }

        impl Command {
            /// Runs the command that was given.
            pub(crate) async fn dispatch(self, context: &crate::cli::Context) -> Result<u8, crate::failure::Failure> {
                match self {
                    // Boxed: the future of the largest command would otherwise be that of all.
                    $($(Command::$name(args) => Box::pin($run(args, context)).await,)*)*
                }
            }
        }

        /// The headings of the help, and how many of the commands are below each.
        pub(crate) const SECTIONS: &[crate::help::Section] = &[
            $(crate::help::Section { heading: $heading, commands: [$(stringify!($name)),*].len() },)*
        ];
    };
}
