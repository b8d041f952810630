//! Streams of generated messages, cut, repeated and reordered, against a reading of the messages as they were written.

mod refusals;
mod sender;
mod spoilt;

use proptest::prelude::*;
use zerocopy::FromZeros as _;

use super::{CLASSES, Finding, Reader, SipFlow};
use crate::abi::{Class, Method};
use crate::stream::Segment;

/// One message as it was written: an independent account of what the framer must find.
#[derive(Clone, Debug)]
struct Written {
    octets: Vec<u8>,
    method: Method,
    is_in_dialog: bool,
}

/// Messages by method, and requests outside and within dialogs by class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counted {
    methods: [u32; Method::SLOTS],
    initial: [u32; CLASSES],
    in_dialog: [u32; CLASSES],
}

impl Counted {
    fn of(messages: &[Written]) -> Self {
        let mut counted = Self::default();
        for message in messages {
            counted.methods[message.method.index()] += 1;
            if message.method >= Method::Status1xx {
                continue;
            }
            let class = match message.method {
                Method::Invite => Class::SipInvite,
                Method::Register => Class::SipRegister,
                Method::Options => Class::SipOptions,
                Method::Message => Class::SipMessage,
                _ => Class::SipOther,
            };
            let scope = if message.is_in_dialog { &mut counted.in_dialog } else { &mut counted.initial };
            scope[class.index()] += 1;
        }
        counted
    }

    fn add(&mut self, reader: &Reader) {
        for (index, count) in self.methods.iter_mut().enumerate() {
            *count += reader.tally.method(index);
        }
        for index in 0..CLASSES {
            self.initial[index] += reader.tally.initial.of(index);
            self.in_dialog[index] += reader.tally.in_dialog.of(index);
        }
    }

    fn sum(&self) -> u32 {
        self.methods.iter().sum()
    }
}

/// The way in, at the end of which somebody counts.
struct Wire {
    flow: SipFlow,
    reader: Box<Reader>,
    counted: Counted,
    findings: Vec<Finding>,
}

const ISN: u32 = 0xffff_fc00;

impl Wire {
    /// Where a SYN was seen, or not.
    fn new(seen: bool) -> Self {
        let mut flow = SipFlow::new_zeroed();
        flow.begin_midstream();
        if seen {
            flow.syn(ISN);
        }
        let reader = Box::new(Reader::new_zeroed());
        Self { flow, reader, counted: Counted::default(), findings: Vec::new() }
    }

    /// The octets of the stream from `from` to `to` arrive; without `passes` they are refused.
    fn bring(&mut self, stream: &[u8], from: usize, to: usize, passes: bool) {
        let finding = self.read(stream, from, to);
        self.settle(finding, passes);
    }

    fn read(&mut self, stream: &[u8], from: usize, to: usize) -> Finding {
        let segment = Segment {
            seq: ISN.wrapping_add(1).wrapping_add(u32::try_from(from).unwrap()),
            payload: 3,
            len: u32::try_from(to - from).unwrap(),
        };
        let frame = [&b"..."[..], &stream[from..to], b"trailer\n"].concat();
        self.reader.run(&self.flow, &frame[..], segment)
    }

    fn settle(&mut self, finding: Finding, passes: bool) {
        if passes {
            self.findings.push(finding);
            self.counted.add(&self.reader);
            self.reader.commit(&mut self.flow);
        } else {
            self.reader.refuse(&mut self.flow);
        }
    }
}

fn text(parts: &[&str]) -> Vec<u8> {
    parts.concat().into_bytes()
}

const METHODS: [(&str, Method); 11] = [
    ("INVITE", Method::Invite),
    ("ACK", Method::Ack),
    ("BYE", Method::Bye),
    ("CANCEL", Method::Cancel),
    ("REGISTER", Method::Register),
    ("OPTIONS", Method::Options),
    ("MESSAGE", Method::Message),
    ("SUBSCRIBE", Method::Subscribe),
    ("NOTIFY", Method::Notify),
    ("PUBLISH", Method::Publish),
    ("FROBNICATE", Method::Extension),
];

