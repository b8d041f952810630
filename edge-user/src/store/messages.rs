//! Messages that were answered, for a bounded time and in a bounded number.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Row, params};

use super::{RecordQuery, Store, StoreError, from_i64, from_us, to_i64, to_us, unknown_word};
use crate::api::types::MessageRow;
use crate::figures::{MessageFigures, MessageOutcome, status_name};

/// In the order of [`message`].
const COLUMNS: &str = "seq, account, system_id, source, command, sequence, from_address, from_ton, to_address, \
     to_ton, destinations, part, parts, data_coding, submitted_at_us, latency_us, outcome, status";

impl Store {
    /// Adds records, in one transaction; their `seq` is given here.
    pub fn add_messages(&mut self, rows: &[MessageRow]) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO messages (account, system_id, source, command, sequence, from_address, from_ton,
                     to_address, to_ton, destinations, part, parts, data_coding, submitted_at_us, latency_us,
                     outcome, status)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
            )?;
            for row in rows {
                insert.execute(params![
                    row.account,
                    row.system_id,
                    row.source,
                    row.command,
                    row.sequence,
                    row.from,
                    row.from_ton,
                    row.to,
                    row.to_ton,
                    row.destinations,
                    row.part,
                    row.parts,
                    row.data_coding,
                    to_us(row.submitted_at),
                    i64::try_from(row.latency.as_micros()).unwrap_or(i64::MAX),
                    row.outcome,
                    row.status,
                ])?;
            }
            Ok(())
        })
    }

    /// Records in the order in which they were written.
    pub fn messages(&self, query: &RecordQuery) -> Result<Vec<MessageRow>, StoreError> {
        let since = query.since.map_or(i64::MIN, to_us);
        self.read(|connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM messages
                     WHERE seq > ?1 AND submitted_at_us >= ?2 AND (?3 IS NULL OR account = ?3)
                     ORDER BY seq LIMIT ?4",
                ))?
                .query_map(params![to_i64(query.after), since, query.account, to_i64(query.limit)], message)?
                .collect()
        })
    }

    /// The newest records, newest first.
    pub fn newest_messages(&self, account: Option<&str>, limit: u64) -> Result<Vec<MessageRow>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM messages WHERE ?1 IS NULL OR account = ?1 ORDER BY seq DESC LIMIT ?2",
                ))?
                .query_map(params![account, to_i64(limit)], message)?
                .collect()
        })
    }

    /// What the records of each account add up to.
    pub fn message_figures(
        &self,
        account: Option<&str>,
        since: Option<Timestamp>,
    ) -> Result<BTreeMap<String, MessageFigures>, StoreError> {
        let since = since.map_or(i64::MIN, to_us);
        let mut figures: BTreeMap<String, MessageFigures> = BTreeMap::new();
        self.read(|connection| {
            // Percentiles need each time: read one by one, kept as counts. SQLite groups and ranks by sorting, which costs
            // more than to read: of a million rows, grouping takes 4 times and a window function 10 times as long.
            let mut statement = connection.prepare_cached(
                "SELECT account, outcome, status, latency_us FROM messages
                 WHERE submitted_at_us >= ?1 AND (?2 IS NULL OR account = ?2)",
            )?;
            let mut rows = statement.query(params![since, account])?;
            while let Some(row) = rows.next()? {
                let (account, word) = (row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
                let outcome = MessageOutcome::from_name(word).ok_or_else(|| unknown_word(word))?;
                let (status, latency) = (row.get(2)?, Duration::from_micros(from_i64(row.get(3)?)));
                if let Some(sum) = figures.get_mut(account) {
                    sum.add(outcome, status, latency);
                } else {
                    figures.entry(account.to_owned()).or_default().add(outcome, status, latency);
                }
            }
            Ok(())
        })?;
        Ok(figures)
    }
}

