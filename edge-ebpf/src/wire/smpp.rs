//! SMPP (Short Message Peer-to-Peer, versions 3.3, 3.4 and 5.0): headers of PDUs, and the called number.

mod destinations;

pub use self::destinations::{DESTINATIONS_MAX, Destinations};
use super::number;
use crate::abi::{ADDRESS_BYTES, Command, SYSTEM_ID_BYTES};
use crate::stream::PREFIX_BYTES;
use crate::verifier;

/// Octets of a PDU's header (SMPP 3.4, 3.2).
pub const HEADER_BYTES: usize = 16;

/// The longest PDU that is believed: a `message_payload` of 65,535 octets (SMPP 3.4, 5.3.2.32) and as much
/// again for everything else. A larger length is not SMPP: `GET ` or a TLS record read as one is above 2^28.
pub const PDU_BYTES_MAX: u32 = 128 * 1024;

/// Octets of the smallest usual `submit_sm`: the header, and of every field its least (SMPP 3.4, 4.4.1).
const SUBMIT_BYTES_MIN: u32 = HEADER_BYTES as u32 + 17;

/// Octets of the buffer in which a PDU's first bytes are read: addressed by 7 bits, with room to read words
/// and to append beyond.
pub const PREFIX_ROOM: usize = 256;

/// Set in the `command_id` of every response (SMPP 3.4, 3.2).
pub const RESPONSE: u32 = 0x8000_0000;

/// Values of `command_id` (SMPP 3.4, 5.1.2.1; SMPP 5.0, 4.7.5).
pub mod id {
    /// Answers what cannot be answered otherwise.
    pub const GENERIC_NACK: u32 = 0x8000_0000;
    /// Opens a session that receives.
    pub const BIND_RECEIVER: u32 = 0x0000_0001;
    /// Opens a session that sends.
    pub const BIND_TRANSMITTER: u32 = 0x0000_0002;
    /// Asks for the state of a message.
    pub const QUERY_SM: u32 = 0x0000_0003;
    /// Submits a message to one destination.
    pub const SUBMIT_SM: u32 = 0x0000_0004;
    /// Delivers a message or a receipt to the ESME.
    pub const DELIVER_SM: u32 = 0x0000_0005;
    /// Ends a session.
    pub const UNBIND: u32 = 0x0000_0006;
    /// Changes a message that was submitted.
    pub const REPLACE_SM: u32 = 0x0000_0007;
    /// Withdraws a message that was submitted.
    pub const CANCEL_SM: u32 = 0x0000_0008;
    /// Opens a session that sends and receives (since 3.4).
    pub const BIND_TRANSCEIVER: u32 = 0x0000_0009;
    /// Asks an ESME to bind (since 3.4).
    pub const OUTBIND: u32 = 0x0000_000b;
    /// Asks whether the other side is there.
    pub const ENQUIRE_LINK: u32 = 0x0000_0015;
    /// Submits a message to many destinations.
    pub const SUBMIT_MULTI: u32 = 0x0000_0021;
    /// Says that a subscriber is there (since 3.4).
    pub const ALERT_NOTIFICATION: u32 = 0x0000_0102;
    /// Carries data in either direction (since 3.4).
    pub const DATA_SM: u32 = 0x0000_0103;
    /// Broadcasts to cells (since 5.0).
    pub const BROADCAST_SM: u32 = 0x0000_0111;
    /// Asks for the state of a broadcast (since 5.0).
    pub const QUERY_BROADCAST_SM: u32 = 0x0000_0112;
    /// Withdraws a broadcast (since 5.0).
    pub const CANCEL_BROADCAST_SM: u32 = 0x0000_0113;
    /// First of the vendors' own (SMPP 3.4, 5.1.2.1).
    pub const VENDOR_FIRST: u32 = 0x0001_0200;
    /// Last of the vendors' own.
    pub const VENDOR_LAST: u32 = 0x0001_02ff;
}

