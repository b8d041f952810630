//! Every map of the kernel programs. Each says what it means, who writes, who reads, where its size comes
//! from, what happens when it is full, and what sharing over CPUs means for it.
//!
//! Addresses are keys of two words here and of sixteen bytes in the contract: the same memory, and copied in two
//! instructions instead of sixteen.
//!
//! Names are the contract ([`edge_ebpf::abi::map`]); sizes are defaults that the daemon may override at load.

use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::LpmTrie;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf};
use edge_ebpf::abi::{
    AccountState, BindState, CallKey, CallRecord, CallState, CallerId, EgressOutcome, EgressStage, FlowKey,
    IngressStage, Listener, Member, MessageNote, NoteKey, Outcome, PREFIX_PAGES, Policy, Ports, PrefixPage,
    REPEAT_SETS_DEFAULT, RepeatSet, Settings, SourceState, Standing, SystemId, TrunkPolicy, TrunkState,
};
use edge_ebpf::messages::CutReceipt;
use edge_ebpf::native::Refusals;
use edge_ebpf::stream::Flow;
use edge_ebpf::stream::sip::{SipFlow, SipRefusals};
use edge_ebpf::wire::{Headers, sip};

use crate::{answer, calls, messages, segment, sip_stream};

/// Accounts, the one of unknown sources included. 16,384 x (264 + 768) bytes = 17 MiB.
const ACCOUNTS_DEFAULT: u32 = 16_384;
/// Prefixes of accounts; a trie node is about 100 bytes and is allocated with its prefix.
const MEMBERS_DEFAULT: u32 = 1_048_576;
/// Bans and allowances.
const STANDINGS_DEFAULT: u32 = 131_072;
/// Sources remembered: 262,144 x about 220 bytes = 58 MiB, allocated at load.
const SOURCES_DEFAULT: u32 = 262_144;
/// SMPP connections framed at once, one direction each.
const FLOWS_DEFAULT: u32 = 16_384;
/// SMPP binds at once; about 150 bytes each.
const BINDS_DEFAULT: u32 = 16_384;
/// Names by which accounts bind; about 60 bytes each.
const SYSTEM_IDS_DEFAULT: u32 = 16_384;
/// Connections with messages refused in SMPP's words at once: 1024 x 12.1 KiB = 12 MiB, allocated at load.
const REFUSALS_DEFAULT: u32 = 1024;
/// Connections with INVITEs refused in SIP's own words at once.
const SIP_REFUSALS_DEFAULT: u32 = 4096;
/// Every port: 65,536 x 48 bytes = 3 MiB.
const LISTENERS_ENTRIES: u32 = 65_536;
/// Rare facts: 256 KiB holds 4,096 events of 48 bytes and their headers.
const EVENTS_BYTES: u32 = 256 * 1024;

/// Calls at once, of all accounts: 131,072 x about 190 bytes = 24 MiB, allocated at load.
const CALLS_DEFAULT: u32 = 131_072;
/// Trunks, number 0 for none; 24 bytes each, and 128 for the name.
const TRUNKS_DEFAULT: u32 = 16_384;
/// Prefixes of caller IDs, of all accounts; a trie node is about 100 bytes and is allocated with its prefix.
const CALLER_IDS_DEFAULT: u32 = 131_072;
/// Messages that wait for their response and will leave a record: 65,536 x about 200 bytes = 13 MiB, allocated at load.
const NOTES_DEFAULT: u32 = 65_536;
/// Connections of which a receipt is under way in two segments: 4,096 x about 620 bytes = 2.5 MiB, allocated at load.
const CUT_RECEIPTS_ENTRIES: u32 = 4096;
/// Messages that were answered: 2 MiB holds 10,000 records of 200 bytes and their headers.
const MESSAGES_BYTES: u32 = 2 * 1024 * 1024;
/// Calls that ended: 1 MiB holds 8,192 records of 120 bytes and their headers.
const RECORDS_BYTES: u32 = 1024 * 1024;

/// Programs that the way in goes on in. Filled at load, each load its own: what a stage is handed lies in maps of the same
/// load. The kernel empties it when nobody has it open or pinned any more; without a stage its packets pass.
#[map]
pub(crate) static INGRESS_STAGES: ProgramArray =
    ProgramArray::with_max_entries(IngressStage::ALL.len() as u32, 0);