fn message(row: &Row<'_>) -> rusqlite::Result<MessageRow> {
    let status = row.get(17)?;
    Ok(MessageRow {
        seq: from_i64(row.get(0)?),
        account: row.get(1)?,
        system_id: row.get(2)?,
        source: row.get(3)?,
        command: row.get(4)?,
        sequence: row.get(5)?,
        from: row.get(6)?,
        from_ton: row.get(7)?,
        to: row.get(8)?,
        to_ton: row.get(9)?,
        destinations: row.get(10)?,
        part: row.get(11)?,
        parts: row.get(12)?,
        data_coding: row.get(13)?,
        submitted_at: from_us(row.get(14)?)?,
        latency: Duration::from_micros(from_i64(row.get(15)?)),
        outcome: row.get(16)?,
        status,
        status_name: status_name(status).map(ToOwned::to_owned),
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_768_435_200 + second).unwrap()
    }

    fn row(account: &str, second: i64, latency_us: u64, status: u32, is_refused: bool) -> MessageRow {
        MessageRow {
            seq: 0,
            account: account.to_owned(),
            system_id: "acmebulk".to_owned(),
            source: "203.0.113.7:40000".to_owned(),
            command: "submit_sm".to_owned(),
            sequence: u32::MAX,
            from: "ACME, Ltd".to_owned(),
            from_ton: Some(5),
            to: "4479009xxxx".to_owned(),
            to_ton: None,
            destinations: 1,
            part: 2,
            parts: 3,
            data_coding: Some(8),
            submitted_at: at(second),
            latency: Duration::from_micros(latency_us),
            outcome: MessageOutcome::of(status, is_refused).name().to_owned(),
            status,
            status_name: status_name(status).map(ToOwned::to_owned),
        }
    }

    fn query(account: Option<&str>, since: Option<i64>, after: u64, limit: u64) -> RecordQuery {
        RecordQuery { account: account.map(ToOwned::to_owned), since: since.map(at), after, limit }
    }

    fn store() -> Store {
        let mut store = Store::in_memory().unwrap();
        let rows = [
            row("acme", 0, 12_345, 0, false),
            row("other", 1, 20_000, 0x58, false),
            row("acme", 2, 99_000, 0x58, true),
            row("acme", 3, 40_000, 0x45, false),
        ];
        store.add_messages(&rows).unwrap();
        store
    }

    #[test]
    fn records_come_back_as_they_went_in_page_by_page() {
        let store = store();
        let seqs = |query: &RecordQuery| -> Vec<u64> {
            store.messages(query).unwrap().iter().map(|row| row.seq).collect()
        };
        let first = store.messages(&query(None, None, 0, 1)).unwrap();
        assert_eq!(first, [MessageRow { seq: 1, ..row("acme", 0, 12_345, 0, false) }]);
        assert_eq!(seqs(&query(None, None, 1, 2)), [2, 3]);
        assert_eq!(seqs(&query(Some("acme"), None, 1, 10)), [3, 4]);
        assert_eq!(seqs(&query(None, Some(2), 0, 10)), [3, 4]);
        let newest = |account, limit| -> Vec<u64> {
            store.newest_messages(account, limit).unwrap().iter().map(|row| row.seq).collect()
        };
        assert_eq!(newest(None, 3), [4, 3, 2]);
        assert_eq!(newest(Some("acme"), 2), [4, 3]);
    }

    #[test]
    fn figures_of_the_records_are_those_of_the_messages() {
        let figures = store().message_figures(None, None).unwrap();
        let acme = figures["acme"].stats("acme");
        assert_eq!((acme.records, acme.accepted, acme.refused), (3, 1, 1));
        assert_eq!(acme.rejected, BTreeMap::from([("ESME_RSUBMITFAIL".to_owned(), 1)]));
        assert_eq!((acme.max_ms, figures["other"].times.count), (Some(40.0), 1));
        let of = |account, since: Option<i64>| store().message_figures(account, since.map(at)).unwrap();
        assert_eq!(of(Some("other"), None).into_keys().collect::<Vec<_>>(), ["other"]);
        assert_eq!(of(None, Some(3))["acme"].stats("acme").records, 1);
    }

    /// The rank that `percent` of the times do not go beyond, of sorted ones, but for the grain.
    fn assert_percentile(found: Option<Duration>, sorted: &[u64], percent: usize) {
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        let exact = sorted.get(rank - 1).map(|us| u128::from(*us));
        let found = found.map(|time| time.as_micros());
        assert_eq!(found.is_some(), exact.is_some());
        let (found, exact) = (found.unwrap_or_default(), exact.unwrap_or_default());
        assert!(found >= exact && found <= exact + exact / 64, "p{percent}: {found} for {exact}");
    }

    proptest! {
        /// Counts and percentiles of any rows are those of the rows themselves, filtered and sorted here.
        #[test]
        fn figures_of_any_rows_are_those_of_the_rows_chosen_and_sorted(
            rows in prop::collection::vec(
                (prop::sample::select(vec!["acme", "other"]), 0_i64..9, 0_u64..40_000_000, 0_u32..3, any::<bool>())
                    .prop_map(|(account, second, us, status, is_refused)| row(account, second, us, status, is_refused)),
                0..200,
            ),
            only_acme in any::<bool>(),
            since in prop::option::of(0_i64..10),
        ) {
            let mut store = Store::in_memory().unwrap();
            store.add_messages(&rows).unwrap();
            let account = only_acme.then_some("acme");
            let figures = store.message_figures(account, since.map(at)).unwrap();
            for name in ["acme", "other"] {
                let of_name = rows.iter().filter(|row| row.account == name && account.is_none_or(|it| it == name));
                let chosen: Vec<_> =
                    of_name.filter(|row| since.is_none_or(|since| row.submitted_at >= at(since))).collect();
                let found = figures.get(name).cloned().unwrap_or_default();
                let count = |outcome: MessageOutcome, status: u32| {
                    let is_meant = |row: &&&MessageRow| row.outcome == outcome.name() && row.status == status;
                    u64::try_from(chosen.iter().filter(is_meant).count()).unwrap()
                };
                prop_assert_eq!(figures.contains_key(name), !chosen.is_empty());
                prop_assert_eq!(found.accepted, count(MessageOutcome::Accepted, 0));
                prop_assert_eq!(found.refused, (0..3).map(|it| count(MessageOutcome::Refused, it)).sum::<u64>());
                for status in 1..3 {
                    let rejected = found.rejected.get(&status).copied().unwrap_or_default();
                    prop_assert_eq!(rejected, count(MessageOutcome::Rejected, status));
                }
                let answered = chosen.iter().filter(|row| row.outcome != MessageOutcome::Refused.name());
                let times = answered.map(|row| u64::try_from(row.latency.as_micros()).unwrap());
                let mut sorted: Vec<u64> = times.collect();
                sorted.sort_unstable();
                prop_assert_eq!(found.times.max, Duration::from_micros(sorted.last().copied().unwrap_or_default()));
                for percent in [50, 90, 99] {
                    let of_it = u64::try_from(percent).unwrap();
                    assert_percentile(found.times.percentile(of_it), &sorted, percent);
                }
            }
        }
    }

    #[test]
    fn records_go_by_age_and_the_oldest_by_number() {
        let mut store = store();
        let left = |store: &Store| -> Vec<u64> {
            store.messages(&query(None, None, 0, 10)).unwrap().iter().map(|row| row.seq).collect()
        };
        store.prune_records(at(1), 10).unwrap();
        assert_eq!(left(&store), [2, 3, 4]);
        store.prune_records(at(1), 2).unwrap();
        assert_eq!(left(&store), [3, 4]);
    }

    #[test]
    fn records_go_a_batch_at_a_time_the_oldest_first() {
        let mut store = Store::in_memory().unwrap();
        let batch = u64::try_from(crate::store::BATCH).unwrap();
        store.add_messages(&vec![row("acme", 0, 1, 0, false); crate::store::BATCH * 2 + 8]).unwrap();
        let oldest = |store: &Store| store.messages(&query(None, None, 0, 1)).unwrap()[0].seq;
        for (more, left_from) in [(true, batch + 1), (true, 2 * batch + 1), (false, 2 * batch + 4)] {
            assert_eq!((store.prune_records(at(0), 5).unwrap(), oldest(&store)), (more, left_from));
        }
    }
}
