//! A sender's streams, and what is in them by a plain reading.

use super::{Counts, DIGITS};
use crate::stream::PREFIX_BYTES;
use crate::wire::smpp::{Header, RESPONSE, id};

/// A small generator (splitmix64), so that a seed names a whole run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// From `first` to `last`.
    pub(crate) fn between(&mut self, first: usize, last: usize) -> usize {
        first + self.below((last - first + 1) as u64) as usize
    }

    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// What one side of a session sends.
pub(super) struct Stream {
    pub(super) bytes: Vec<u8>,
}

impl Stream {
    /// A bind and `count` PDUs of every kind, texts of random octets.
    pub(super) fn random(random: &mut Random, count: usize) -> Self {
        Self::build(random, count, Random::bytes)
    }

    /// The same, but every text is full of what looks like PDUs.
    pub(super) fn with_pdus_in_texts(random: &mut Random, count: usize) -> Self {
        Self::build(random, count, |random, len| {
            let mut text = Vec::new();
            while text.len() < len {
                text.extend(pdu(random.pick(&[id::SUBMIT_SM, id::ENQUIRE_LINK]), 0, &[]));
            }
            text.truncate(len);
            text
        })
    }

    pub(super) fn enquire_links(count: usize) -> Self {
        Self { bytes: pdu(id::ENQUIRE_LINK, 0, &[]).repeat(count) }
    }

    fn build(random: &mut Random, count: usize, text: fn(&mut Random, usize) -> Vec<u8>) -> Self {
        let mut bytes = pdu(
            random.pick(&[id::BIND_RECEIVER, id::BIND_TRANSMITTER, id::BIND_TRANSCEIVER]),
            0,
            b"acme\0secret\0\0\x34\0\0\0",
        );
        for _ in 0..count {
            let command = random.pick(&[
                id::SUBMIT_SM,
                id::SUBMIT_SM,
                id::SUBMIT_SM,
                id::SUBMIT_SM,
                id::SUBMIT_MULTI,
                id::DATA_SM,
                id::ENQUIRE_LINK,
                id::ENQUIRE_LINK | RESPONSE,
                id::DELIVER_SM | RESPONSE,
                id::QUERY_SM,
                id::CANCEL_SM,
                id::GENERIC_NACK,
                id::BROADCAST_SM,
                id::VENDOR_FIRST + 7,
            ]);
            let status = if command & RESPONSE == 0 { 0 } else { random.below(0x500) as u32 };
            let len = random.pick(&[0, 3, 20, 70, 140, 160, 254, 900]);
            let text = text(random, random.0 as usize % (len + 1));
            let body = match command {
                id::SUBMIT_SM | id::SUBMIT_MULTI | id::DATA_SM => message(random, command, &text),
                id::ENQUIRE_LINK | id::GENERIC_NACK => Vec::new(),
                _ => text,
            };
            bytes.extend(pdu(command, status, &body));
        }
        Self { bytes }
    }

    /// Split by the lengths, nothing else.
    pub(super) fn reference(&self) -> Counts {
        self.reference_from(0)
    }

    /// The same for what begins at `from`, which must be the beginning of a PDU.
    pub(super) fn reference_from(&self, from: usize) -> Counts {
        let mut counts = Counts::default();
        let mut rest = &self.bytes[from..];
        while !rest.is_empty() {
            let header = Header::parse(rest[..16].try_into().unwrap());
            let (pdu, behind) = rest.split_at(header.length as usize);
            *counts.commands.entry(header.command().name()).or_default() += 1;
            counts.binds += u64::from(matches!(
                header.id,
                id::BIND_RECEIVER | id::BIND_TRANSMITTER | id::BIND_TRANSCEIVER
            ));
            if matches!(header.id, id::SUBMIT_SM | id::SUBMIT_MULTI | id::DATA_SM) {
                counts.submits += 1;
                counts.destinations += messages(pdu) - 1;
                for prefix in called(header.id, &pdu[16..]) {
                    *counts.called.entry(prefix).or_default() += 1;
                }
            }
            rest = behind;
        }
        counts
    }

