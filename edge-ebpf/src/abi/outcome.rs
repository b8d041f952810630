//! The one end that every packet comes to.

use super::indexed_enum;

indexed_enum! {
    /// What became of a packet. Numbers are append-only: a retired one stays reserved.
    Outcome {
        /// Not for our ports, or not a protocol of ours.
        NotOurs = 0, "not_ours";
        /// A header of layer 2 to 4 does not fit in the frame.
        Truncated = 1, "truncated";
        /// An IP fragment that has no beginning of a message, or IPv6 headers too deep to be read: only its source can be metered.
        Fragment = 2, "fragment";
        /// The source is on the allow-list: counted, never refused.
        Allowed = 3, "allowed";
        /// The source is banned.
        Banned = 4, "banned";
        /// The source is banned, but the mode is observe.
        BannedObserved = 5, "banned_observed";
        /// The source sends more packets than its limit.
        FloodSource = 6, "flood_source";
        /// The account sends more packets than its limit.
        FloodAccount = 7, "flood_account";
        /// More packets than a limit, but the mode is observe.
        FloodObserved = 8, "flood_observed";
        /// A SIP request within limits.
        SipAdmitted = 9, "sip_admitted";
        /// ACK, BYE, CANCEL, or any request with a To tag: never refused.
        SipInDialog = 10, "sip_in_dialog";
        /// A SIP response.
        SipResponse = 11, "sip_response";
        /// A retransmission of a request that was admitted.
        SipRepeated = 12, "sip_repeated";
        /// Over the source's limit.
        SipOverSource = 13, "sip_over_source";
        /// Over the account's limit.
        SipOverAccount = 14, "sip_over_account";
        /// Over a limit, but the mode is observe.
        SipObserved = 15, "sip_observed";
        /// On a SIP port, but not readable as SIP.
        SipMalformed = 16, "sip_malformed";
        /// CRLF or empty keep-alive, STUN (RFC 5626 3.5).
        SipKeepalive = 17, "sip_keepalive";
        /// A TCP segment to a SIP port that completes no message's headers.
        SipStream = 18, "sip_stream";
        /// A segment with metered PDUs, within limits.
        SmppAdmitted = 19, "smpp_admitted";
        /// A segment without new metered PDUs: acknowledgement, continuation, other commands.
        SmppCarried = 20, "smpp_carried";
        /// Over the source's limit.
        SmppOverSource = 21, "smpp_over_source";
        /// Over the account's limit.
        SmppOverAccount = 22, "smpp_over_account";
        /// Over a limit, but the mode is observe.
        SmppObserved = 23, "smpp_observed";
        /// A segment of a flow whose PDU boundaries are not known (yet).
        SmppUnsynchronised = 24, "smpp_unsynchronised";
        /// Beyond a hole and without a PDU header in sight: dropped, TCP sends it again.
        SmppBeyondHole = 25, "smpp_beyond_hole";
        /// The flow is being worked on by another CPU: dropped, TCP sends it again.
        SmppBusy = 26, "smpp_busy";
        /// The stream is not SMPP: the flow is marked and no longer framed.
        SmppMalformed = 27, "smpp_malformed";
        /// A map is full, so the packet could not be judged.
        Unjudged = 28, "unjudged";
        /// A new call over the account's limit of concurrent calls.
        SipOverCalls = 29, "sip_over_calls";
        /// A new call over its trunk's limit of concurrent calls.
        SipOverTrunk = 30, "sip_over_trunk";
        /// A SIP request outside a dialog of an account that is suspended.
        SipSuspended = 31, "sip_suspended";
        /// A request whose headers are not to be trusted (folded, ended by a bare LF, too long, doubled, missing),
        /// metered by its start line alone and within limits.
        SipDoubtful = 32, "sip_doubtful";
        /// Over the source's limit, and answered 503 by Edge.
        SipAnsweredSource = 33, "sip_answered_source";
        /// Over the account's limit, and answered 503 by Edge.
        SipAnsweredAccount = 34, "sip_answered_account";
        /// Over the account's limit of concurrent calls, and answered 503 by Edge.
        SipAnsweredCalls = 35, "sip_answered_calls";
        /// Over the trunk's limit of concurrent calls, and answered 503 by Edge.
        SipAnsweredTrunk = 36, "sip_answered_trunk";
        /// Of an account that is suspended, and answered 403 by Edge.
        SipAnsweredSuspended = 37, "sip_answered_suspended";
        /// An ACK for an answer of Edge.
        SipAckAbsorbed = 38, "sip_ack_absorbed";
        /// A segment with messages over a limit that were refused in SMPP's own words; the others were admitted.
        SmppRefused = 39, "smpp_refused";
        /// A bind over the account's number of binds.
        SmppOverBinds = 40, "smpp_over_binds";
        /// A bind or a message of an account that is suspended.
        SmppSuspended = 41, "smpp_suspended";
        /// A call or message whose caller ID is none that the account may show.
        SipForeignCaller = 42, "sip_foreign_caller";
        /// The same, answered 403 by Edge.
        SipAnsweredCaller = 43, "sip_answered_caller";
        /// A segment to a port of TLS: limited by source and account, and never read.
        TlsStream = 44, "tls_stream";
        /// A new connection to a port of TLS, of an account that is suspended.
        ConnectionSuspended = 45, "connection_suspended";
        /// A new connection over the source's limit.
        ConnectionOverSource = 46, "connection_over_source";
        /// A new connection over the account's limit.
        ConnectionOverAccount = 47, "connection_over_account";
        /// A segment of a banned source's connection, turned into a reset for the server.
        ResetBanned = 48, "reset_banned";
        /// A segment of a suspended account's connection to a port of TLS, or one of SIP with a request outside a dialog,
        /// turned into a reset for the server.
        ResetSuspended = 49, "reset_suspended";
        /// A segment of a SIP connection whose message boundaries are not known (yet), or which is no SIP.
        SipUnframed = 50, "sip_unframed";
        /// A segment of a SIP connection behind one that Edge has dropped: dropped, TCP sends it again.
        SipBeyondHole = 51, "sip_beyond_hole";
        /// A segment of a SIP connection with INVITEs over a limit that were refused in SIP's own words; all else passes.
        SipRefused = 52, "sip_refused";
        /// A new call whose headers are not to be trusted (as [`Self::SipDoubtful`]), where such are refused.
        SipDoubtfulRefused = 53, "sip_doubtful_refused";
        /// A segment of a SIP or SMPP connection that the server's TCP may read otherwise than it is written: a fragment, urgent
        /// data, data with a SYN, or nothing acknowledged.
        TcpUnclear = 54, "tcp_unclear";
        /// Headers, or the start line of SIP, where they are not looked for and no honest sender puts them: behind more IPv6
        /// extension headers than are read, behind a length of nothing, or beyond the first fragment.
        HeadersHidden = 55, "headers_hidden";
    }
}