/// Programs that the way out goes on in. As [`INGRESS_STAGES`].
#[map]
pub(crate) static EGRESS_STAGES: ProgramArray =
    ProgramArray::with_max_entries(EgressStage::ALL.len() as u32, 0);

/// What holds for the whole program. Written by the daemon, read with every packet. One entry.
#[map]
pub(crate) static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);

/// Which service listens on a port. Written by the daemon, read with every packet. One entry of 64 KiB, of
/// which a host's traffic touches few cache lines.
#[map]
pub(crate) static PORTS: Array<Ports> = Array::with_max_entries(1, 0);

/// Limits in force, by account number. Written by the daemon, read with every packet that is ours.
#[map]
pub(crate) static POLICIES: Array<Policy> = Array::with_max_entries(ACCOUNTS_DEFAULT, 0);

/// Buckets and counters, by account number. Written by the kernel with atomic operations, read by the daemon.
/// Shared by all CPUs, so that a limit is exact however many queues the traffic is spread over.
#[map]
pub(crate) static ACCOUNTS: Array<AccountState> = Array::with_max_entries(ACCOUNTS_DEFAULT, 0);

/// Names, by account number: written and read by the daemon only.
#[map]
pub(crate) static ACCOUNT_NAMES: Array<[u8; 64]> = Array::with_max_entries(ACCOUNTS_DEFAULT, 0);

/// Prefix to account and trunk. Written by the daemon; read only when a source is new or the generation moved.
/// Full: the daemon's insertion fails and it says so.
#[map]
pub(crate) static MEMBERS: LpmTrie<[u64; 2], Member> = LpmTrie::with_max_entries(MEMBERS_DEFAULT, 0);

/// Prefix to ban or allowance. As [`MEMBERS`].
#[map]
pub(crate) static STANDINGS: LpmTrie<[u64; 2], Standing> = LpmTrie::with_max_entries(STANDINGS_DEFAULT, 0);

/// What is known of each source. Written by the kernel. LRU: when full, the source that was silent longest is
/// forgotten; it loses its own bucket's state and its counters, never its account's.
#[map]
pub(crate) static SOURCES: LruHashMap<[u64; 2], SourceState> =
    LruHashMap::with_max_entries(SOURCES_DEFAULT, 0);

/// Admitted SIP requests, so that a retransmission is known. Written by the kernel without locks: a lost race
/// or an overwritten entry costs one retransmission its free passage. So are requests that wait for an answer which says
/// something of their source: what is overwritten is not believed.
#[map]
pub(crate) static REPEATS: Array<RepeatSet> = Array::with_max_entries(REPEAT_SETS_DEFAULT, 0);

/// Admitted messages by called prefix, two halves written in turn. Written by the kernel with atomic
/// operations, read and cleared by the daemon. Full: counted in no prefix, and an event says so.
#[map]
pub(crate) static PREFIXES: Array<PrefixPage> = Array::with_max_entries(2 * PREFIX_PAGES, 0);

/// SMPP connections. Written by the kernel under the flow's own lock. LRU: when full, the connection silent
/// longest is forgotten and is framed again from a plausible header.
#[map]
pub(crate) static FLOWS: LruHashMap<FlowKey, Flow> = LruHashMap::with_max_entries(FLOWS_DEFAULT, 0);

/// Beginnings of receipts, by the server's direction of their connection, until the next segment. Written and removed by the
/// way out. LRU: what is forgotten is counted as unread. Each load has its own.
#[map]
pub(crate) static CUT_RECEIPTS: LruHashMap<FlowKey, CutReceipt> =
    LruHashMap::with_max_entries(CUT_RECEIPTS_ENTRIES, 0);

/// SIP connections over TCP, the client's direction, and the server's of those with refusals. Written by the kernel under
/// the flow's own lock. LRU: as [`FLOWS`].
#[map]
pub(crate) static SIP_FLOWS: LruHashMap<FlowKey, SipFlow> = LruHashMap::with_max_entries(FLOWS_DEFAULT, 0);