    /// Where PDUs begin.
    pub(super) fn headers(&self) -> Vec<usize> {
        let mut headers = Vec::new();
        let mut at = 0;
        while at < self.bytes.len() {
            headers.push(at);
            at += Header::parse(self.bytes[at..at + 16].try_into().unwrap()).length as usize;
        }
        headers
    }
}

pub(super) fn pdu(command: u32, status: u32, body: &[u8]) -> Vec<u8> {
    let mut pdu = Vec::new();
    pdu.extend((16 + body.len() as u32).to_be_bytes());
    pdu.extend(command.to_be_bytes());
    pdu.extend(status.to_be_bytes());
    pdu.extend(7_u32.to_be_bytes());
    pdu.extend(body);
    pdu
}

fn message(random: &mut Random, command: u32, text: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(random.pick(&[&b"\0"[..], b"CMT\0", b"WAP\0", b"VMAIL\0"]));
    body.extend([5, 0]);
    body.extend(random.pick(&[&b"ACME\0"[..], b"\0", b"447700900123\0", b"12345678901234567890\0"]));
    if command == id::SUBMIT_MULTI {
        let number = random.pick(&[1, 1, 2, 17, 254]);
        body.push(number);
        for _ in 1..number.min(6) {
            // The name of a distribution list, or an address.
            if random.below(4) == 0 {
                body.extend(b"\x02friends\0");
            } else {
                body.push(1);
                body.extend(address(random));
            }
        }
        body.push(1);
    }
    body.extend(address(random));
    body.extend([0, 0, 0, 0, 0, 1, 0, 0, 0]);
    body.push(text.len().min(254) as u8);
    body.extend(text);
    body
}

fn address(random: &mut Random) -> Vec<u8> {
    let country = random.pick(&["44", "491", "+33", "8821", "1"]);
    format!("\x01\x01{country}{:08}\0", random.below(30) * 1_000_003).into_bytes()
}

/// How many messages a PDU stands for, read octet by octet; what lies behind its first octets is not looked at.
pub(crate) fn messages(pdu: &[u8]) -> u64 {
    let body = &pdu[16..pdu.len().min(PREFIX_BYTES)];
    let number = || {
        let service = body.iter().take(6).position(|&octet| octet == 0)?;
        let source = body.get(service + 3..)?;
        let length = source.iter().take(24).position(|&octet| octet == 0)?;
        Some(source.get(length + 1).map_or(1, |&number| u64::from(number).max(1)))
    };
    let is_multi = Header::parse(pdu[..16].try_into().unwrap()).id == id::SUBMIT_MULTI;
    let unknown = if pdu.len() < 48 { 1 } else { 254 };
    if is_multi { number().unwrap_or(unknown) } else { 1 }
}

/// The called prefixes, read octet by octet; what lies behind its first octets is not looked at.
fn called(command: u32, body: &[u8]) -> Vec<u32> {
    let string = |octets: &mut &[u8]| -> Vec<u8> {
        let length = octets.iter().position(|&octet| octet == 0).unwrap_or(octets.len());
        let (string, rest) = octets.split_at(length);
        *octets = rest.get(1..).unwrap_or_default();
        string.to_vec()
    };
    let prefix = |number: Vec<u8>| -> Option<u32> {
        let lead = number.strip_prefix(b"+").unwrap_or(&number).get(..DIGITS as usize)?;
        format!("1{}", std::str::from_utf8(lead).ok()?).parse().ok()
    };
    let mut rest = &body[..body.len().min(PREFIX_BYTES - 16)];
    let mut called = Vec::new();
    string(&mut rest);
    rest = &rest[2..];
    string(&mut rest);
    let is_multi = command == id::SUBMIT_MULTI;
    let number = if is_multi { rest[0] } else { 1 };
    rest = &rest[usize::from(is_multi)..];
    for _ in 0..number {
        let skipped = match rest.first() {
            Some(1) if is_multi => 3,
            Some(2) if is_multi => 1,
            Some(_) if !is_multi => 2,
            _ => break,
        };
        let is_list = is_multi && skipped == 1;
        rest = rest.get(skipped..).unwrap_or_default();
        let name = string(&mut rest);
        called.extend(if is_list { None } else { prefix(name) });
    }
    called
}
