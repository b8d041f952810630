//! Messages per minute, account and class, for a bounded time.

use edge_ebpf::abi::Allowance;
use jiff::Timestamp;
use rusqlite::{Row, params};

use super::{BATCH, Store, StoreError, from_i64, from_us, to_i64, to_us};

/// Messages of one account and class within one minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRow {
    /// Start of the minute.
    pub at: Timestamp,
    /// Account.
    pub account: String,
    /// Name of the class.
    pub class: String,
    /// Messages by [`Allowance`].
    pub messages: [u64; Allowance::COUNT],
}

/// Which part of the history to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Account.
    pub account: String,
    /// From this moment on.
    pub from: Timestamp,
    /// Up to, but without, this moment.
    pub to: Timestamp,
    /// At most so many rows.
    pub limit: u64,
}

impl Store {
    /// Writes the rows of a minute; a row of the same minute, account and class is replaced. Leave out rows
    /// without any message.
    pub fn add_history(&mut self, rows: &[HistoryRow]) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut insert = transaction.prepare_cached(
                "INSERT OR REPLACE INTO history
                 (at_us, account, class, admitted, refused, observed, exempt, repeated)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?;
            for row in rows {
                let [admitted, refused, observed, exempt, repeated] = row.messages.map(to_i64);
                insert.execute(params![
                    to_us(row.at),
                    row.account,
                    row.class,
                    admitted,
                    refused,
                    observed,
                    exempt,
                    repeated
                ])?;
            }
            Ok(())
        })
    }

    /// Rows of one account, oldest first.
    pub fn history(&self, query: &HistoryQuery) -> Result<Vec<HistoryRow>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT at_us, account, class, admitted, refused, observed, exempt, repeated FROM history
                     WHERE at_us >= ?1 AND at_us < ?2 AND account = ?3 ORDER BY at_us, class LIMIT ?4",
                )?
                .query_map(
                    params![to_us(query.from), to_us(query.to), query.account, to_i64(query.limit)],
                    history_row,
                )?
                .collect()
        })
    }

    /// Forgets a batch of what is older than a moment; whether there may be more.
    pub fn prune_history(&mut self, before: Timestamp) -> Result<bool, StoreError> {
        self.write(|transaction| {
            let delete = format!(
                "DELETE FROM history WHERE (at_us, account, class) IN
                 (SELECT at_us, account, class FROM history WHERE at_us < ?1 LIMIT {BATCH})"
            );
            Ok(transaction.prepare_cached(&delete)?.execute([to_us(before)])? == BATCH)
        })
    }
}

fn history_row(row: &Row<'_>) -> rusqlite::Result<HistoryRow> {
    let mut messages = [0; Allowance::COUNT];
    for (column, count) in (3..).zip(&mut messages) {
        *count = from_i64(row.get(column)?);
    }
    Ok(HistoryRow { at: from_us(row.get(0)?)?, account: row.get(1)?, class: row.get(2)?, messages })
}
