//! Records of messages: what the kernel tells of them as rows, for the database and for whoever asks.

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use edge_ebpf::abi::{DATA_CODING_UNKNOWN, MessageAddress, MessageRecord};
use edge_ebpf::wire::smpp::id as command;

use super::binds::system_id;
use super::change::store_error;
use super::clock;
use super::state::Daemon;
use super::waiting::{Waiting, kept};
use crate::api::types::{ApiError, MessageQuery, MessageRow, MessageStats, StatsQuery};
use crate::config::{Numbers, UNKNOWN_ACCOUNT};
use crate::dataplane::Clocks;
use crate::figures::{MessageFigures, MessageOutcome, status_name};
use crate::store::Store;

/// Records of a list when the caller does not say how many, and at most.
const DEFAULT_LIMIT: u32 = 100;
const MOST: u32 = 10_000;
/// Type of number of a sender ID in letters (SMPP 3.4, 5.2.5).
const ALPHANUMERIC: u32 = 5;

/// Records on their way, and what they add up to.
#[derive(Debug, Default)]
pub(super) struct Messages {
    pub(super) waiting: Waiting<MessageRow>,
    /// By account, since the daemon's start.
    pub(super) figures: BTreeMap<String, MessageFigures>,
}

impl Messages {
    fn add(&mut self, row: MessageRow, record: &MessageRecord) {
        let figures = self.figures.entry(row.account.clone()).or_default();
        figures.add(outcome(record), record.status, row.latency);
        self.waiting.push(row);
    }
}

impl Daemon {
    pub(super) fn take_messages(&self, batch: &[MessageRecord]) {
        let clocks = clock::clocks();
        let mut state = self.state();
        let numbers = state.config.records.numbers;
        let names = state.names();
        for record in batch {
            let account = names.get(&record.note.account).map_or(UNKNOWN_ACCOUNT, String::as_str);
            state.messages.add(row(record, account, numbers, &clocks), record);
        }
    }

    /// `GET /v1/messages`, newest first.
    pub(super) async fn newest_messages(&self, query: &MessageQuery) -> Result<Vec<MessageRow>, ApiError> {
        let account = query.account.clone();
        self.check_recorded(account.as_deref(), Store::has_messages_of).await?;
        let limit = u64::from(query.limit.unwrap_or(DEFAULT_LIMIT).min(MOST));
        let read = self.store.read(move |store| store.newest_messages(account.as_deref(), limit)).await;
        let rows = read.map_err(|error| store_error(&error.to_string()))?;
        let is_full = query.full.unwrap_or(false);
        Ok(if is_full { rows } else { rows.into_iter().map(shortened).collect() })
    }

    /// `GET /v1/messages/stats`.
    pub(super) async fn message_stats(&self, query: &StatsQuery) -> Result<Vec<MessageStats>, ApiError> {
        let (account, since) = (query.account.clone(), query.since);
        self.check_recorded(account.as_deref(), Store::has_messages_of).await?;
        let read = self.store.read(move |store| store.message_figures(account.as_deref(), since)).await;
        let figures = read.map_err(|error| store_error(&error.to_string()))?;
        Ok(figures.iter().map(|(account, figures)| figures.stats(account)).collect())
    }
}

fn row(record: &MessageRecord, account: &str, numbers: Numbers, clocks: &Clocks) -> MessageRow {
    let (note, key) = (&record.note, &record.key);
    let source = Ipv6Addr::from(key.client.source).to_canonical();
    MessageRow {
        seq: 0,
        account: account.to_owned(),
        system_id: system_id(&record.system_id),
        source: SocketAddr::new(source, u16::from_be_bytes(key.client.source_port)).to_string(),
        command: match note.command {
            command::SUBMIT_SM => "submit_sm",
            command::SUBMIT_MULTI => "submit_multi",
            command::DATA_SM => "data_sm",
            _ => "unknown",
        }
        .to_owned(),
        sequence: u32::from_be_bytes(key.sequence),
        from: shown(&note.from, numbers),
        from_ton: ton(&note.from),
        to: shown(&note.to, numbers),
        to_ton: ton(&note.to),
        destinations: note.destinations,
        part: note.part,
        parts: note.parts,
        data_coding: (note.data_coding != DATA_CODING_UNKNOWN).then_some(note.data_coding),
        submitted_at: clocks.wall_at(note.submitted_ns),
        latency: Duration::from_micros(record.answered_ns.saturating_sub(note.submitted_ns) / 1_000),
        outcome: outcome(record).name().to_owned(),
        status: record.status,
        status_name: status_name(record.status).map(ToOwned::to_owned),
    }
}

const fn outcome(record: &MessageRecord) -> MessageOutcome {
    MessageOutcome::of(record.status, record.refused != 0)
}

/// As much of an address as may be kept.
fn shown(address: &MessageAddress, numbers: Numbers) -> String {
    let octets = address.text.iter().take_while(|octet| **octet != 0);
    // What a terminal or a table could take for something else is no part of a sender ID.
    let text: String =
        octets.filter(|it| it.is_ascii_graphic() || **it == b' ').map(|it| char::from(*it)).collect();
    match numbers {
        Numbers::None => String::new(),
        _ if is_sender_id(&text, Some(address.ton)) => text,
        _ => kept(digits(&text).unwrap_or(&text), numbers),
    }
}

/// As it is listed unless all of it is asked for.
fn shortened(row: MessageRow) -> MessageRow {
    let short = |text: &str, ton| {
        if is_sender_id(text, ton) { text.to_owned() } else { kept(text, Numbers::Masked) }
    };
    MessageRow { from: short(&row.from, row.from_ton), to: short(&row.to, row.to_ton), ..row }
}

