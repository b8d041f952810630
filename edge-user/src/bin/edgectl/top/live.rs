//! The live table: asks once a second, draws, and listens for `q`.

use std::io;

use edge_user::api::client::{Client, ClientError};
use edge_user::api::types::Top;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Alignment, Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Row, Table};
use ratatui::{DefaultTerminal, Frame};

use super::{HEADINGS, PERIOD, busiest_first, words};
use crate::failure::Failure;
use crate::text;

pub(super) async fn run(client: &Client) -> Result<(), Failure> {
    // Asked before the screen is taken, so that an absent daemon is told as everywhere else.
    let first = client.top().await?;
    let mut terminal = ratatui::try_init()?;
    let result = watch(&mut terminal, client, first).await;
    let restored = ratatui::try_restore();
    result?;
    Ok(restored?)
}

async fn watch(terminal: &mut DefaultTerminal, client: &Client, first: Top) -> io::Result<()> {
    let mut shown = first;
    let mut trouble: Option<ClientError> = None;
    loop {
        let message = trouble.as_ref().map(ToString::to_string);
        terminal.draw(|frame| draw(frame, &shown, message.as_deref()))?;
        // Nothing else runs on this thread: it may sleep in the terminal's poll.
        if event::poll(PERIOD)? {
            match event::read()? {
                Event::Key(key) if quits(key) => return Ok(()),
                // Keys without meaning and changes of size: draw what is known, ask at the next turn.
                _ => continue,
            }
        }
        match client.top().await {
            Ok(top) => (shown, trouble) = (top, None),
            Err(error) => trouble = Some(error),
        }
    }
}

fn quits(key: KeyEvent) -> bool {
    let interrupted = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press && (interrupted || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc))
}

fn draw(frame: &mut Frame, top: &Top, trouble: Option<&str>) {
    let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(frame.area());
    let line = match trouble {
        None => Line::raw(format!("edge  {}  {} rows  q quits", text::time(top.at), top.rows.len())),
        Some(trouble) => {
            let old = text::time(top.at);
            Line::styled(format!("STALE since {old}: {trouble}  q quits"), Style::new().fg(Color::Red))
        }
    };
    frame.render_widget(line, head);
    frame.render_widget(table(top), body);
}

fn table(top: &Top) -> Table<'static> {
    let rows: Vec<[String; 8]> = busiest_first(&top.rows).into_iter().map(words).collect();
    let refused = busiest_first(&top.rows).into_iter().map(|row| row.refused_per_sec > 0.0);
    let widths = (0..HEADINGS.len()).map(|column| Constraint::Length(width(column, &rows)));

    let heading = Row::new((0..HEADINGS.len()).map(|column| cell(column, name(column).to_owned())))
        .style(Style::new().add_modifier(Modifier::BOLD));
    let lines: Vec<Row> = rows
        .iter()
        .zip(refused)
        .map(|(words, refused)| {
            let style = if refused { Style::new().fg(Color::Yellow) } else { Style::new() };
            Row::new(words.iter().enumerate().map(|(column, word)| cell(column, word.clone()))).style(style)
        })
        .collect();
    Table::new(lines, widths).header(heading).column_spacing(2)
}

fn name(column: usize) -> &'static str {
    HEADINGS[column].trim_start_matches(['<', '>'])
}

fn cell(column: usize, text: String) -> Cell<'static> {
    let side = if HEADINGS[column].starts_with('>') { Alignment::Right } else { Alignment::Left };
    Cell::new(Text::raw(text).alignment(side))
}

fn width(column: usize, rows: &[[String; 8]]) -> u16 {
    let longest = rows.iter().map(|words| words[column].chars().count()).chain([name(column).len()]).max();
    longest.and_then(|longest| u16::try_from(longest).ok()).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::buffer::Cell as BufferCell;

    use super::super::tests::top;
    use super::*;

    fn screen(top: &Top, trouble: Option<&str>) -> Result<Vec<String>, io::Error> {
        let mut terminal = Terminal::new(TestBackend::new(100, 5))?;
        terminal.draw(|frame| draw(frame, top, trouble))?;
        let buffer = terminal.backend().buffer();
        let lines = buffer.content().chunks(100);
        Ok(lines
            .map(|line| line.iter().map(BufferCell::symbol).collect::<String>().trim_end().to_owned())
            .collect())
    }

    #[test]
    fn the_screen_shows_the_busiest_first_under_a_heading() -> Result<(), Box<dyn std::error::Error>> {
        assert_eq!(
            screen(&top()?, None)?,
            [
                "edge  2026-03-01T12:00:00Z  3 rows  q quits",
                "ACCOUNT  CLASS       OFFERED/s  ADMITTED/s  REFUSED/s  USUAL/s  LIMIT          USE",
                "acme     sip.invite       25.5        20.0        5.5        -  20/s burst 40  ##########  100 %",
                "calm     sip.invite       12.0        12.0        0.0        -  20/s burst 40  ######....   60 %",
                "free     sip.invite        7.0         7.0        0.0      3.0  unlimited      -",
            ]
        );
        Ok(())
    }

    #[test]
    fn a_daemon_that_went_away_is_said_above_the_last_rates() -> Result<(), Box<dyn std::error::Error>> {
        let lines = screen(&top()?, Some("edged has ended"))?;
        assert_eq!(lines[0], "STALE since 2026-03-01T12:00:00Z: edged has ended  q quits");
        assert!(lines[2].starts_with("acme"));
        Ok(())
    }

    #[test]
    fn q_escape_and_control_c_quit_and_nothing_else_does() {
        let press = |code, modifiers| quits(KeyEvent::new(code, modifiers));
        assert!(press(KeyCode::Char('q'), KeyModifiers::NONE));
        assert!(press(KeyCode::Esc, KeyModifiers::NONE));
        assert!(press(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(!press(KeyCode::Char('c'), KeyModifiers::NONE));
    }
}
