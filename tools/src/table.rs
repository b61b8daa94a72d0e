//! Small tables for terminals.

use std::fmt;

/// Rows of cells; the first column is aligned to the left, the others to the right except the last.
#[derive(Debug)]
pub struct Table<const N: usize> {
    head: [String; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// An empty table; without a heading line when all headings are empty.
    pub fn new(head: [&str; N]) -> Self {
        Self { head: head.map(str::to_owned), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = (self.head.iter().any(|cell| !cell.is_empty())).then_some(&self.head);
        let lines = || head.into_iter().chain(&self.rows);
        let width = |column: usize| lines().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..N).map(width).collect();
        for line in lines() {
            let mut text = String::new();
            for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
                let gap = if column == 0 { "" } else { "  " };
                text += gap;
                text += &if column == 0 || column + 1 == N {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                };
            }
            writeln!(f, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

/// A name on a terminal. It may contain any byte, also a line break: escaped, one name is a line and changes nothing else.
pub fn shown(name: &str) -> String {
    name.escape_debug().to_string()
}

/// A number in thousands or millions.
pub fn count(number: f64) -> String {
    match number {
        n if n >= 1e9 => format!("{:.2} G", n / 1e9),
        n if n >= 1e6 => format!("{:.2} M", n / 1e6),
        n if n >= 1e4 => format!("{:.1} k", n / 1e3),
        n => format!("{n:.0}"),
    }
}

/// A number of bytes with a unit.
pub fn bytes(bytes: u64) -> String {
    let number = bytes as f64;
    match bytes {
        b if b >= 1 << 30 => format!("{:.1} GiB", number / (1_u64 << 30) as f64),
        b if b >= 1 << 20 => format!("{:.1} MiB", number / (1_u64 << 20) as f64),
        b if b >= 1 << 10 => format!("{:.1} KiB", number / (1_u64 << 10) as f64),
        b => format!("{b} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["name", "ns", "more"]);
        table.row(["a".into(), "1".into(), "x".into()]);
        table.row(["long".into(), "1000".into(), String::new()]);
        assert_eq!(table.to_string(), "name    ns  more\na        1  x\nlong  1000\n");
        assert_eq!((count(12_345_678.0), bytes(1536)), ("12.35 M".into(), "1.5 KiB".into()));
    }
}