/// Type of number: letters and digits, not a number (SMPP 3.4, 5.2.5).
const TON_ALPHANUMERIC: u8 = 5;
/// `dest_flag`: an address, not the name of a distribution list (SMPP 3.4, 4.5.1.1).
pub(crate) const DEST_FLAG_ADDRESS: u8 = 1;
/// `dest_flag`: the name of a distribution list.
const DEST_FLAG_LIST: u8 = 2;
/// Octets of a `service_type` with the zero at its end, at most (SMPP 3.4, 5.2.11).
const SERVICE_TYPE_BYTES: u32 = 6;
/// Up to where the source address of a message can reach: behind `service_type`, `source_addr_ton` and `source_addr_npi`.
const SOURCE_END_MAX: u32 = HEADER_BYTES as u32 + SERVICE_TYPE_BYTES + 2 + ADDRESS_BYTES as u32;
/// The most destinations that a `submit_multi` may have (SMPP 3.4, 4.5.1).
const DESTINATIONS_OF_ONE: u32 = 254;
/// Words of a C-octet string that are searched for its end: 24 octets hold any address of a `submit_sm`
/// (21, SMPP 3.4, 4.4.1). `data_sm` allows 65 (4.7.1), which no numbering plan uses.
pub(crate) const ADDRESS_WORDS: usize = ADDRESS_BYTES / 8;

/// How many messages at most so many octets may be whose framing is not known; at least one.
#[must_use]
#[inline(always)]
pub(crate) const fn messages_in(octets: u32) -> u32 {
    if octets <= SUBMIT_BYTES_MIN { 1 } else { octets.div_ceil(SUBMIT_BYTES_MIN) }
}

/// A PDU's header (SMPP 3.4, 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// `command_length`: octets of the PDU, this header included.
    pub length: u32,
    /// `command_id`: see [`id`].
    pub id: u32,
    /// `command_status`: zero in requests.
    pub status: u32,
    /// `sequence_number`: pairs requests and responses.
    pub sequence: u32,
}

impl Header {
    /// The header in its first octets.
    #[must_use]
    #[inline(always)]
    pub const fn parse(octets: [u8; HEADER_BYTES]) -> Self {
        let [l0, l1, l2, l3, i0, i1, i2, i3, t0, t1, t2, t3, s0, s1, s2, s3] = octets;
        Self::from_words(
            u64::from_be_bytes([l0, l1, l2, l3, i0, i1, i2, i3]),
            u64::from_be_bytes([t0, t1, t2, t3, s0, s1, s2, s3]),
        )
    }

    /// The header in its first octets, given as two big-endian words: they stay in registers.
    #[must_use]
    #[inline(always)]
    pub const fn from_words(first: u64, second: u64) -> Self {
        Self {
            length: (first >> 32) as u32,
            id: first as u32,
            status: (second >> 32) as u32,
            sequence: second as u32,
        }
    }

    /// Whether the length can be one. Any `command_id` is framed: a server answers one that it does not know
    /// and reads on.
    #[must_use]
    #[inline(always)]
    pub const fn has_sane_length(self) -> bool {
        self.length >= HEADER_BYTES as u32 && self.length <= PDU_BYTES_MAX
    }

    /// Whether these octets, seen anywhere in a stream, are a header beyond reasonable doubt.
    ///
    /// Beside the command's name it asks for what every peer keeps to: status zero in requests and of two
    /// octets in responses (SMPP 3.4, 5.1.3), and a sequence number from 1 to 0x7fffffff (5.1.4). Without that
    /// the octets before a header and those of the header itself are taken for one too often: a text that
    /// ends in 0x80, say, before a length of 0x000001c8, reads as `bind_receiver_resp`.
    #[must_use]
    #[inline(always)]
    pub const fn is_plausible(self) -> bool {
        let status_max = if self.id & RESPONSE == 0 { 0 } else { 0xffff };
        self.has_sane_length()
            && self.status <= status_max
            && self.sequence != 0
            && self.sequence <= 0x7fff_ffff
            && is_known(self.id)
    }

    /// How many messages these octets may stand for, seen anywhere in a stream, if a server takes them for a header: what it
    /// does not look at, status and sequence number, says nothing. Binds are counted, too.
    #[must_use]
    #[inline(always)]
    pub const fn messages_at_most(self) -> u32 {
        if !self.has_sane_length() {
            return 0;
        }
        match self.id {
            id::SUBMIT_MULTI => DESTINATIONS_OF_ONE,
            id::SUBMIT_SM | id::DATA_SM | id::BIND_RECEIVER | id::BIND_TRANSMITTER | id::BIND_TRANSCEIVER => {
                1
            }
            _ => 0,
        }
    }

