//! Names of maps and programs: part of the contract, compared with the object file in a test.

/// Maps. Sizes are in `bin/edge-kernel/maps.rs`; the daemon may override them at load (`[capacity]`).
pub mod map {
    /// [`crate::abi::Settings`], one entry.
    pub const SETTINGS: &str = "SETTINGS";
    /// [`crate::abi::Ports`], one entry.
    pub const PORTS: &str = "PORTS";
    /// Account number to [`crate::abi::Policy`].
    pub const POLICIES: &str = "POLICIES";
    /// Account number to [`crate::abi::AccountState`].
    pub const ACCOUNTS: &str = "ACCOUNTS";
    /// Account number to the account's name, UTF-8, zero-padded to 64 bytes: written and read by the daemon only,
    /// so that what is installed describes itself.
    pub const ACCOUNT_NAMES: &str = "ACCOUNT_NAMES";
    /// Trie: prefix to [`crate::abi::Member`].
    pub const MEMBERS: &str = "MEMBERS";
    /// Trie: prefix to [`crate::abi::Standing`].
    pub const STANDINGS: &str = "STANDINGS";
    /// LRU: [`crate::abi::SourceKey`] to [`crate::abi::SourceState`].
    pub const SOURCES: &str = "SOURCES";
    /// [`crate::abi::RepeatSet`] by hash.
    pub const REPEATS: &str = "REPEATS";
    /// [`crate::abi::PrefixPage`], two halves.
    pub const PREFIXES: &str = "PREFIXES";
    /// LRU: [`crate::abi::FlowKey`] to [`crate::stream::Flow`].
    pub const FLOWS: &str = "FLOWS";
    /// LRU: [`crate::abi::FlowKey`] to [`crate::stream::sip::SipFlow`].
    pub const SIP_FLOWS: &str = "SIP_FLOWS";
    /// [`crate::abi::FlowKey`] of the client's direction to [`crate::abi::BindState`].
    pub const BINDS: &str = "BINDS";
    /// [`crate::abi::SystemId`] to account number.
    pub const SYSTEM_IDS: &str = "SYSTEM_IDS";
    /// [`crate::abi::FlowKey`] of the client's direction to [`crate::native::Refusals`].
    pub const REFUSALS: &str = "REFUSALS";
    /// LRU: [`crate::abi::FlowKey`] of the client's direction to [`crate::stream::sip::SipRefusals`].
    pub const SIP_REFUSALS: &str = "SIP_REFUSALS";
    /// Port to [`crate::abi::Listener`].
    pub const LISTENERS: &str = "LISTENERS";
    /// Per CPU: packets by [`crate::abi::Outcome`].
    pub const OUTCOMES: &str = "OUTCOMES";
    /// Per CPU: packets on the way out by [`crate::abi::EgressOutcome`].
    pub const EGRESS_OUTCOMES: &str = "EGRESS_OUTCOMES";
    /// [`crate::abi::CallKey`] to [`crate::abi::CallState`].
    pub const CALLS: &str = "CALLS";
    /// Trunk number to [`crate::abi::TrunkState`].
    pub const TRUNKS: &str = "TRUNKS";
    /// Trunk number to [`crate::abi::TrunkPolicy`].
    pub const TRUNK_POLICIES: &str = "TRUNK_POLICIES";
    /// Trunk number to account and trunk, `acme/london`, UTF-8, zero-padded to 128 bytes: as [`ACCOUNT_NAMES`].
    pub const TRUNK_NAMES: &str = "TRUNK_NAMES";
    /// Trie: [`crate::abi::CallerId`] to 1.
    pub const CALLER_IDS: &str = "CALLER_IDS";
    /// Ring buffer of [`crate::abi::CallRecord`].
    pub const RECORDS: &str = "RECORDS";
    /// Per CPU, one entry: records that the ring buffer had no room for.
    pub const RECORDS_LOST: &str = "RECORDS_LOST";
    /// LRU: [`crate::abi::NoteKey`] to [`crate::abi::MessageNote`].
    pub const NOTES: &str = "NOTES";
    /// Ring buffer of [`crate::abi::MessageRecord`].
    pub const MESSAGES: &str = "MESSAGES";
    /// Per CPU, one entry: records of messages that the ring buffer had no room for.
    pub const MESSAGES_LOST: &str = "MESSAGES_LOST";
    /// Ring buffer of [`crate::abi::Event`].
    pub const EVENTS: &str = "EVENTS";
    /// Per CPU, one entry: events that the ring buffer had no room for.
    pub const EVENTS_LOST: &str = "EVENTS_LOST";