indexed_enum! {
    /// What the way out saw in a packet. Numbers are append-only.
    EgressOutcome {
        /// Not from our ports, or not a protocol of ours.
        NotOurs = 0, "not_ours";
        /// A header of layer 2 to 4 does not fit in the frame.
        Truncated = 1, "truncated";
        /// An IP fragment, or IPv6 headers too deep to be read.
        Fragment = 2, "fragment";
        /// A map lacks what is needed to look at it.
        Unjudged = 3, "unjudged";
        /// A SIP response.
        SipResponse = 4, "sip_response";
        /// A SIP request of the server or of the far side.
        SipRequest = 5, "sip_request";
        /// From a SIP port, but not readable as SIP.
        SipMalformed = 6, "sip_malformed";
        /// CRLF or empty keep-alive, STUN (RFC 5626 3.5).
        SipKeepalive = 7, "sip_keepalive";
        /// A TCP segment from a SIP port.
        SipStream = 8, "sip_stream";
        /// A TCP segment from an SMPP port.
        SmppSegment = 9, "smpp_segment";
        /// A TCP segment from an SMPP port with an answer that became that to a refused message.
        SmppAnswered = 10, "smpp_answered";
        /// A TCP segment from an SMPP port of a connection whose PDU boundaries are not known (yet).
        SmppUnsynchronised = 11, "smpp_unsynchronised";
        /// Beyond a hole, on a connection with refused messages: dropped, TCP sends it again.
        SmppBeyondHole = 12, "smpp_beyond_hole";
        /// The flow, with refused messages, is being worked on by another CPU: dropped, TCP sends it again.
        SmppBusy = 13, "smpp_busy";
        /// A TCP segment from a port of TLS.
        TlsStream = 14, "tls_stream";
    }
}