    /// The name under which it is counted.
    #[must_use]
    #[inline(always)]
    pub const fn command(self) -> Command {
        match self.id {
            id::SUBMIT_SM => Command::SubmitSm,
            id::ENQUIRE_LINK => Command::EnquireLink,
            ENQUIRE_LINK_RESP => Command::EnquireLinkResp,
            DELIVER_SM_RESP => Command::DeliverSmResp,
            id::DATA_SM => Command::DataSm,
            DATA_SM_RESP => Command::DataSmResp,
            id::SUBMIT_MULTI => Command::SubmitMulti,
            id::BIND_RECEIVER => Command::BindReceiver,
            id::BIND_TRANSMITTER => Command::BindTransmitter,
            id::BIND_TRANSCEIVER => Command::BindTransceiver,
            id::UNBIND => Command::Unbind,
            UNBIND_RESP => Command::UnbindResp,
            id::QUERY_SM => Command::QuerySm,
            id::CANCEL_SM => Command::CancelSm,
            id::REPLACE_SM => Command::ReplaceSm,
            id::GENERIC_NACK => Command::GenericNack,
            other if other & RESPONSE == 0 => Command::OtherRequest,
            _ => Command::OtherResponse,
        }
    }
}

/// What a PDU is, a bit for each [`Command`]: its name is compared once, and asked about often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind(u32);

impl Kind {
    const SUBMITS: u32 = bit(Command::SubmitSm) | bit(Command::SubmitMulti) | bit(Command::DataSm);
    const BINDS: u32 =
        bit(Command::BindReceiver) | bit(Command::BindTransmitter) | bit(Command::BindTransceiver);

    /// That of the command with an index.
    #[must_use]
    #[inline(always)]
    pub fn from_index(index: u32) -> Self {
        // Hidden: LLVM would ask for ranges of the index instead of bits, and the verifier would follow each of them.
        Self(verifier::opaque(1 << (index & 31)) as u32)
    }

    /// Whether it is that command.
    #[must_use]
    #[inline(always)]
    pub const fn is(self, command: Command) -> bool {
        self.0 & bit(command) != 0
    }

    /// Whether it is a message: counted against `smpp.submit` (SMPP 3.4, 4.4, 4.5, 4.7).
    #[must_use]
    #[inline(always)]
    pub const fn is_submit(self) -> bool {
        self.0 & Self::SUBMITS != 0
    }

    /// Whether it asks for a session: counted against `smpp.bind` (SMPP 3.4, 4.1).
    #[must_use]
    #[inline(always)]
    pub const fn is_bind(self) -> bool {
        self.0 & Self::BINDS != 0
    }
}

#[inline(always)]
const fn bit(command: Command) -> u32 {
    1 << command.index()
}

/// `command_id` of the answer to an `enquire_link`.
pub const ENQUIRE_LINK_RESP: u32 = id::ENQUIRE_LINK | RESPONSE;
const DELIVER_SM_RESP: u32 = id::DELIVER_SM | RESPONSE;
const DATA_SM_RESP: u32 = id::DATA_SM | RESPONSE;
const UNBIND_RESP: u32 = id::UNBIND | RESPONSE;

/// Whether the specification names this `command_id` or gives it to vendors.
#[must_use]
#[inline(always)]
pub const fn is_known(command_id: u32) -> bool {
    if command_id == id::GENERIC_NACK {
        return true;
    }
    let request = command_id & !RESPONSE;
    matches!(
        request,
        id::BIND_RECEIVER..=id::BIND_TRANSCEIVER
            | id::OUTBIND
            | id::ENQUIRE_LINK
            | id::SUBMIT_MULTI
            | id::ALERT_NOTIFICATION
            | id::DATA_SM
            | id::BROADCAST_SM..=id::CANCEL_BROADCAST_SM
            | id::VENDOR_FIRST..=id::VENDOR_LAST
    )
}

/// Octets of a bind up to the end of its `system_id`, where that is as long as it may be.
pub const BIND_BYTES: u32 = HEADER_BYTES as u32 + SYSTEM_ID_BYTES as u32;

