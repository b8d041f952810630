//! The only place that writes to stdout and stderr.

use std::io::{self, IsTerminal, Write};

use comfy_table::{Attribute, Cell, CellAlignment, Color, Table, presets};
use edge_user::api::types::ApiError;
use serde::Serialize;

use crate::cli::ColorWhen;
use crate::failure::Failure;

/// How to write: for machines or for people, with colours or without.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
    style: Style,
    complain_in_color: bool,
}

impl Output {
    /// Decides about colours once, for stdout and stderr each.
    pub(crate) fn new(json: bool, color: ColorWhen) -> Self {
        let wanted = |terminal: bool| match color {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            // https://no-color.org: set and not empty means no colours.
            ColorWhen::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        };
        let style = Style { color: wanted(io::stdout().is_terminal()) };
        Self { json, style, complain_in_color: wanted(io::stderr().is_terminal()) }
    }

    /// Whether JSON was asked for.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Whether a live picture can be drawn.
    pub(crate) fn is_terminal() -> bool {
        io::stdout().is_terminal()
    }

    /// Writes the answer: as one JSON document, or as what `render` makes of it.
    pub(crate) fn show<T: Serialize>(
        self,
        answer: &T,
        render: impl FnOnce(&T, Style) -> String,
    ) -> Result<(), Failure> {
        if self.json {
            return write_line(&serde_json::to_string_pretty(answer).map_err(io::Error::from)?);
        }
        write_line(render(answer, self.style).trim_end())
    }

    /// As [`Self::show`], for one of many: JSON on one line.
    pub(crate) fn show_next<T: Serialize>(
        self,
        answer: &T,
        render: impl FnOnce(&T, Style) -> String,
    ) -> Result<(), Failure> {
        if self.json {
            return write_line(&serde_json::to_string(answer).map_err(io::Error::from)?);
        }
        write_line(render(answer, self.style).trim_end())
    }

    /// Writes an error to stderr.
    pub(crate) fn error(self, error: &ApiError) {
        if self.json {
            complain_json(error);
        } else {
            complain(&error_text(error, self.complain_in_color));
        }
    }
}

/// Writes to stderr. A stderr that is closed is nobody's loss.
fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Writes an error to stderr as JSON, on one line.
pub(crate) fn complain_json(error: &ApiError) {
    if let Ok(json) = serde_json::to_string(error) {
        complain(&json);
    }
}

fn write_line(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()?;
    Ok(())
}

fn error_text(error: &ApiError, color: bool) -> String {
    let label = if color { "\u{1b}[1;31merror:\u{1b}[0m" } else { "error:" };
    let mut text = format!("{label} {}", error.message);
    for problem in &error.problems {
        text.push_str("\n  - ");
        text.push_str(problem);
    }
    if !error.advice.is_empty() {
        text.push_str("\n  ");
        text.push_str(&error.advice);
    }
    text
}

/// Colours, or none; every meaning that has a colour also has a word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    /// Whether to colour.
    pub(crate) color: bool,
}

impl Style {
    /// A table with these column headings: no lines, so that it greps well. `<` before a heading aligns its
    /// column to the left, `>` to the right.
    pub(crate) fn table(self, headings: &[&str]) -> Table {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        if self.color {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        let names = headings.iter().map(|heading| heading.trim_start_matches(['<', '>']));
        table.set_header(names.map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
        for (column, heading) in table.column_iter_mut().zip(headings) {
            column.set_padding((0, 2));
            if heading.starts_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }
}

/// A word for something to look at. A table without colours writes the word alone.
pub(crate) fn bad(text: impl ToString) -> Cell {
    Cell::new(text).fg(Color::Red)
}

/// A word for something to keep an eye on.
pub(crate) fn warn(text: impl ToString) -> Cell {
    Cell::new(text).fg(Color::Yellow)
}

/// A word for something as it should be.
pub(crate) fn good(text: impl ToString) -> Cell {
    Cell::new(text).fg(Color::Green)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_fact_then_problems_then_advice() {
        let mut error = ApiError::new("invalid_config", "2 problems", "nothing was changed");
        error.problems = vec!["mode: `x` is no mode".to_owned(), "ports: empty".to_owned()];
        assert_eq!(
            error_text(&error, false),
            "error: 2 problems\n  - mode: `x` is no mode\n  - ports: empty\n  nothing was changed"
        );
    }

    #[test]
    fn a_table_has_columns_without_lines_and_colours_only_when_asked() {
        let plain = Style { color: false };
        let mut table = plain.table(&["<NAME", ">COUNT"]);
        table.add_row(vec![bad("a"), Cell::new(5)]).add_row(vec!["long name", "1234"]);
        assert_eq!(table.trim_fmt(), "NAME       COUNT\na              5\nlong name   1234");

        let colored = Style { color: true };
        let mut table = colored.table(&["<NAME"]);
        table.add_row(vec![bad("a")]);
        assert!(table.to_string().contains("\u{1b}["));
    }
}
