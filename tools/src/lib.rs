//! The `tenure` command: inspects segments and cleans up.
//!
//! ```text
//! tenure ls [handles NAME | blocks NAME] | stat NAME | top NAME | names NAME | slots NAME | check NAME | recover NAME | rm NAME [--force]
//! ```
//!
//! All but `recover` and `rm` attach without joining. Exit status: 0 all is well, 1 a check is not clean, 2
//! refused, nothing changed. `tenure-torture` uses the tables, the exit status and `attach`.

pub mod attach;
pub mod cli;
pub mod exit;
mod inspect;
mod members;
mod prometheus;
mod shown;
pub mod table;
mod top;

use std::ffi::OsString;
use std::io::{ErrorKind, IsTerminal as _, Write as _};

use clap::Parser as _;
use cli::{Cli, Command, List};
use exit::Exit;
use shown::{Document, Finding};

/// Parses the arguments of the program, the first of which is its name, and runs the command.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let arguments: Vec<_> = arguments.into_iter().collect();
    match Cli::try_parse_from(&arguments) {
        Ok(cli) => run(&cli),
        // Help and version are no errors.
        Err(error) if error.exit_code() == 0 || !arguments.iter().any(|argument| argument == "--json") => {
            error.exit()
        }
        Err(error) => {
            let text = error.render().to_string();
            let said = text.trim_end().trim_start_matches("error: ").to_owned();
            Exit::of("tenure", Ok((Document::misuse(said), Exit::Refused)))
        }
    }
}

/// Runs a command.
pub fn run(cli: &Cli) -> Exit {
    if let Command::Top { name, every, once: false } = &cli.command
        && !cli.json
    {
        return top::run(name, *every);
    }
    let Some(every) = cli.command.every() else {
        return Exit::of("tenure", answer(cli, false));
    };
    let is_screen = !cli.json && std::io::stdout().is_terminal();
    loop {
        let answer = answer(cli, true);
        let (is_over, mut out) = (answer.is_err(), std::io::stdout());
        // To the first place of a screen that is empty.
        let cleared = if is_screen && !is_over { out.write_all(b"\x1b[2J\x1b[H") } else { Ok(()) };
        let exit = Exit::of("tenure", answer);
        // A refusal ends it; so does a reader that has read enough, whom the next write meets.
        if is_over || exit == Exit::Refused || cleared.is_err() {
            return exit;
        }
        let is_gone = |error: std::io::Error| error.kind() == ErrorKind::BrokenPipe;
        if !cli.json && !is_screen && out.write_all(b"\n").and_then(|()| out.flush()).is_err_and(is_gone) {
            return exit;
        }
        std::thread::sleep(every);
    }
}

/// The text to print.
fn answer(cli: &Cli, is_line: bool) -> exit::Answer {
    let finding = find(&cli.command);
    if !cli.json {
        return finding.map(|shown| (shown.text, shown.exit));
    }
    let exit = finding.as_ref().map_or(Exit::Refused, |shown| shown.exit);
    let space = cli.command.space().map(|name| name.name.as_str());
    Ok((Document::about(cli.command.word(), space, &finding, is_line), exit))
}

fn find(command: &Command) -> Finding {
    match command {
        Command::Ls { what: None, .. } => inspect::ls(),
        Command::Ls { what: Some(List::Handles(each)), .. } => inspect::handles(&each.look.name, each.each),
        Command::Ls { what: Some(List::Blocks(each)), .. } => inspect::blocks(&each.look.name, each.each),
        Command::Stat { look, prometheus: true } => prometheus::metrics(&look.name),
        Command::Stat { look, .. } => inspect::stat(&look.name),
        Command::Top { name, .. } => top::once(name),
        Command::Names(look) => inspect::names(&look.name),
        Command::Slots(look) => inspect::slots(&look.name),
        Command::Check(look) => inspect::check(&look.name),
        Command::Recover(name) => inspect::recover(name),
        Command::Rm { name, force } => inspect::rm(name, *force),
    }
}

/// The processes of the tests.
#[cfg(test)]
#[test]
fn child() {
    let Some(role) = tenure_testkit::role() else { return };
    top::screen::child(&role[1]);
}
