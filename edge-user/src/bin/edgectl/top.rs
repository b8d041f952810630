//! `edgectl top`: rates by account and class, drawn live, printed, or as JSON.

mod live;

use std::path::Path;
use std::time::Duration;

use comfy_table::Cell;
use edge_user::api::client::Client;
use edge_user::api::types::{Top, TopRow};

use crate::cli::TopArgs;
use crate::failure::Failure;
use crate::output::{Output, Style, warn};
use crate::text;

/// The daemon takes rates once a second; asking more often would show the same.
const PERIOD: Duration = Duration::from_secs(1);

/// Headings of the columns, in the order of [`words`].
const HEADINGS: [&str; 8] =
    ["<ACCOUNT", "<CLASS", ">OFFERED/s", ">ADMITTED/s", ">REFUSED/s", ">USUAL/s", "<LIMIT", "<USE"];

/// Length of the bar of a limit that is used up.
const BAR_CELLS: usize = 10;

pub(crate) async fn run(args: &TopArgs, socket: &Path, output: Output) -> Result<(), Failure> {
    let client = Client::new(socket)?;
    let count = if args.once { Some(1) } else { args.count };
    if count.is_none() && !output.is_json() {
        if !Output::is_terminal() {
            return Err(Failure::usage(
                "the live table needs a terminal",
                "elsewhere: --once, --count N, or --json for one object a second",
            ));
        }
        return live::run(&client).await;
    }
    print(&client, count, output).await
}

async fn print(client: &Client, count: Option<u32>, output: Output) -> Result<(), Failure> {
    let mut printed = 0;
    loop {
        let top = client.top().await?;
        output.show_next(&top, table)?;
        printed += 1;
        if count.is_some_and(|count| printed >= count) {
            return Ok(());
        }
        tokio::time::sleep(PERIOD).await;
    }
}

fn table(top: &Top, style: Style) -> String {
    let mut table = style.table(&HEADINGS);
    for row in busiest_first(&top.rows) {
        let refused = row.refused_per_sec > 0.0;
        let cells = words(row).map(|word| if refused { warn(word) } else { Cell::new(word) });
        table.add_row(cells);
    }
    format!("{}\n{}\n", text::time(top.at), table.trim_fmt())
}

fn busiest_first(rows: &[TopRow]) -> Vec<&TopRow> {
    let mut rows: Vec<_> = rows.iter().collect();
    rows.sort_by(|a, b| {
        let busier = b.offered_per_sec.total_cmp(&a.offered_per_sec);
        busier.then_with(|| (&a.account, &a.class).cmp(&(&b.account, &b.class)))
    });
    rows
}

fn words(row: &TopRow) -> [String; 8] {
    [
        row.account.clone(),
        row.class.clone(),
        text::per_sec(Some(row.offered_per_sec)),
        text::per_sec(Some(row.admitted_per_sec)),
        text::per_sec(Some(row.refused_per_sec)),
        text::per_sec(row.baseline_per_sec),
        row.limit.clone(),
        row.utilization.map_or_else(|| "-".to_owned(), bar),
    ]
}

/// `######....  60 %`: readable without colour, and in any character set.
fn bar(utilization: f64) -> String {
    let full = (0..BAR_CELLS).filter(|cell| filled(*cell, utilization)).count();
    let percent = utilization * 100.0;
    format!("{}{} {percent:>4.0} %", "#".repeat(full), ".".repeat(BAR_CELLS - full))
}

#[expect(clippy::cast_precision_loss, reason = "cells are ten")]
fn filled(cell: usize, utilization: f64) -> bool {
    (cell as f64 + 0.5) / BAR_CELLS as f64 <= utilization
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn top() -> Result<Top, jiff::Error> {
        let row = |account: &str, offered_per_sec: f64, refused_per_sec: f64| TopRow {
            account: account.to_owned(),
            class: "sip.invite".to_owned(),
            offered_per_sec,
            admitted_per_sec: offered_per_sec - refused_per_sec,
            refused_per_sec,
            limit: "20/s burst 40".to_owned(),
            utilization: Some((offered_per_sec - refused_per_sec) / 20.0),
            baseline_per_sec: None,
        };
        let unlimited = TopRow {
            limit: "unlimited".to_owned(),
            utilization: None,
            baseline_per_sec: Some(3.0),
            ..row("free", 7.0, 0.0)
        };
        let rows = vec![row("calm", 12.0, 0.0), unlimited, row("acme", 25.5, 5.5)];
        Ok(Top { at: "2026-03-01T12:00:00Z".parse()?, rows })
    }

    #[test]
    fn the_busiest_account_comes_first() -> Result<(), jiff::Error> {
        assert_eq!(
            table(&top()?, Style { color: false }),
            "\
2026-03-01T12:00:00Z
ACCOUNT  CLASS       OFFERED/s  ADMITTED/s  REFUSED/s  USUAL/s  LIMIT          USE
acme     sip.invite       25.5        20.0        5.5        -  20/s burst 40  ##########  100 %
calm     sip.invite       12.0        12.0        0.0        -  20/s burst 40  ######....   60 %
free     sip.invite        7.0         7.0        0.0      3.0  unlimited      -
"
        );
        Ok(())
    }

    #[test]
    fn a_bar_never_leaves_its_ten_cells() {
        assert_eq!(bar(0.0), "..........    0 %");
        assert_eq!(bar(0.049), "..........    5 %");
        assert_eq!(bar(0.05), "#.........    5 %");
        assert_eq!(bar(12.5), "########## 1250 %");
        assert_eq!(bar(f64::NAN), "..........  NaN %");
    }
}