impl EgressOutcome {
    /// Room in the map `EGRESS_OUTCOMES`; more than the outcomes of today.
    pub const SLOTS: usize = 32;

    /// Whether a packet with the outcome of that index is dropped. Only what must not reach a client unchanged is: TCP
    /// sends it again.
    #[must_use]
    #[inline(always)]
    pub const fn drops(index: usize) -> bool {
        index == Self::SmppBeyondHole as usize || index == Self::SmppBusy as usize
    }
}

/// What the program returns to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// On to the stack.
    Pass,
    /// Gone.
    Drop,
    /// Turned into its answer, and back out where it came in.
    Answer,
    /// Turned into a reset of its connection, and on to the stack; dropped where it cannot be.
    Reset,
}

impl Outcome {
    /// Room in the map `OUTCOMES`; more than the outcomes of today.
    pub const SLOTS: usize = 64;

    /// The one place where an outcome becomes a verdict.
    #[must_use]
    #[inline(always)]
    pub const fn verdict(self) -> Verdict {
        match self {
            Self::NotOurs
            | Self::Truncated
            | Self::Fragment
            | Self::Allowed
            | Self::BannedObserved
            | Self::FloodObserved
            | Self::SipAdmitted
            | Self::SipInDialog
            | Self::SipResponse
            | Self::SipRepeated
            | Self::SipObserved
            | Self::SipMalformed
            | Self::SipDoubtful
            | Self::SipKeepalive
            | Self::SipStream
            | Self::SmppAdmitted
            | Self::SmppCarried
            | Self::SmppObserved
            | Self::SmppUnsynchronised
            | Self::SmppMalformed
            | Self::SmppRefused
            | Self::TlsStream
            | Self::SipUnframed
            | Self::SipRefused
            | Self::Unjudged => Verdict::Pass,
            Self::Banned
            | Self::FloodSource
            | Self::FloodAccount
            | Self::SipOverSource
            | Self::SipOverAccount
            | Self::SipAckAbsorbed
            | Self::SipOverCalls
            | Self::SipOverTrunk
            | Self::SipSuspended
            | Self::SipForeignCaller
            | Self::SipDoubtfulRefused
            | Self::TcpUnclear
            | Self::HeadersHidden
            | Self::SipBeyondHole
            | Self::SmppOverSource
            | Self::SmppOverAccount
            | Self::SmppOverBinds
            | Self::SmppSuspended
            | Self::SmppBeyondHole
            | Self::SmppBusy
            | Self::ConnectionSuspended
            | Self::ConnectionOverSource
            | Self::ConnectionOverAccount => Verdict::Drop,
            Self::SipAnsweredSource
            | Self::SipAnsweredAccount
            | Self::SipAnsweredCalls
            | Self::SipAnsweredTrunk
            | Self::SipAnsweredSuspended
            | Self::SipAnsweredCaller => Verdict::Answer,
            Self::ResetBanned | Self::ResetSuspended => Verdict::Reset,
        }
    }
}
