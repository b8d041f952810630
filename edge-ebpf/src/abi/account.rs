//! Accounts: classes of messages, limits, policies, buckets and counters.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{BindCount, ReceiptKind, ResponseKind, indexed_enum, pod};

indexed_enum! {
    /// What a limit is set for. Configuration and metrics use the names.
    Class {
        /// Initial INVITE (RFC 3261 13.2, no To tag): calls per second.
        SipInvite = 0, "sip.invite";
        /// REGISTER (RFC 3261 10).
        SipRegister = 1, "sip.register";
        /// OPTIONS outside a dialog (RFC 3261 11).
        SipOptions = 2, "sip.options";
        /// MESSAGE outside a dialog (RFC 3428).
        SipMessage = 3, "sip.message";
        /// Any other SIP request outside a dialog.
        SipOther = 4, "sip.other";
        /// `submit_sm`, `submit_multi`, `data_sm` (SMPP 3.4, 4.4, 4.5, 4.7), each destination one: messages per second.
        SmppSubmit = 5, "smpp.submit";
        /// `bind_transmitter`, `bind_receiver`, `bind_transceiver` (SMPP 3.4, 4.1).
        SmppBind = 6, "smpp.bind";
        /// Packets to our ports, judged before the payload is read.
        Packets = 7, "packets";
        /// New TCP connections to our ports: SYN, each one that comes.
        Connections = 8, "connections";
    }
}

impl Class {
    /// Number of classes.
    pub const COUNT: usize = 9;

    /// Whether it is of messages, and not of what carries them.
    #[must_use]
    #[inline(always)]
    pub const fn is_of_messages(self) -> bool {
        !matches!(self, Self::Packets | Self::Connections)
    }
}

indexed_enum! {
    /// What the meter says of one message.
    Allowance {
        /// Within every limit.
        Admitted = 0, "admitted";
        /// Over a limit and dropped.
        Refused = 1, "refused";
        /// Over a limit, but passed because the mode is observe.
        Observed = 2, "observed";
        /// Never metered: in-dialog requests, responses, sources that are allowed.
        Exempt = 3, "exempt";
        /// A retransmission: treated as its request was, not charged.
        Repeated = 4, "repeated";
    }
}

impl Allowance {
    /// Number of allowances.
    pub const COUNT: usize = 5;
}

indexed_enum! {
    /// SIP request methods (IANA registry), and responses by hundreds.
    Method {
        /// RFC 3261 13.
        Invite = 0, "INVITE";
        /// RFC 3261 13.2.2.4.
        Ack = 1, "ACK";
        /// RFC 3261 15.
        Bye = 2, "BYE";
        /// RFC 3261 9.
        Cancel = 3, "CANCEL";
        /// RFC 3261 10.
        Register = 4, "REGISTER";
        /// RFC 3261 11.
        Options = 5, "OPTIONS";
        /// RFC 3428.
        Message = 6, "MESSAGE";
        /// RFC 6665.
        Subscribe = 7, "SUBSCRIBE";
        /// RFC 6665.
        Notify = 8, "NOTIFY";
        /// RFC 3903.
        Publish = 9, "PUBLISH";
        /// RFC 6086.
        Info = 10, "INFO";
        /// RFC 3515.
        Refer = 11, "REFER";
        /// RFC 3311.
        Update = 12, "UPDATE";
        /// RFC 3262.
        Prack = 13, "PRACK";
        /// A token that is none of the above (RFC 3261 25.1, extension-method).
        Extension = 14, "extension";
        /// A response with status 100 to 199.
        Status1xx = 15, "1xx";
        /// A response with status 200 to 299.
        Status2xx = 16, "2xx";
        /// A response with status 300 to 399.
        Status3xx = 17, "3xx";
        /// A response with status 400 to 499.
        Status4xx = 18, "4xx";
        /// A response with status 500 to 599.
        Status5xx = 19, "5xx";
        /// A response with status 600 to 699.
        Status6xx = 20, "6xx";
    }
}

impl Method {
    /// Room in [`AccountCounters::sip`]; more than the methods of today.
    pub const SLOTS: usize = 24;
}

