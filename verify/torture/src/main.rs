//! The program `torture`; without arguments, the demo.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    tenure_torture::run(tenure_torture::cli::Cli::parse()).into()
}