/// To headers without a tag, and with one.
const TO: [(&str, bool); 24] = [
    ("To: <sip:+441632960123@198.51.100.10>\r\n", false),
    ("To: <sip:+441632960123@198.51.100.10>;tag=8a7f\r\n", true),
    ("t: sip:bob@example.com;tag=x\r\n", true),
    ("T  \t :sip:bob@example.com\r\n", false),
    ("to:\"a \\\" ;tag=no\" <sip:b;tag=no@c>\r\n", false),
    ("TO : \"a \\\\\" <sip:b@c> ; tag = yes\r\n", true),
    ("To: <sip:b@c>\r\n ;tag=folded\r\n", true),
    ("To:\r\n\t<sip:b@c>;\r\n tag=folded\r\n", true),
    ("To: <sip:b@c>;other=tag;tagged=1\r\n", false),
    ("To: <sip:b@c>;tag=\r\n", false),
    ("To: <sip:b@c>;tag=1;tag=\r\n", false),
    ("To: <sip:b@c>;tag=1;x=y\r\n ;tag\r\n", false),
    ("To: <sip:b@c>;tag=\r\n late\r\n", true),
    ("To: <sip:b@c>;ta\r\n g=x\r\n", false),
    ("To: <sip:b@c>;\r\n \t           \ttag=x\r\n", true),
    ("To: <sip:b@c>;tag=first\r\nTo: <sip:b@c>\r\n", false),
    ("t: <sip:b@c>;tag=first\r\nTimestamp: 1\r\nTo\t: <sip:b@c>;tag=x\r\n", false),
    ("To: <sip:b@c>\rX: ;tag=x\r\n", false),
    ("Subject: x\rt: <sip:b@c>\r\nTo: <sip:b@c>;tag=x\r\n", false),
    ("Subject: x\rTo        : <sip:b@c>\r\nTo: <sip:b@c>;tag=x\r\n", false),
    ("Subject: x\rTom: y\r\nTo: <sip:b@c>;tag=x\r\n", true),
    ("To: <sip:b@c>\0;tag=x\r\n", false),
    ("To: <sip:b@c>\r\nt: <sip:b@c>;tag=second\r\n", false),
    ("Topic: ;tag=x\r\nX-To: ;tag=x\r\nTo: <sip:b@c>\n", false),
];

const BODY: [&str; 6] = [
    "",
    "v=0\r\n",
    "\r\n\r\n",
    "INVITE sip:a@b SIP/2.0\r\nTo: <sip:b@c>\r\nContent-Length: 0\r\n\r\n",
    "a body without an end of line",
    "\n\nContent-Length: 99\r\n\r\n",
];

const BETWEEN: [&str; 5] = ["", "\r\n", "\r\n\r\n", "\n", "\r\n\r\n\r\n\r\n\r\n\r\n"];

const OTHER: [&str; 6] = [
    "Via: SIP/2.0/TCP 203.0.113.7:40000;branch=z9hG4bKnashds8\r\n",
    "X: y\r\n",
    "Subject: a folded\r\n line; tag=x\r\n",
    "Contact: <sip:a@b>;tag=no\r\nl2: x\r\nLicense : 5\r\n",
    "X-Long: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\
     xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n",
    "Content-Type: application/sdp\r\nContent-Encoding: x\r\nContent-Lengthy: 7\r\n",
];

fn message() -> impl Strategy<Value = Written> {
    let length = prop_oneof![
        Just("Content-Length: "),
        Just("l:"),
        Just("L \t : "),
        Just("CONTENT-LENGTH       :\t"),
        Just("content-length:\r\n "),
    ];
    let others = proptest::collection::vec(0..OTHER.len(), 0..4);
    (0..METHODS.len() + 6, 0..TO.len(), 0..BODY.len(), 0..BETWEEN.len(), length, others, any::<bool>())
        .prop_map(|(kind, to, body, between, length, others, last)| {
            let (to, is_tagged) = TO[to];
            let body = BODY[body];
            let (line, method) = if let Some((name, method)) = METHODS.get(kind) {
                (format!("{name} sip:+441632960123@198.51.100.10 SIP/2.0\r\n"), *method)
            } else {
                let hundred = kind - METHODS.len();
                let line = format!("SIP/2.0 {}80 Ringing; tag=x\r\n", hundred + 1);
                (line, Method::ALL[Method::Status1xx.index() + hundred])
            };
            let is_plain = matches!(method, Method::Ack | Method::Bye | Method::Cancel);
            let is_in_dialog = is_plain || is_tagged && method != Method::Register;
            let others: String = others.iter().map(|index| OTHER[*index]).collect();
            let length = format!("{length}{}\r\n", body.len());
            let (first, second) = if last { (to, &length[..]) } else { (&length[..], to) };
            let octets = text(&[BETWEEN[between], &line, &others, first, &others, second, "\r\n", body]);
            Written { octets, method, is_in_dialog }
        })
}