indexed_enum! {
    /// SMPP commands that are counted by name (SMPP 3.4, 5.1.2.1; SMPP 5.0, 4.7.5).
    Command {
        /// `0x00000001`.
        BindReceiver = 0, "bind_receiver";
        /// `0x00000002`.
        BindTransmitter = 1, "bind_transmitter";
        /// `0x00000009`.
        BindTransceiver = 2, "bind_transceiver";
        /// `0x00000006`.
        Unbind = 3, "unbind";
        /// `0x80000006`.
        UnbindResp = 4, "unbind_resp";
        /// `0x00000004`.
        SubmitSm = 5, "submit_sm";
        /// `0x00000021`.
        SubmitMulti = 6, "submit_multi";
        /// `0x00000103`.
        DataSm = 7, "data_sm";
        /// `0x80000103`.
        DataSmResp = 8, "data_sm_resp";
        /// `0x80000005`.
        DeliverSmResp = 9, "deliver_sm_resp";
        /// `0x00000003`.
        QuerySm = 10, "query_sm";
        /// `0x00000008`.
        CancelSm = 11, "cancel_sm";
        /// `0x00000007`.
        ReplaceSm = 12, "replace_sm";
        /// `0x00000015`.
        EnquireLink = 13, "enquire_link";
        /// `0x80000015`.
        EnquireLinkResp = 14, "enquire_link_resp";
        /// `0x80000000`.
        GenericNack = 15, "generic_nack";
        /// Any other known request.
        OtherRequest = 16, "other_request";
        /// Any other known response.
        OtherResponse = 17, "other_response";
    }
}

impl Command {
    /// Room in [`AccountCounters::smpp`]; more than the commands of today.
    pub const SLOTS: usize = 24;
}

indexed_enum! {
    /// Whether limits are enforced.
    Mode {
        /// Judge and count, refuse nothing.
        Observe = 0, "observe";
        /// Refuse what is over a limit.
        Enforce = 1, "enforce";
    }
}

/// A rate with a burst, in the form the meter wants (GCRA: increment and tolerance).
///
/// `interval_ns == 0` means no limit. A rate of zero (refuse everything) is [`Limit::NOTHING`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Limit {
    /// Nanoseconds that one message costs: 1e9 / rate.
    pub interval_ns: u64,
    /// Nanoseconds of credit that may be held: burst x interval.
    pub burst_ns: u64,
}

impl Limit {
    /// No limit.
    pub const NONE: Self = Self { interval_ns: 0, burst_ns: 0 };
    /// Refuse everything.
    pub const NOTHING: Self = Self { interval_ns: u64::MAX, burst_ns: 0 };
}

/// The limits in force for one account. Map `POLICIES`, by account number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Policy {
    /// [`Mode`] as integer; any other value counts as observe.
    pub mode: u32,
    /// Bits of [`policy_flag`].
    pub flags: u32,
    /// Most calls of the account at once, over all sources and trunks; 0 is no limit.
    pub calls_max: u32,
    /// The bit `1 << index` of each SIP [`Class`] whose refused requests are answered; without it they are dropped.
    pub answered: u32,
    /// Most SMPP binds of the account at once, over all sources; 0 is no limit.
    pub binds_max: u32,
    /// The bit `1 << (scope * Class::COUNT + class)` of each limit that was set by command, scopes in the order of the
    /// fields below: for a daemon that starts while its database does not answer. The programs never read it.
    pub set_by_command: u32,
    /// Over all sources of the account, by [`Class`].
    pub account: [Limit; Class::COUNT],
    /// For each single source of the account, by [`Class`].
    pub source: [Limit; Class::COUNT],
    /// In place of `source` for a source that has registered ([`super::SourceState::registered_until_ns`]).
    pub registered: [Limit; Class::COUNT],
}

impl Policy {
    /// Observes and limits nothing.
    pub const OPEN: Self = Self {
        mode: Mode::Observe as u32,
        flags: 0,
        calls_max: 0,
        answered: 0,
        binds_max: 0,
        set_by_command: 0,
        account: [Limit::NONE; Class::COUNT],
        source: [Limit::NONE; Class::COUNT],
        registered: [Limit::NONE; Class::COUNT],
    };
}

