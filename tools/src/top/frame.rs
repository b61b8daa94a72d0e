//! The frame: what a look has found, as text on a screen.

use ratatui::backend::TestBackend;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::widgets::{Block, Paragraph, Row, Table};
use ratatui::{Frame, Terminal};

use super::view::View;
use crate::table::{bytes, shown};

/// A part of the frame.
struct Part {
    title: String,
    head: Vec<&'static str>,
    rows: Vec<(Vec<String>, Style)>,
}

impl Part {
    fn new(title: String, head: &[&'static str]) -> Self {
        Self { title, head: head.to_vec(), rows: Vec::new() }
    }

    fn row(&mut self, cells: impl IntoIterator<Item = String>, style: Style) {
        self.rows.push((cells.into_iter().collect(), style));
    }

    /// The lines between the borders that are no rows.
    fn head_lines(&self) -> u16 {
        u16::from(self.head.iter().any(|cell| !cell.is_empty()))
    }

    /// The height that shows all rows.
    fn height(&self) -> u16 {
        u16::try_from(self.rows.len()).unwrap_or(u16::MAX - 3) + 2 + self.head_lines()
    }

    fn draw(&self, frame: &mut Frame<'_>, area: Rect) {
        let columns = self.head.len();
        let cells = |column: usize| self.rows.iter().map(move |(cells, _)| cells[column].as_str());
        let width = |column: usize| {
            let all = cells(column).chain([self.head[column]]);
            all.map(|cell| cell.chars().count()).max().unwrap_or(0) as u16
        };
        let widths = (0..columns).map(|column| {
            if column + 1 == columns { Constraint::Fill(1) } else { Constraint::Length(width(column)) }
        });
        let room = usize::from(area.height.saturating_sub(2 + self.head_lines()));
        let hidden = self.rows.len().saturating_sub(room);
        let more =
            if hidden > 0 { format!("{}, {hidden} more ", self.title) } else { format!("{} ", self.title) };
        let rows =
            self.rows.iter().map(|(cells, style)| Row::new(cells.iter().map(String::as_str)).style(*style));
        let mut table =
            Table::new(rows, widths).column_spacing(2).block(Block::bordered().title(format!(" {more}")));
        if self.head_lines() > 0 {
            table = table
                .header(Row::new(self.head.iter().copied()).style(Style::new().add_modifier(Modifier::DIM)));
        }
        frame.render_widget(table, area);
    }
}

const PLAIN: Style = Style::new();
const BAD: Style = Style::new().fg(Color::Red);
const BUSY: Style = Style::new().fg(Color::Yellow);

/// Draws the view in the whole area of the frame.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View) {
    let area = frame.area();
    let head = area.height.min(HEAD);
    frame.render_widget(Paragraph::new(head_of(view)), Rect { height: head, ..area });
    let parts = parts(view);
    let heights = share(area.height - head, &parts.iter().map(Part::height).collect::<Vec<_>>());
    let mut y = area.y + head;
    for (part, height) in parts.iter().zip(heights) {
        part.draw(frame, Rect { y, height, ..area });
        y += height;
    }
}

/// The view as text of that width, as high as it is.
pub(super) fn print(view: &View, width: u16) -> String {
    let height = parts(view).iter().map(Part::height).fold(HEAD, u16::saturating_add);
    // A buffer has fewer cells than 2^16.
    let backend = TestBackend::new(width, height.min(u16::MAX / width));
    let Ok(mut terminal) = Terminal::new(backend);
    let Ok(_) = terminal.draw(|frame| draw(frame, view));
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for y in 0..buffer.area.height {
        let line: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        text += line.trim_end();
        text.push('\n');
    }
    text
}

const HEAD: u16 = 2;

fn head_of(view: &View) -> String {
    let resident = view.bytes_resident.map_or_else(String::new, |it| format!(", {} resident", bytes(it)));
    let trouble = view.name_state.map_or_else(String::new, |it| format!("; {it}"));
    let (name, backend) = (shown(&view.name), &view.backend);
    let memory = &view.memory;
    format!(
        "tenure top: {name} ({backend}), {}{resident}{trouble}; q quits\n\
         members {} of {}, handles {} of {}, blocks {}, scratch {} of {} in use",
        bytes(view.bytes),
        view.members.len(),
        view.members_capacity,
        view.handles_live,
        view.handles_capacity,
        memory.leased + memory.attached + memory.pinned,
        bytes(memory.bytes_live),
        bytes(memory.bytes_capacity),
    )
}