fn messages() -> impl Strategy<Value = Vec<Written>> {
    proptest::collection::vec(message(), 1..8)
}

fn stream_of(messages: &[Written]) -> Vec<u8> {
    messages.iter().flat_map(|message| message.octets.clone()).collect()
}

/// Where messages begin and end in their stream.
fn places(messages: &[Written]) -> Vec<(usize, usize)> {
    let mut at = 0;
    let place = |message: &Written| {
        let from = at;
        at += message.octets.len();
        (from, at)
    };
    messages.iter().map(place).collect()
}

/// Where a stream is cut, from its beginning to its end.
fn cuts(stream: &[u8], sizes: &[usize]) -> Vec<(usize, usize)> {
    let mut cuts = Vec::new();
    let mut at = 0;
    for size in sizes.iter().cycle() {
        let end = (at + size).min(stream.len());
        cuts.push((at, end));
        at = end;
        if at == stream.len() {
            return cuts;
        }
    }
    cuts
}

/// From single octets to more than the reader looks at together.
fn sizes() -> impl Strategy<Value = Vec<usize>> {
    let size = prop_oneof![2 => 1_usize..4, 3 => 1_usize..60, 3 => 1_usize..1500, 1 => 1400_usize..9000];
    proptest::collection::vec(size, 4..20)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12_000, ..ProptestConfig::default() })]

    /// However it is cut, whatever of it comes twice or is dropped and comes again.
    #[test]
    fn every_message_is_counted_once_however_the_stream_is_cut(
        messages in messages(),
        sizes in sizes(),
        luck in proptest::collection::vec(0_u8..8, 1..40),
    ) {
        let stream = stream_of(&messages);
        let mut wire = Wire::new(true);
        for (index, (from, to)) in cuts(&stream, &sizes).into_iter().enumerate() {
            let back = |octets: usize| from.saturating_sub(octets);
            match luck[index % luck.len()] {
                0 => wire.bring(&stream, from, to, false),
                1 => wire.bring(&stream, back(700), from, true),
                2 => wire.bring(&stream, back(to - from), to, true),
                3 => wire.bring(&stream, back(3), to, true),
                _ => {}
            }
            wire.bring(&stream, from, to, true);
            if luck[index % luck.len()] == 4 {
                wire.bring(&stream, back(1), to, true);
            }
        }
        prop_assert_eq!(&wire.counted, &Counted::of(&messages));
        prop_assert!(!wire.findings.contains(&Finding::Unframed));
    }

}