/// Bits of [`Policy::flags`].
pub mod policy_flag {
    /// The account is suspended: its SIP requests outside dialogs are refused, with 403 where they are answered, and
    /// so are its SMPP binds and messages, and its connections to ports of TLS.
    pub const SUSPENDED: u32 = 1;
    /// The caller IDs of its calls and messages are looked up among those that it may show.
    pub const CALLER_IDS_CHECKED: u32 = 2;
    /// And a call or message with another one is refused, with 403 where it is answered.
    pub const CALLER_IDS_ENFORCED: u32 = 4;
    /// The source addresses of its SMPP messages are looked up among the sender IDs that it may show.
    pub const SENDER_IDS_CHECKED: u32 = 8;
    /// And a message with another one is refused with `ESME_RINVSRCADR`, where messages are refused in SMPP's own words.
    pub const SENDER_IDS_ENFORCED: u32 = 16;
    /// Its calls whose headers are not to be trusted are refused: of them no slot is taken, and no header is believed.
    pub const DOUBTFUL_REFUSED: u32 = 32;
}

indexed_enum! {
    /// What became of calls, counted per account: complete even where records were lost.
    CallCount {
        /// Took a slot.
        Admitted = 0, "admitted";
        /// Was answered.
        Answered = 1, "answered";
        /// Ended as the signalling said.
        Ended = 2, "ended";
        /// Was expired by the sweep.
        Expired = 3, "expired";
        /// Was refused for a limit on concurrent calls.
        Refused = 4, "refused";
        /// Was over a limit on concurrent calls, but the mode is observe.
        Observed = 5, "observed";
        /// Was admitted without a slot, because the map `CALLS` is full.
        Unkept = 6, "unkept";
        /// Gave its slot back with a 401 or 407: the caller comes again with credentials, and takes one anew.
        Challenged = 7, "challenged";
    }
}

impl CallCount {
    /// Room in [`AccountCounters::calls`]; more than the counts of today.
    pub const SLOTS: usize = 8;
}

/// Counters of one account. They only grow, until the account's number is given to another account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AccountCounters {
    /// Messages by [`Class`] and [`Allowance`]; for [`Class::Packets`], packets.
    pub messages: [[u64; Allowance::COUNT]; Class::COUNT],
    /// SIP messages seen by [`Method`], whatever became of them.
    pub sip: [u64; Method::SLOTS],
    /// SMPP PDUs passed, by [`Command`].
    pub smpp: [u64; Command::SLOTS],
    /// Calls by [`CallCount`].
    pub calls: [u64; CallCount::SLOTS],
    /// Binds by [`BindCount`].
    pub binds: [u64; BindCount::SLOTS],
    /// The server's responses to SMPP messages by [`ResponseKind`]; those of Edge's own making are not among them.
    pub responses: [u64; ResponseKind::SLOTS],
    /// Delivery receipts of the server by [`ReceiptKind`].
    pub receipts: [u64; ReceiptKind::SLOTS],
    /// Messages refused in SMPP's own words: of those refused, the ones that were not dropped.
    pub smpp_refused: u64,
    /// Calls and messages whose caller ID is none that the account may show, whatever became of them.
    pub foreign_callers: u64,
    /// SMPP messages that have passed or were refused in SMPP's own words, whose source address is none that the account may
    /// show.
    pub foreign_senders: u64,
}

impl AccountCounters {
    /// Nothing counted.
    pub const NOTHING: Self = Self {
        messages: [[0; Allowance::COUNT]; Class::COUNT],
        sip: [0; Method::SLOTS],
        smpp: [0; Command::SLOTS],
        calls: [0; CallCount::SLOTS],
        binds: [0; BindCount::SLOTS],
        responses: [0; ResponseKind::SLOTS],
        receipts: [0; ReceiptKind::SLOTS],
        smpp_refused: 0,
        foreign_callers: 0,
        foreign_senders: 0,
    };
}

/// What changes with traffic, one per account, shared by all CPUs. Map `ACCOUNTS`, by account number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AccountState {
    /// Theoretical arrival times by [`Class`]; the meter's only state.
    pub buckets: [u64; Class::COUNT],
    /// Slots held: as many as the map `CALLS` has entries of this account.
    pub calls_active: u64,
    /// SMPP binds: as many as the map `BINDS` has entries of this account that are bound.
    pub binds_active: u64,
    /// What was seen.
    pub counters: AccountCounters,
}

pod!(Limit, Policy, AccountCounters, AccountState);
