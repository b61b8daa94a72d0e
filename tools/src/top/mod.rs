//! `tenure top`: a live view of a space. It only looks: it joins nothing and writes nothing.

mod frame;
mod history;
pub(crate) mod screen;
mod sleepers;
pub(crate) mod view;

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use crate::cli::Name;
use crate::exit::{Answer, Exit};
use crate::shown::{Finding, Shown};
use history::History;
use screen::Screen;
use view::View;

/// The width of a frame that is printed.
const PRINTED_WIDTH: u16 = 120;

/// One look, as text and as data.
pub(crate) fn once(name: &Name) -> Finding {
    let view = View::now(&name.attach()?, &name.name);
    let text = frame::print(&view, PRINTED_WIDTH);
    Ok(Shown::well(text, serde_json::to_value(view)?))
}

/// Shows the space until the user quits. Without a terminal it prints a frame every so often, until nobody reads them.
pub(crate) fn run(name: &Name, every: Duration) -> Exit {
    let end = if std::io::stdout().is_terminal() && std::io::stdin().is_terminal() {
        on_screen(name, every)
    } else {
        on_paper(name, every)
    };
    Exit::of("tenure", end)
}

fn on_paper(name: &Name, every: Duration) -> Answer {
    let mut history = History::default();
    let space = name.attach()?;
    loop {
        let text = frame::print(&View::of(&space, &name.name, &mut history), PRINTED_WIDTH);
        let mut out = std::io::stdout();
        if let Err(error) = writeln!(out, "{text}").and_then(|()| out.flush()) {
            let is_gone = error.kind() == std::io::ErrorKind::BrokenPipe;
            return if is_gone { Ok((String::new(), Exit::Well)) } else { Err(error.into()) };
        }
        std::thread::sleep(every);
    }
}

fn on_screen(name: &Name, every: Duration) -> Answer {
    let space = name.attach()?;
    let mut history = History::default();
    let _screen = Screen::take()?;
    let mut terminal = Terminal::new(CrosstermBackend::new(std::io::stdout()))?;
    loop {
        let view = View::of(&space, &name.name, &mut history);
        terminal.draw(|frame| frame::draw(frame, &view))?;
        let next = Instant::now() + every;
        // A key or another size of the screen: look at once.
        if event::poll(next.saturating_duration_since(Instant::now()))?
            && let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
            && (matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
                || (key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL)))
        {
            return Ok((String::new(), Exit::Well));
        }
    }
}