/// SMPP sessions. Written by the kernel. HASH and not LRU: an entry that went silently would leave its account's place
/// taken for ever. Full: the bind is metered by its source, counted, and an event says so.
#[map]
pub(crate) static BINDS: HashMap<FlowKey, BindState> = HashMap::with_max_entries(BINDS_DEFAULT, 0);

/// Account numbers by `system_id`. Written by the daemon, read when a bind is new or the generation moved.
#[map]
pub(crate) static SYSTEM_IDS: HashMap<SystemId, u32> = HashMap::with_max_entries(SYSTEM_IDS_DEFAULT, 0);

/// Refused messages under way, by connection. Written by the kernel under the locks of the connection's two flows. HASH
/// and not LRU: what was refused and comes again must be refused again. Full: what is over a limit is dropped instead.
#[map]
pub(crate) static REFUSALS: HashMap<FlowKey, Refusals> = HashMap::with_max_entries(REFUSALS_DEFAULT, 0);

/// INVITEs refused in SIP's own words, by connection: 4,096 x 2.1 KiB = 8 MiB, allocated at load. Written by the way in
/// and the way out, each its own words. LRU: what is forgotten are connections that have ended without a word; a refusal
/// that is forgotten and comes again passes as the INVITE that it was.
#[map]
pub(crate) static SIP_REFUSALS: LruHashMap<FlowKey, SipRefusals> =
    LruHashMap::with_max_entries(SIP_REFUSALS_DEFAULT, 0);

/// How refusals go, by port. Written by the kernel with atomic operations, read by the daemon.
#[map]
pub(crate) static LISTENERS: Array<Listener> = Array::with_max_entries(LISTENERS_ENTRIES, 0);

/// Packets by outcome. Per CPU: the daemon adds up; their sum is the number of packets seen.
#[map]
pub(crate) static OUTCOMES: PerCpuArray<[u64; Outcome::SLOTS]> = PerCpuArray::with_max_entries(1, 0);

/// Packets on the way out, by what was seen in them. Per CPU: the daemon adds up.
#[map]
pub(crate) static EGRESS_OUTCOMES: PerCpuArray<[u64; EgressOutcome::SLOTS]> =
    PerCpuArray::with_max_entries(1, 0);

/// Calls that hold a slot. Written by the kernel. HASH and not LRU: an entry that went silently would leave its
/// slot taken for ever. Full: the call is admitted without a slot, counted, and an event says so.
#[map]
pub(crate) static CALLS: HashMap<CallKey, CallState> = HashMap::with_max_entries(CALLS_DEFAULT, 0);

/// Slots held, by trunk number. Written by the kernel with atomic operations. Shared by all CPUs.
#[map]
pub(crate) static TRUNKS: Array<TrunkState> = Array::with_max_entries(TRUNKS_DEFAULT, 0);

/// Limits, by trunk number. Written by the daemon.
#[map]
pub(crate) static TRUNK_POLICIES: Array<TrunkPolicy> = Array::with_max_entries(TRUNKS_DEFAULT, 0);

/// Names, by trunk number: written and read by the daemon only.
#[map]
pub(crate) static TRUNK_NAMES: Array<[u8; 128]> = Array::with_max_entries(TRUNKS_DEFAULT, 0);

/// Leading digits of the caller IDs that each account may show. Written by the daemon; read for the calls and messages
/// of accounts whose caller IDs are checked. Full: the daemon's insertion fails and it says so.
#[map]
pub(crate) static CALLER_IDS: LpmTrie<CallerId, u32> = LpmTrie::with_max_entries(CALLER_IDS_DEFAULT, 0);

/// Calls that ended or were refused, for the daemon. A buffer of its own, so that a flood of refusals crowds out no
/// event. Full: the record is lost and counted in [`RECORDS_LOST`].
#[map]
pub(crate) static RECORDS: RingBuf = RingBuf::with_byte_size(RECORDS_BYTES, 0);

/// Records that found no room. Per CPU.
#[map]
pub(crate) static RECORDS_LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Messages that leave a record and are not answered yet. Written by the kernel. LRU: when full, the message that waits
/// longest is forgotten and leaves no record.
#[map]
pub(crate) static NOTES: LruHashMap<NoteKey, MessageNote> = LruHashMap::with_max_entries(NOTES_DEFAULT, 0);

