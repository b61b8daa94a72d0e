//! The `tenure` command: inspects segments and cleans up.
//!
//! ```text
//! tenure ls | stat NAME | names NAME | slots NAME | check NAME | recover NAME | rm NAME [--force]
//! ```
//!
//! `ls`, `stat`, `names`, `slots` and `check` attach without joining. Exit status: 0 all is well, 1 a check is not clean, 2
//! refused, nothing changed. `tenure-torture` uses the tables, the exit status and `attach`.

pub mod attach;
pub mod cli;
pub mod exit;
pub mod inspect;
pub mod table;

use cli::{Cli, Command};
use exit::Exit;

/// Runs the command line.
pub fn run(cli: Cli) -> Exit {
    Exit::of(
        "tenure",
        match cli.command {
            Command::Ls { json } => inspect::ls(json),
            Command::Stat(look) => inspect::stat(&look.name, look.json),
            Command::Names(look) => inspect::names(&look.name, look.json),
            Command::Slots(look) => inspect::slots(&look.name, look.json),
            Command::Check(look) => inspect::check(&look.name, look.json),
            Command::Recover(name) => inspect::recover(&name),
            Command::Rm { name, force } => inspect::rm(&name, force),
        },
    )
}
