//! Calls that are over, for a bounded time and in a bounded number.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Row, params};

use super::{RecordQuery, Store, StoreError, from_i64, from_us, to_i64, to_us};
use crate::api::types::CallRow;
use crate::figures::{CallFigures, SHORT};

impl Store {
    /// Adds records, in one transaction; their `seq` is given here.
    pub fn add_calls(&mut self, rows: &[CallRow]) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO calls (account, source, from_number, to_number, setup_at_us, ring_at_us,
                     answer_at_us, end_at_us, status, cause, ended_by, trunk)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?;
            for row in rows {
                insert.execute(params![
                    row.account,
                    row.source,
                    row.from,
                    row.to,
                    to_us(row.setup_at),
                    row.ring_at.map(to_us),
                    row.answer_at.map(to_us),
                    to_us(row.end_at),
                    row.status,
                    row.cause,
                    row.ended_by,
                    row.trunk,
                ])?;
            }
            Ok(())
        })
    }

    /// Records in the order in which they were written.
    pub fn calls(&self, query: &RecordQuery) -> Result<Vec<CallRow>, StoreError> {
        let since = query.since.map_or(i64::MIN, to_us);
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT seq, account, source, from_number, to_number, setup_at_us, ring_at_us, answer_at_us,
                         end_at_us, status, cause, ended_by, trunk FROM calls
                     WHERE seq > ?1 AND end_at_us >= ?2 AND (?3 IS NULL OR account = ?3)
                     ORDER BY seq LIMIT ?4",
                )?
                .query_map(params![to_i64(query.after), since, query.account, to_i64(query.limit)], call)?
                .collect()
        })
    }

    /// What the records of each account add up to.
    pub fn call_figures(
        &self,
        account: Option<&str>,
        since: Option<Timestamp>,
    ) -> Result<BTreeMap<String, CallFigures>, StoreError> {
        let since = since.map_or(i64::MIN, to_us);
        let mut figures: BTreeMap<String, CallFigures> = BTreeMap::new();
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT account, cause, count(*), count(answer_at_us),
                     coalesce(sum(end_at_us - answer_at_us), 0),
                     coalesce(sum(end_at_us - answer_at_us < ?3), 0),
                     count(coalesce(ring_at_us, answer_at_us)),
                     coalesce(sum(coalesce(ring_at_us, answer_at_us) - setup_at_us), 0)
                 FROM calls WHERE end_at_us >= ?1 AND (?2 IS NULL OR account = ?2) GROUP BY account, cause",
            )?;
            let short_us = to_i64(u64::try_from(SHORT.as_micros()).unwrap_or(u64::MAX));
            let mut rows = statement.query(params![since, account, short_us])?;
            while let Some(row) = rows.next()? {
                let count = |index| Ok::<_, rusqlite::Error>(from_i64(row.get(index)?));
                let sum = figures.entry(row.get(0)?).or_default();
                *sum.by_cause.entry(row.get(1)?).or_default() += count(2)?;
                sum.answered += count(3)?;
                sum.talk += Duration::from_micros(count(4)?);
                sum.short += count(5)?;
                sum.rung += count(6)?;
                sum.dial_delay += Duration::from_micros(count(7)?);
            }
            Ok(())
        })?;
        Ok(figures)
    }
}

fn call(row: &Row<'_>) -> rusqlite::Result<CallRow> {
    let time = |at: Option<i64>| at.map(from_us).transpose();
    Ok(CallRow {
        seq: from_i64(row.get(0)?),
        account: row.get(1)?,
        source: row.get(2)?,
        from: row.get(3)?,
        to: row.get(4)?,
        setup_at: from_us(row.get(5)?)?,
        ring_at: time(row.get(6)?)?,
        answer_at: time(row.get(7)?)?,
        end_at: from_us(row.get(8)?)?,
        status: row.get(9)?,
        cause: row.get(10)?,
        ended_by: row.get(11)?,
        trunk: row.get(12)?,
    })
}
