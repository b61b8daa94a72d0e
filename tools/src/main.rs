//! The `tenure` command.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    tenure_tools::exit::refuse_at_sigbus();
    tenure_tools::run(tenure_tools::cli::Cli::parse()).into()
}