proptest! {
    /// A segment a message, as trunks send them: one that is lost comes later, and is counted then.
    #[test]
    fn a_message_that_was_lost_is_counted_when_it_comes(
        messages in proptest::collection::vec(message(), 3..14),
        lost in any::<proptest::sample::Index>(),
        later in 1_usize..8,
    ) {
        let stream = stream_of(&messages);
        let places = places(&messages);
        let lost = lost.index(messages.len() - 1);
        let mut order: Vec<usize> = (0..messages.len()).filter(|index| *index != lost).collect();
        order.insert((lost + later).min(order.len()), lost);
        let mut wire = Wire::new(true);
        for index in order {
            let (from, to) = places[index];
            wire.bring(&stream, from, to, true);
        }
        prop_assert_eq!(&wire.counted, &Counted::of(&messages));
    }

    /// Several in a row that were lost, and come from the first on or from the last on; and all that TCP sends again then.
    #[test]
    fn messages_that_were_lost_together_are_counted_once(
        messages in proptest::collection::vec(message(), 4..14),
        lost in any::<proptest::sample::Index>(),
        run in 1_usize..5,
        last_first: bool,
        again in any::<proptest::sample::Index>(),
    ) {
        let stream = stream_of(&messages);
        let places = places(&messages);
        let lost = 1 + lost.index(messages.len() - 2);
        let behind = (lost + run).min(messages.len() - 1);
        let mut order: Vec<usize> = (0..lost).chain(behind..messages.len()).collect();
        if last_first {
            order.extend((lost..behind).rev());
        } else {
            order.extend(lost..behind);
        }
        let mut wire = Wire::new(true);
        for index in order {
            let (from, to) = places[index];
            wire.bring(&stream, from, to, true);
        }
        prop_assert_eq!(&wire.counted, &Counted::of(&messages));
        for (from, to) in &places[again.index(messages.len())..] {
            wire.bring(&stream, *from, *to, true);
        }
        prop_assert_eq!(&wire.counted, &Counted::of(&messages), "and none of them again");
    }

    /// Reordered at will, the stream is counted wrongly by a message for each place at most (bodies that look like messages
    /// may be taken for some), and it is found again.
    #[test]
    fn a_reordered_stream_is_found_again(
        messages in messages(),
        sizes in sizes(),
        swaps in proptest::collection::vec((any::<proptest::sample::Index>(), 1_usize..4), 0..6),
        tail in message(),
    ) {
        let stream = stream_of(&messages);
        let mut pieces = cuts(&stream, &sizes);
        for (at, by) in &swaps {
            let at = at.index(pieces.len());
            let other = (at + by).min(pieces.len() - 1);
            pieces.swap(at, other);
        }
        let mut wire = Wire::new(true);
        for (from, to) in pieces {
            wire.bring(&stream, from, to, true);
        }
        let moved = 2 * swaps.len();
        let bodies = messages.iter().filter(|message| {
            message.octets.windows(9).filter(|octets| *octets == b" SIP/2.0\r").count() > 1
        });
        let most = messages.len() + bodies.count() + moved;
        prop_assert!(wire.counted.sum() as usize <= most, "{} of {most}", wire.counted.sum());

        // What follows begins with a start line, and in a segment of its own.
        let tail = Written { octets: tail.octets.trim_ascii_start().to_vec(), ..tail };
        let whole = [stream.clone(), tail.octets.clone()].concat();
        let before = wire.counted.sum();
        wire.flow.main.phase = 0;
        wire.bring(&whole, stream.len(), whole.len(), true);
        prop_assert_eq!(wire.counted.sum(), before + 1);
    }

}

proptest! {
    /// Anything at all is read to its end without a panic, and within the steps that there are.
    #[test]
    fn any_octets_are_read_to_the_end(
        octets in proptest::collection::vec(prop_oneof![
            any::<u8>(), Just(b'\r'), Just(b'\n'), Just(b':'), Just(b' '), Just(b'l'), Just(b't'), Just(b'9'),
        ], 1..600),
        start in prop_oneof![Just(&b""[..]), Just(&b"INVITE sip:a SIP/2.0\r\n"[..]), Just(&b"SIP/2.0 200 OK\r\nl: 7\r\n"[..])],
        sizes in sizes(),
        seen: bool,
    ) {
        let stream = [start, &octets].concat();
        let mut wire = Wire::new(seen);
        for (from, to) in cuts(&stream, &sizes) {
            wire.bring(&stream, from, to, true);
            prop_assert_ne!(wire.findings.last(), Some(&Finding::Truncated));
        }
    }
}

fn one(stream: &str) -> Wire {
    let mut wire = Wire::new(true);
    wire.bring(stream.as_bytes(), 0, stream.len(), true);
    wire
}