/// Messages that were answered, for the daemon. A buffer of its own, as [`RECORDS`]. Full: the record is lost and counted in
/// [`MESSAGES_LOST`].
#[map]
pub(crate) static MESSAGES: RingBuf = RingBuf::with_byte_size(MESSAGES_BYTES, 0);

/// Records of messages that found no room. Per CPU.
#[map]
pub(crate) static MESSAGES_LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Rare facts for the daemon. Full: the event is lost and counted in [`EVENTS_LOST`].
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(EVENTS_BYTES, 0);

/// Events that found no room. Per CPU.
#[map]
pub(crate) static EVENTS_LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Where a SIP payload is parsed. Per CPU, safe because XDP runs with bottom halves off.
#[map]
pub(crate) static SIP_SCRATCH: PerCpuArray<sip::Scratch> = PerCpuArray::with_max_entries(1, 0);

/// Which answer is to be made, and where. Per CPU, as [`SIP_SCRATCH`].
#[map]
pub(crate) static DESK: PerCpuArray<answer::Desk> = PerCpuArray::with_max_entries(1, 0);

/// Keys, new calls and records in the making: too large for the stack. Per CPU, as [`SIP_SCRATCH`].
#[map]
pub(crate) static CALL_SCRATCH: PerCpuArray<calls::Scratch> = PerCpuArray::with_max_entries(1, 0);

/// A record that the sweep is making. One, and not per CPU: the sweep may be moved to another CPU while it runs, and
/// only the daemon runs it, one at a time.
#[map]
pub(crate) static SWEPT_RECORD: Array<CallRecord> = Array::with_max_entries(1, 0);

/// Where an SMPP segment is walked, and what one part of its journey hands to the next. Per CPU, safe because XDP runs with bottom halves off.
#[map]
pub(crate) static SMPP_SCRATCH: PerCpuArray<segment::Scratch> = PerCpuArray::with_max_entries(1, 0);

/// Notes and records of messages in the making: too large for the stack. Per CPU, as [`SMPP_SCRATCH`].
#[map]
pub(crate) static MESSAGE_SCRATCH: PerCpuArray<messages::Scratch> = PerCpuArray::with_max_entries(1, 0);

/// Where a segment of a SIP connection is read. Per CPU, as [`SMPP_SCRATCH`].
#[map]
pub(crate) static SIP_STREAM: PerCpuArray<sip_stream::Scratch> = PerCpuArray::with_max_entries(1, 0);

/// A SIP connection that is new, before it is inserted. Per CPU.
#[map]
pub(crate) static FRESH_SIP_FLOW: PerCpuArray<SipFlow> = PerCpuArray::with_max_entries(1, 0);

/// A connection that is new, before it is inserted: too large for the stack. Per CPU.
#[map]
pub(crate) static FRESH_FLOW: PerCpuArray<Flow> = PerCpuArray::with_max_entries(1, 0);

/// No refusals, to be inserted where the first is made: too large for the stack. Never written.
#[map]
pub(crate) static FRESH_REFUSALS: PerCpuArray<Refusals> = PerCpuArray::with_max_entries(1, 0);

/// As [`FRESH_REFUSALS`], for SIP.
#[map]
pub(crate) static FRESH_SIP_REFUSALS: PerCpuArray<SipRefusals> = PerCpuArray::with_max_entries(1, 0);

/// A part of a packet whose sum is taken. Per CPU.
#[map]
pub(crate) static SUM_PART: PerCpuArray<[u32; 129]> = PerCpuArray::with_max_entries(1, 0);

/// A source that is new, before it is inserted: too large for the stack. Per CPU.
#[map]
pub(crate) static FRESH_SOURCE: PerCpuArray<SourceState> = PerCpuArray::with_max_entries(1, 0);

/// The headers of the packet at hand. In a map value and not on the stack, because the verifier forgets what
/// memory holds: the ways through VLAN tags, options and extension headers become one way again. Per CPU.
#[map]
pub(crate) static HEADERS: PerCpuArray<Headers> = PerCpuArray::with_max_entries(1, 0);