/// The `system_id` of a bind whose first octets `pdu` holds (SMPP 3.4, 4.1.1), in memory's order and zero-padded.
#[must_use]
#[inline(always)]
pub fn system_id(pdu: &[u8; PREFIX_ROOM]) -> [u64; 2] {
    let (first, second) = (
        verifier::prefix_word(pdu, HEADER_BYTES as u32),
        verifier::prefix_word(pdu, HEADER_BYTES as u32 + 8),
    );
    let length = first_zero(first);
    if length < 8 { [lowest(first, length), 0] } else { [first, lowest(second, first_zero(second))] }
}

/// The lowest `octets` of a word, at most 8.
#[inline(always)]
pub(crate) const fn lowest(word: u64, octets: u32) -> u64 {
    if octets >= 8 { word } else { word & ((1 << (8 * octets)) - 1) }
}

/// Whether it answers a message.
#[must_use]
#[inline(always)]
pub const fn is_message_resp(command_id: u32) -> bool {
    const SUBMIT_SM_RESP: u32 = id::SUBMIT_SM | RESPONSE;
    const SUBMIT_MULTI_RESP: u32 = id::SUBMIT_MULTI | RESPONSE;
    matches!(command_id, SUBMIT_SM_RESP | SUBMIT_MULTI_RESP | DATA_SM_RESP)
}

/// Whether it answers a request for a session.
#[must_use]
#[inline(always)]
pub const fn is_bind_resp(command_id: u32) -> bool {
    command_id & RESPONSE != 0
        && matches!(command_id & !RESPONSE, id::BIND_RECEIVER | id::BIND_TRANSMITTER | id::BIND_TRANSCEIVER)
}

/// What the source address of a message is to a list of sender IDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Not all of it is there.
    Cut,
    /// Empty, which leaves it to the server.
    Empty,
    /// To be looked up.
    Named,
    /// Behind a service type, or of a length, that the specification does not allow; servers read it all the same.
    Unreadable,
}

/// Reads the source address of a message; `put` gets its octets with the zero at their end, zero-padded, as words in
/// memory's order. `pdu` holds the first `held` octets of the PDU.
#[must_use]
#[inline(always)]
pub fn sender(pdu: &[u8; PREFIX_ROOM], held: u32, mut put: impl FnMut(usize, u64)) -> Sender {
    let service = first_zero(verifier::prefix_word(pdu, HEADER_BYTES as u32));
    if service >= SERVICE_TYPE_BYTES {
        put(0, 0);
        let is_seen = held >= HEADER_BYTES as u32 + SERVICE_TYPE_BYTES;
        return if is_seen { Sender::Unreadable } else { Sender::Cut };
    }
    // service_type with its zero, source_addr_ton, source_addr_npi.
    let at = HEADER_BYTES as u32 + service + 3;
    let (mut length, mut has_ended) = (0, false);
    for index in 0..ADDRESS_WORDS {
        let octets = verifier::prefix_word(pdu, at + 8 * index as u32);
        let step = first_zero(octets);
        put(index, if has_ended { 0 } else { lowest(octets, step) });
        if !has_ended {
            length += step;
        }
        has_ended |= step < 8;
    }
    if !has_ended {
        return if at + length <= held { Sender::Unreadable } else { Sender::Cut };
    }
    if at + length >= held {
        return Sender::Cut;
    }
    if length == 0 { Sender::Empty } else { Sender::Named }
}

/// The destinations of a `submit_multi` beyond the first (SMPP 3.4, 4.5.1: `number_of_dests`, 1 to 254); a distribution list
/// counts as one, because how many it names is the server's to know.
///
/// `pdu` holds the first [`PREFIX_BYTES`] octets of the PDU, or all of it, of that `length`. Zero where the number is not
/// within them; as many as there can be where it stands behind a string that is longer than the specification allows.
#[must_use]
#[inline(always)]
pub fn further_destinations(pdu: &[u8; PREFIX_ROOM], length: u32) -> u32 {
    let held = if length < PREFIX_BYTES as u32 { length } else { PREFIX_BYTES as u32 };
    match destination(pdu) {
        Some(at) if at < held => u32::from(verifier::prefix_byte(pdu, at)).saturating_sub(1),
        // In sight for certain, and not what an earlier message left there.
        None if held >= SOURCE_END_MAX => DESTINATIONS_OF_ONE - 1,
        _ => 0,
    }
}