fn parts(view: &View) -> Vec<Part> {
    let mut members = Part::new("members".into(), &["lease", "pid", "process", "state", "handles", "holds"]);
    for (member, holds) in view.members.iter().zip(&view.holds) {
        let style = if member.alive == Some(false) { BAD } else { PLAIN };
        let holds =
            holds.iter().map(|(kind, count)| format!("{count} {kind}")).collect::<Vec<_>>().join(", ");
        let process = member.process_text();
        let (index, pid, handles) =
            (member.index.to_string(), member.pid.to_string(), member.handles.to_string());
        members.row([index, pid, process, member.state().into(), handles, holds], style);
    }

    let mut locks = Part::new("locks, events and counts".into(), &["name", "kind", "waited for by", "state"]);
    for lock in &view.locks {
        let waiters = lock.waiters.iter().map(|pid| format!("pid {pid}")).collect::<Vec<_>>().join(", ");
        let waiters = match (lock.has_waiters, waiters.is_empty()) {
            (_, false) => waiters,
            (true, true) => "somebody".into(),
            (false, true) => "-".into(),
        };
        let style = if lock.has_waiters { BUSY } else { PLAIN };
        locks.row([shown(&lock.what), lock.kind.clone(), waiters, lock.state.clone()], style);
    }

    let mut queues = Part::new("queues".into(), &["name", "wait", "claimed", "fill"]);
    for queue in &view.queues {
        let style = if queue.waiting >= queue.capacity { BUSY } else { PLAIN };
        let waited = if queue.has_waiters { "  somebody waits" } else { "" };
        let gauge = gauge(queue.waiting, queue.capacity);
        queues.row(
            [
                shown(&queue.what),
                format!("{} of {}", queue.waiting, queue.capacity),
                queue.claimed.to_string(),
                format!("{gauge}{waited}"),
            ],
            style,
        );
    }

    let mut kinds = Part::new("handles".into(), &["kind", "count", "bytes", ""]);
    for of_kind in &view.kinds {
        let slots = of_kind.in_slots_only;
        let slots = if slots > 0 { format!("{slots} in slots only") } else { String::new() };
        kinds.row([of_kind.kind.clone(), of_kind.count.to_string(), bytes(of_kind.bytes), slots], PLAIN);
    }

    let memory = &view.memory;
    let title = format!("memory of the blocks, {} a cell", bytes(memory.cell_bytes));
    let mut map = Part::new(title, &[""]);
    map.row([memory.cells.iter().map(|percent| shade(*percent)).collect()], PLAIN);
    map.row(
        [format!(
            "{} leased, {} attached, {} pinned; {} owned by members, {} committed",
            memory.leased,
            memory.attached,
            memory.pinned,
            bytes(memory.bytes_owned),
            bytes(memory.bytes_committed)
        )],
        PLAIN,
    );

    let mut deaths = Part::new("deaths".into(), &["lease", "pid", "process", "held", "state"]);
    for death in &view.deaths {
        let (state, style) = if death.recovered {
            ("recovered: nothing of it is left", PLAIN)
        } else {
            ("to be recovered", BAD)
        };
        let process = death.process.as_deref().map_or_else(|| "-".into(), shown);
        let (index, pid) = (death.index.to_string(), death.pid.to_string());
        deaths.row([index, pid, process, format!("{} handles", death.handles), state.into()], style);
    }
    vec![members, locks, queues, kinds, map, deaths]
}

fn gauge(part: u32, all: u32) -> String {
    const WIDTH: u64 = 20;
    let full = (u64::from(part) * WIDTH).div_ceil(u64::from(all.max(1))).min(WIDTH) as usize;
    format!("[{}{}]", "#".repeat(full), " ".repeat(WIDTH as usize - full))
}

const fn shade(percent: u8) -> char {
    match percent {
        0 => '·',
        1..=25 => '░',
        26..=50 => '▒',
        51..=75 => '▓',
        _ => '█',
    }
}

/// Shares the height among parts: each gets what it needs, or as much as the others that need more.
fn share(height: u16, needs: &[u16]) -> Vec<u16> {
    let mut shares = vec![0; needs.len()];
    let mut left = height;
    while left > 0 {
        let hungry: Vec<_> = (0..needs.len()).filter(|&i| shares[i] < needs[i]).collect();
        if hungry.is_empty() {
            break;
        }
        for i in hungry.into_iter().take(left.into()) {
            shares[i] += 1;
            left -= 1;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_gets_what_it_needs_or_a_fair_share() {
        assert_eq!(share(30, &[3, 5, 4]), [3, 5, 4]);
        assert_eq!(share(10, &[3, 50, 4]), [3, 4, 3]);
        assert_eq!(share(2, &[3, 50, 4]), [1, 1, 0]);
        assert_eq!(share(0, &[3]), [0]);
    }
}