    /// [`crate::abi::IngressStage`] to program. Each load has its own, see `dataplane/stages.rs`.
    pub const INGRESS_STAGES: &str = "INGRESS_STAGES";

    /// [`crate::abi::EgressStage`] to program. As [`INGRESS_STAGES`].
    pub const EGRESS_STAGES: &str = "EGRESS_STAGES";

    /// The maps of stages.
    pub const STAGES: &[&str] = &[INGRESS_STAGES, EGRESS_STAGES];

    /// The maps that are pinned, so that limits, buckets and counters outlive the daemon.
    pub const PINNED: &[&str] = &[
        SETTINGS,
        PORTS,
        POLICIES,
        ACCOUNTS,
        ACCOUNT_NAMES,
        MEMBERS,
        STANDINGS,
        SOURCES,
        REPEATS,
        PREFIXES,
        FLOWS,
        SIP_FLOWS,
        BINDS,
        SYSTEM_IDS,
        REFUSALS,
        SIP_REFUSALS,
        LISTENERS,
        OUTCOMES,
        EGRESS_OUTCOMES,
        CALLS,
        TRUNKS,
        TRUNK_POLICIES,
        TRUNK_NAMES,
        CALLER_IDS,
        RECORDS,
        RECORDS_LOST,
        NOTES,
        MESSAGES,
        MESSAGES_LOST,
        EVENTS,
        EVENTS_LOST,
    ];
}

/// Programs.
pub mod program {
    /// XDP, ingress.
    pub const INGRESS: &str = "edge_ingress";
    /// `tc`, egress.
    pub const EGRESS: &str = "edge_egress";
    /// Raw tracepoint, run by the daemon once a second: expires calls.
    pub const SWEEP: &str = "edge_sweep";
    /// Raw tracepoint, run by the daemon where a count of slots differs from the entries: (number, 1 for a trunk's
    /// and 0 for an account's, what to add).
    pub const CORRECT: &str = "edge_correct";
    /// XDP that passes everything: what a benchmark subtracts.
    pub const EMPTY: &str = "edge_empty";
}

/// What only the object for benchmarks has.
pub mod bench {
    /// Array with the [`BenchFrame`](crate::abi::BenchFrame) that is put back before each run.
    pub const FRAME: &str = "BENCH_FRAME";
    /// Rewinds the flow, then judges the segment: it is new each time.
    pub const SMPP: &str = "edge_bench_smpp";
    /// Rewinds the flow and nothing else: what is subtracted from [`SMPP`].
    pub const REWIND: &str = "edge_bench_rewind";
    /// Judges a new call, then takes its entry away.
    pub const CALL: &str = "edge_bench_call";
    /// Puts the frame back, in whose place an answer is, then judges it.
    pub const SIP: &str = "edge_bench_sip";
    /// Puts the frame back and nothing else: what is subtracted from [`SIP`].
    pub const RESTORE: &str = "edge_bench_restore";
    /// Puts the frame back and takes the refusal of its messages back, then judges the segment.
    pub const REFUSED: &str = "edge_bench_refused";
    /// Puts that back and nothing else: what is subtracted from [`REFUSED`].
    pub const TAKE_BACK: &str = "edge_bench_take_back";
    /// Puts the server's frame back and makes its answers unheard, then hears them.
    pub const ANSWERED: &str = "edge_bench_answered";
    /// Puts that back and nothing else: what is subtracted from [`ANSWERED`].
    pub const UNHEAR: &str = "edge_bench_unhear";
    /// Puts the frame back and sends it.
    pub const TRANSMIT: &str = "edge_bench_transmit";
    /// Puts the frame back and drops it: what is subtracted from [`TRANSMIT`].
    pub const SWALLOW: &str = "edge_bench_swallow";
    /// Charges one bucket: what other machines' figures can be compared by.
    pub const BUCKET: &str = "edge_bench_bucket";
    /// Drops.
    pub const DROP: &str = "edge_bench_drop";
    /// A classifier that passes everything: what is subtracted from the way out.
    pub const EMPTY_EGRESS: &str = "edge_bench_empty_egress";
}