#[test]
fn what_servers_may_read_differently_is_not_framed() {
    let head = "INVITE sip:a@b SIP/2.0\r\nTo: <sip:b@c>\r\n";
    for length in [
        "Content-Length: 5\r\nContent-Length: 0\r\n",
        "Content-Length: 5\r\nl: 5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x10\r\n",
        "Content-Length:\r\n",
        "Content-Length: 1048577\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length: 5\r\n 5\r\n",
        "Content-Length        : 5\r\n",
        "Content-Length: 5\r\nContent-Length \t       : 0\r\n",
        "l        : 5\r\n",
        "Content-Length\r\n : 5\r\n",
        "Content_Length: 0\r\nContent-Length: 5\r\n",
        "content\rlength: 0\r\nContent-Length: 5\r\n",
        "Subject: x\r\n Content-Length: 0\r\nContent-Length: 5\r\n",
        "Subject: x\r\n\t           \tcontent_length: 0\r\nContent-Length: 5\r\n",
        "Subject: x\r\n l : 0\r\nContent-Length: 5\r\n",
        "Content-Length: 1\n 5\r\n",
        "Content-Length: 5\rX\r\n",
        "Content-Length: \r5\r\n",
        "Subject: x\rContent-Length: 0\r\nContent-Length: 5\r\n",
        "Subject: x\r\rl\t: 0\r\nContent-Length: 5\r\n",
        "Max-Forwards: \rContent-Length: 0\r\nContent-Length: 5\r\n",
        "Content-Length: 5\n\nBYE sip:a@b SIP/2.0\r\nContent-Length: 0\r\n",
        "To\r\n : <sip:b@c>\r\n",
    ] {
        let wire = one(&format!("{head}{length}\r\nINVITE sip:hidden@b SIP/2.0\r\n\r\n"));
        assert_eq!(wire.findings, [Finding::Unframed], "{length:?}");
        assert_eq!(wire.counted.sum(), 0, "{length:?}");
    }
}

#[test]
fn what_is_no_sip_is_not_framed() {
    for stream in [
        "GET / HTTP/1.1\r\nHost: example\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03 a client's first words over TLS",
        "FOO sip:a@b SIP/9.0\r\n\r\n",
        "SIP/2.0 99 Nothing\r\n\r\n",
        "SIP/2.0 700 Nothing\r\n\r\n",
    ] {
        assert_eq!(one(stream).findings, [Finding::Unframed], "{stream:?}");
    }
}

/// White space behind the version, or another version: the headers say where the message ends, to whoever takes it.
#[test]
fn a_request_in_an_odd_line_is_counted_and_its_tag_not_believed() {
    let rest = "To: <sip:b@c>;tag=1\r\nContent-Length: 0\r\n\r\n";
    for line in [
        "INVITE sip:a@b SIP/2.0 \r\n",
        "INVITE sip:a@b SIP/2.0\t\r\n",
        "INVITE sip:a@b SIP/2.0x\r\n",
        "INVITE sip:a@b SIP/9.0\r\n",
        "INVITE sip:a@b \r\n",
        "INVITE\tsip:a@b SIP/2.0\r\n",
        "INVITE\r\nsip:a@b SIP/2.0\r\n",
        " \t\r\n invite sip:a@b SIP/2.0\r\n",
    ] {
        let wire = one(&format!("{line}{rest}INVITE sip:a@b SIP/2.0\r\n{rest}"));
        assert_eq!(wire.findings, [Finding::Framed], "{line:?}");
        assert_eq!((wire.counted.initial[0], wire.counted.in_dialog[0]), (1, 1), "{line:?}");
    }
}

#[test]
fn headers_without_an_end_are_lost() {
    let mut wire = Wire::new(true);
    let stream = ["INVITE sip:a@b SIP/2.0\r\n".to_owned(), "X: yyyyyyyy\r\n".repeat(7000)].concat();
    for (from, to) in cuts(stream.as_bytes(), &[1448]) {
        wire.bring(stream.as_bytes(), from, to, true);
    }
    assert_eq!(wire.findings.last(), Some(&Finding::Unframed));
}

/// A client that announces data far ahead must not have the rest of its stream taken for old.
#[test]
fn a_segment_far_ahead_hides_nothing() {
    let invite = "INVITE sip:a@b SIP/2.0\r\nTo: <sip:b@c>\r\nContent-Length: 0\r\n\r\n";
    let stream = invite.repeat(40);
    let mut wire = Wire::new(true);
    let far =
        Segment { seq: ISN.wrapping_add(500_000_000), payload: 0, len: u32::try_from(invite.len()).unwrap() };
    for (index, (from, to)) in cuts(stream.as_bytes(), &[invite.len()]).into_iter().enumerate() {
        if index % 10 == 5 {
            let far = Segment { seq: far.seq + u32::try_from(index).unwrap() * 1000, ..far };
            wire.reader.run(&wire.flow, invite.as_bytes(), far);
            wire.reader.commit(&mut wire.flow);
        }
        wire.bring(stream.as_bytes(), from, to, true);
    }
    assert_eq!(wire.counted.initial[0], 40);
}
