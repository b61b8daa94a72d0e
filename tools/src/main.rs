//! The `tenure` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    tenure_tools::exit::refuse_at_sigbus();
    tenure_tools::main(std::env::args_os()).into()
}