/// Where the destination of a message begins, or for `submit_multi` the number of them: behind service type and source
/// address (SMPP 3.4, 4.4.1, 4.5.1, 4.7.1).
#[inline(always)]
fn destination(pdu: &[u8; PREFIX_ROOM]) -> Option<u32> {
    // service_type; then source_addr_ton and source_addr_npi.
    let service = first_zero(verifier::prefix_word(pdu, HEADER_BYTES as u32));
    if service >= SERVICE_TYPE_BYTES {
        return None;
    }
    let at = HEADER_BYTES as u32 + service + 3;
    let source = string_length(|after| verifier::prefix_word(pdu, at + after));
    if source < ADDRESS_BYTES as u32 { Some(at + source + 1) } else { None }
}

/// The length of a C-octet string without its zero; [`ADDRESS_BYTES`] if it does not end before that many octets.
/// `word_at` gives the eight octets that stand so many behind its beginning.
#[inline(always)]
pub(crate) fn string_length(word_at: impl Fn(u32) -> u64) -> u32 {
    let mut length = 0;
    for _ in 0..ADDRESS_WORDS {
        let step = first_zero(word_at(length));
        length += step;
        if step < 8 {
            break;
        }
    }
    length
}

/// The first `digits` digits of the called number of a `submit_sm` or `data_sm`, as [`number::prefix`] gives them.
///
/// `pdu` holds the first `held` octets of the PDU; what lies behind them is not looked at. The number is
/// `destination_addr` (SMPP 3.4, 4.4.1, 4.7.1); a `+` or other sign before the digits is skipped. `None`: not a
/// number, shorter than `digits`, or not within `held`.
#[must_use]
#[inline(always)]
pub fn called_prefix(pdu: &[u8; PREFIX_ROOM], held: u32, digits: u32) -> Option<u32> {
    address_prefix(pdu, destination(pdu)?, held, digits)
}

/// The same of the address that begins at `at` with its type of number.
#[inline(always)]
fn address_prefix(pdu: &[u8; PREFIX_ROOM], mut at: u32, held: u32, digits: u32) -> Option<u32> {
    if verifier::prefix_byte(pdu, at) == TON_ALPHANUMERIC {
        return None;
    }
    // dest_addr_ton, dest_addr_npi.
    at += 2;
    let mut text = verifier::prefix_word(pdu, at);
    let signs = leading_signs(text);
    if signs != 0 {
        at += signs;
        text = verifier::prefix_word(pdu, at);
    }
    if at + digits > held {
        return None;
    }
    number::prefix(text, digits)
}

/// Index of the first zero byte, counted from the lowest; 8 if there is none.
#[must_use]
#[inline(always)]
pub const fn first_zero(word: u64) -> u32 {
    first_marked(word.wrapping_sub(ONES) & !word & MARKS)
}

/// Bytes before the first digit, if a digit comes before the string's end; else 0.
#[inline(always)]
pub(crate) const fn leading_signs(word: u64) -> u32 {
    // A byte is a digit if, with the high half of '0' taken off, it is below 10; the mark is the carry.
    let bare = word ^ 0x3030_3030_3030_3030;
    let digits = !((bare & !MARKS).wrapping_add(0x7676_7676_7676_7676) | bare) & MARKS;
    let first = first_marked(digits);
    if first < first_zero(word) { first } else { 0 }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const MARKS: u64 = 0x8080_8080_8080_8080;

/// Index of the lowest byte of which the highest bit is set, of a word with no other bits set; 8 if none.
#[inline(always)]
const fn first_marked(marks: u64) -> u32 {
    if marks == 0 {
        return 8;
    }
    // BPF has no instruction for this: the lowest mark alone, times a word that brings its index on top.
    let lowest = (marks & marks.wrapping_neg()) >> 7;
    (lowest.wrapping_mul(0x0001_0203_0405_0607) >> 56) as u32
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on panics where it stands")]
mod tests;
