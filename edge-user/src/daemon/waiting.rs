//! Records on their way from the kernel's ring buffers to the database, in batches and within bounds.

use std::sync::Arc;

use zerocopy::FromBytes;

use super::state::{Daemon, State};
use crate::config::Numbers;
use crate::dataplane::RingStream;
use crate::store::{Store, StoreError};

/// Records of a kind that wait for a database that does not answer; beyond, the newest are lost and counted.
const MOST: usize = 100_000;
/// Digits that are masked.
const MASKED_DIGITS: usize = 4;

/// Rows that are not written down yet.
#[derive(Debug)]
pub(super) struct Waiting<R> {
    rows: Vec<R>,
    /// Rows that were lost because too many waited.
    pub(super) dropped: u64,
}

impl<R> Default for Waiting<R> {
    fn default() -> Self {
        Self { rows: Vec::new(), dropped: 0 }
    }
}

impl<R> Waiting<R> {
    pub(super) fn push(&mut self, row: R) {
        if self.rows.len() < MOST {
            self.rows.push(row);
        } else {
            self.dropped += 1;
        }
    }

    /// What could not be written goes before what has come since.
    fn put_back(&mut self, mut rows: Vec<R>) {
        rows.append(&mut self.rows);
        let lost = rows.len().saturating_sub(MOST);
        rows.truncate(MOST);
        self.dropped += lost as u64;
        self.rows = rows;
    }
}

/// Takes records from a ring buffer until shutdown.
pub(super) async fn take<T: FromBytes>(
    daemon: Arc<Daemon>,
    mut records: RingStream<T>,
    what: &'static str,
    each_batch: fn(&Daemon, &[T]),
) {
    loop {
        let batch = tokio::select! {
            () = daemon.shutdown.cancelled() => return,
            batch = records.next_batch() => batch,
        };
        match batch {
            Ok(batch) => each_batch(&daemon, &batch),
            Err(error) => return tracing::error!(%error, "{what} cannot be read any more"),
        }
    }
}

impl Daemon {
    /// Writes down what waits.
    pub(super) async fn keep_records(&self) {
        self.keep(|state| &mut state.records.waiting, Store::add_calls).await;
        self.keep(|state| &mut state.messages.waiting, Store::add_messages).await;
    }

    async fn keep<R: Clone + Send + Sync + 'static>(
        &self,
        waiting: fn(&mut State) -> &mut Waiting<R>,
        write: fn(&mut Store, &[R]) -> Result<(), StoreError>,
    ) {
        let rows = std::mem::take(&mut waiting(&mut self.state()).rows);
        if rows.is_empty() {
            return;
        }
        let rows = Arc::new(rows);
        let written = Arc::clone(&rows);
        let result = self.store.run(move |store| write(store, &written)).await;
        if result.is_err() {
            waiting(&mut self.state()).put_back(Arc::unwrap_or_clone(rows));
        }
        self.note_store(result.err().map(|error| error.to_string()));
    }
}

/// As much of a number as may be kept; the prefix is what fraud is seen by.
pub(super) fn kept(number: &str, numbers: Numbers) -> String {
    match numbers {
        Numbers::Full => number.to_owned(),
        Numbers::None => String::new(),
        Numbers::Masked => {
            let kept = number.chars().count().saturating_sub(MASKED_DIGITS);
            number.chars().enumerate().map(|(index, it)| if index < kept { it } else { 'x' }).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_wait_for_the_database_up_to_a_bound_and_the_newest_are_lost() {
        let mut waiting = Waiting { rows: vec![2], ..Waiting::default() };
        waiting.put_back(vec![1; MOST - 1]);
        assert_eq!((waiting.rows.len(), waiting.rows.last(), waiting.dropped), (MOST, Some(&2), 0));
        waiting.push(3);
        assert_eq!((waiting.rows.len(), waiting.dropped), (MOST, 1));
        let rows = std::mem::take(&mut waiting.rows);
        waiting.push(4);
        waiting.put_back(rows);
        assert_eq!((waiting.rows.len(), waiting.rows.last(), waiting.dropped), (MOST, Some(&2), 2));
    }

    #[test]
    fn of_a_number_is_kept_what_may_be_and_masking_twice_is_masking_once() {
        let all = |number| [Numbers::Full, Numbers::Masked, Numbers::None].map(|it| kept(number, it));
        assert_eq!(all("441632960123"), ["441632960123", "44163296xxxx", ""]);
        assert_eq!(all("112"), ["112", "xxx", ""]);
        assert_eq!(kept("44163296xxxx", Numbers::Masked), "44163296xxxx");
    }
}