/// Whether it names a sender and numbers nobody: what is called alphanumeric and has no letter is a number still.
fn is_sender_id(text: &str, ton: Option<u32>) -> bool {
    ton == Some(ALPHANUMERIC) && text.contains(|it: char| it.is_ascii_alphabetic())
}

/// The digits of what is a number.
fn digits(text: &str) -> Option<&str> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    digits.bytes().all(|octet| octet.is_ascii_digit()).then_some(digits)
}

/// What an address is of, where it was seen.
fn ton(address: &MessageAddress) -> Option<u32> {
    (address.text[0] != 0).then_some(address.ton)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use jiff::Timestamp;
    use zerocopy::FromZeros as _;

    use super::*;

    const MS_NS: u64 = 1_000_000;

    fn address(text: &str, ton: u32) -> MessageAddress {
        let mut address = MessageAddress { ton, ..MessageAddress::new_zeroed() };
        address.text[..text.len()].copy_from_slice(text.as_bytes());
        address
    }

    fn record() -> MessageRecord {
        let mut record = MessageRecord::new_zeroed();
        record.note.submitted_ns = 100_000 * MS_NS;
        record.note.command = command::SUBMIT_SM;
        record.note.from = address("ACME, Ltd", ALPHANUMERIC);
        record.note.to = address("+447900900123", 1);
        record.note.destinations = 1;
        record.note.data_coding = 8;
        (record.note.part, record.note.parts) = (2, 3);
        record.answered_ns = 100_012 * MS_NS + 345_678;
        record.status = 0x58;
        record.system_id[..4].copy_from_slice(b"acme");
        record.key.client.source = std::net::Ipv4Addr::new(203, 0, 113, 7).to_ipv6_mapped().octets();
        record.key.client.source_port = 40_000_u16.to_be_bytes();
        record.key.sequence = 77_u32.to_be_bytes();
        record
    }

    fn clocks() -> Clocks {
        Clocks { wall: Timestamp::from_second(1_000).unwrap(), monotonic_ns: 120_000 * MS_NS }
    }

    #[test]
    fn a_record_becomes_a_row_in_wall_clock_time() {
        let row = row(&record(), "acme", Numbers::Masked, &clocks());
        assert_eq!((row.from.as_str(), row.to.as_str()), ("ACME, Ltd", "44790090xxxx"));
        assert_eq!((row.from_ton, row.to_ton), (Some(ALPHANUMERIC), Some(1)));
        assert_eq!(
            (row.command.as_str(), row.sequence, row.source.as_str()),
            ("submit_sm", 77, "203.0.113.7:40000")
        );
        assert_eq!((row.system_id.as_str(), row.part, row.parts, row.data_coding), ("acme", 2, 3, Some(8)));
        assert_eq!((row.submitted_at.as_second(), row.latency), (980, Duration::from_micros(12_345)));
        assert_eq!((row.outcome.as_str(), row.status_name.as_deref()), ("rejected", Some("ESME_RTHROTTLED")));
        let json = serde_json::to_value(&row).unwrap();
        assert_eq!(json["latency_ms"], serde_json::json!(12.345));
        assert_eq!(serde_json::from_value::<MessageRow>(json).unwrap(), row);
    }

    #[test]
    fn what_was_not_seen_is_missing_and_what_edge_refused_is_told_apart() {
        let mut record = MessageRecord { status: 0x58, refused: 1, ..record() };
        record.note.to = MessageAddress::new_zeroed();
        record.note.data_coding = DATA_CODING_UNKNOWN;
        record.system_id = Default::default();
        let row = row(&record, "acme", Numbers::Full, &clocks());
        assert_eq!((row.to.as_str(), row.to_ton, row.data_coding), ("", None, None));
        assert_eq!((row.outcome.as_str(), row.system_id.as_str()), ("refused", ""));
        let mut messages = Messages::default();
        messages.add(row, &record);
        let figures = &messages.figures["acme"];
        assert_eq!((figures.refused, figures.times.count), (1, 0));
    }

    #[test]
    fn numbers_are_masked_however_they_are_written_and_sender_ids_are_not() {
        let all = |text, ton| {
            [Numbers::Full, Numbers::Masked, Numbers::None].map(|numbers| shown(&address(text, ton), numbers))
        };
        assert_eq!(all("441632960123", 1), ["441632960123", "44163296xxxx", ""]);
        assert_eq!(all("+441632960123", 0), ["441632960123", "44163296xxxx", ""]);
        assert_eq!(all("+441632960123", ALPHANUMERIC), ["441632960123", "44163296xxxx", ""]);
        assert_eq!(all("01632 960123", 2), ["01632 960123", "01632 96xxxx", ""]);
        assert_eq!(all("ACME24", ALPHANUMERIC), ["ACME24", "ACME24", ""]);
        assert_eq!(all("ACME24", 1), ["ACME24", "ACxxxx", ""]);
        assert_eq!(all("A\x1b[31m\u{e9}\nB", ALPHANUMERIC), ["A[31mB", "A[31mB", ""]);
    }

    #[test]
    fn a_list_shows_all_but_the_last_four_digits() {
        let short = shortened(row(&record(), "acme", Numbers::Full, &clocks()));
        assert_eq!((short.from.as_str(), short.to.as_str()), ("ACME, Ltd", "44790090xxxx"));
        assert_eq!(shortened(short.clone()), short);
    }
}
