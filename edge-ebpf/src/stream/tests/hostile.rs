//! Streams that are not SMPP, or are meant to mislead.

use proptest::prelude::*;
use zerocopy::FromZeros;

use super::DIGITS;
use super::peer::{Random, Stream, pdu};
use crate::abi::Command;
use crate::stream::{Finding, Flow, FlowState, Nobody, Segment, Walk};
use crate::wire::smpp::{PDU_BYTES_MAX, id};

/// A flow and what it makes of segments, each let through.
struct Edge {
    flow: Flow,
    walk: Walk,
}

impl Edge {
    fn connected() -> Self {
        let mut flow = Flow::new_zeroed();
        flow.syn(0);
        Self { flow, walk: Walk::new_zeroed() }
    }

    fn joined() -> Self {
        let mut flow = Flow::new_zeroed();
        flow.begin_midstream();
        Self { flow, walk: Walk::new_zeroed() }
    }

    /// A segment at `seq`; the first byte of the stream has 1.
    fn see(&mut self, seq: u32, payload: &[u8]) -> Finding {
        let segment = Segment { seq, payload: 0, len: payload.len() as u32 };
        let finding = self.walk.run(&self.flow, payload, segment, DIGITS, &mut Nobody);
        if finding == Finding::BeyondHole {
            self.walk.refuse(&mut self.flow);
        } else {
            self.walk.commit(&mut self.flow);
        }
        finding
    }

    /// Messages that the segment costs.
    fn cost(&self) -> u32 {
        self.walk.tally.submits + self.walk.tally.unread
    }
}

fn submit() -> Vec<u8> {
    pdu(id::SUBMIT_SM, 0, b"\0\x01\x01123\0\x01\x01447700900123\0\0\0\0\0\0\0\0\0\0\x05hello")
}

/// The least that a server takes for a message, 33 octets.
fn smallest_submit(status: u32) -> Vec<u8> {
    pdu(id::SUBMIT_SM, status, &[0; 17])
}

#[test]
fn a_length_that_cannot_be_one_marks_the_flow_and_costs_what_the_rest_may_hold() {
    for length in (0..16).chain([PDU_BYTES_MAX + 1, 0x1603_0102, 0x4745_5420, u32::MAX]) {
        let mut edge = Edge::connected();
        let mut stream = submit();
        stream.extend(length.to_be_bytes());
        stream.extend([0; 60]);
        assert_eq!(edge.see(1, &stream), Finding::Malformed, "length {length}");
        assert_eq!(edge.walk.tally.submits, 1, "the message before is counted; length {length}");
        assert_eq!(edge.walk.tally.unread, 2, "64 octets");
        assert_eq!(edge.flow.state, FlowState::Malformed as u32);
        let next = 1 + stream.len() as u32;
        for (len, messages) in [(1, 1), (33, 1), (34, 2), (33 * 42, 42)] {
            assert_eq!(edge.see(next, &vec![0; len]), Finding::Malformed);
            assert_eq!((edge.walk.tally.submits, edge.walk.tally.unread), (0, messages), "{len} octets");
        }
    }
}

#[test]
fn messages_behind_a_length_that_servers_skip_are_not_free() {
    let mut edge = Edge::connected();
    let messages = smallest_submit(0).repeat(42);
    assert_eq!(edge.see(1, &[&[0; 4], &messages[..]].concat()), Finding::Malformed);
    assert!(edge.walk.tally.unread >= 42);
    assert_eq!(edge.see(5 + messages.len() as u32, &messages), Finding::Malformed);
    assert_eq!(edge.walk.tally.unread, 42);
}

#[test]
fn lengths_at_the_bounds_are_framed() {
    for length in [16, 17, PDU_BYTES_MAX] {
        let mut edge = Edge::connected();
        let mut header = pdu(id::ENQUIRE_LINK, 0, &[]);
        header[..4].copy_from_slice(&length.to_be_bytes());
        assert_eq!(edge.see(1, &header), Finding::Framed, "length {length}");
        let next = 1 + length;
        // The octets up to there are data; only the next header counts.
        let rest = vec![0xff; length as usize - 16];
        for (index, part) in rest.chunks(60_000).enumerate() {
            assert_eq!(edge.see(17 + index as u32 * 60_000, part), Finding::Framed);
            assert_eq!(edge.walk.tally.commands_seen, 0);
        }
        assert_eq!(edge.see(next, &submit()), Finding::Framed);
        assert_eq!(edge.walk.tally.submits, 1);
    }
}

#[test]
fn a_command_that_nobody_knows_is_framed() {
    let mut edge = Edge::connected();
    let mut stream = pdu(0x00f4_0000, 0, &[0xff; 30]);
    stream.extend(submit());
    assert_eq!(edge.see(1, &stream), Finding::Framed);
    assert_eq!(edge.walk.tally.command(Command::OtherRequest), 1);
    assert_eq!(edge.walk.tally.submits, 1);
}

#[test]
fn a_repeated_syn_does_not_reset_the_flow_and_another_one_does() {
    let mut edge = Edge::connected();
    edge.see(1, &submit());
    let end = edge.flow.main.end;
    edge.flow.syn(0);
    assert_eq!(edge.flow.main.end, end);
    edge.flow.syn(5000);
    assert_eq!(edge.flow.main.end, 5001);
    assert_eq!(edge.see(5001, &submit()), Finding::Framed);
    assert_eq!(edge.walk.tally.submits, 1);
}

#[test]
fn a_false_syn_does_not_hide_what_follows() {
    // The receiver ignores a SYN within a connection (RFC 9293 3.10.7.4); the flow must find its way back.
    for isn in [0x1000_0000, 0x7000_0000, 0x9000_0000, 0xf000_0000] {
        let mut edge = Edge::connected();
        let mut seq = 1;
        edge.see(seq, &submit());
        edge.flow.syn(isn);
        for index in 0..9 {
            seq += submit().len() as u32;
            let finding = edge.see(seq, &submit());
            assert!(edge.cost() >= 1, "isn {isn:#x}");
            assert!(index < 4 || finding == Finding::Framed, "isn {isn:#x}, the {index}th: {finding}");
        }
    }
}

/// As many messages as a segment has room for, whose status is none, and a header as it should be.
fn hidden_messages() -> Vec<u8> {
    [smallest_submit(1).repeat(42), pdu(id::ENQUIRE_LINK, 0, &[])].concat()
}

#[test]
fn an_old_segment_does_not_move_the_flow_back() {
    let mut edge = Edge::joined();
    edge.see(100_000, &submit());
    let mut seq = edge.flow.main.end;
    for old in 0..3 {
        assert_eq!(edge.see(90_000 + old, &pdu(id::ENQUIRE_LINK, 0, &[])), Finding::Unsynchronised);
        assert_eq!((edge.cost(), edge.flow.main.end), (1, seq));
        assert_eq!(edge.see(seq, &hidden_messages()), Finding::Framed);
        assert_eq!(edge.cost(), 42);
        seq += hidden_messages().len() as u32;
    }
}

#[test]
fn messages_before_the_first_plausible_header_are_not_free() {
    for hidden in [
        hidden_messages(),
        // A name that nobody knows behind a message, which the server answers and reads on.
        [smallest_submit(0), pdu(0x00f4_0000, 0, &[])].concat().repeat(20),
        // All is plausible up to a length that the server skips.
        [smallest_submit(0).repeat(42), vec![0; 16]].concat(),
        [pdu(id::SUBMIT_MULTI, 1, &[0; 100]), pdu(id::ENQUIRE_LINK, 0, &[])].concat(),
    ] {
        let mut edge = Edge::joined();
        assert_eq!(edge.see(1, &hidden), Finding::Unsynchronised);
        assert!(edge.cost() > 20, "{}", edge.cost());
        assert_eq!(edge.flow.state, FlowState::Searching as u32);
    }
    for hidden in [hidden_messages(), [smallest_submit(0), pdu(0x00f4_0000, 0, &[])].concat().repeat(20)] {
        let mut edge = Edge::connected();
        assert_eq!(edge.see(5000, &hidden), Finding::BeyondHole, "no island begins with that");
    }
}

#[test]
fn a_long_message_that_reads_as_a_header_before_its_text_does_not_mislead() {
    // registered_delivery 1, then zeros up to sm_length, then message_payload: 256, and the name of submit_sm.
    let mut body = b"\0\x01\x01123\0\x01\x01447700900123\0\0\0\0\0\0\x01\0\0\0\0\x04\x24\x02\0".to_vec();
    body.extend([b'a'; 512]);
    let long = pdu(id::SUBMIT_SM, 0, &body);
    let stream = long.repeat(4);
    let cut = 20;
    let mut edge = Edge::joined();
    assert_eq!(edge.see(1 + cut, &stream[cut as usize..500]), Finding::Unsynchronised);
    assert_eq!(edge.cost(), 2);
    assert_eq!(edge.see(501, &stream[500..1500]), Finding::Framed);
    assert_eq!((edge.walk.tally.submits, edge.flow.main.start), (2, 1 + 3 * long.len() as u32));
}

#[test]
fn an_island_begun_at_a_header_inside_a_text_is_found_out() {
    let fake = pdu(id::SUBMIT_SM, 0, &[0xff; 400]);
    let mut text = pdu(id::DELIVER_SM, 0, &fake);
    let real = submit();
    text.extend(&real);
    let mut edge = Edge::connected();
    // The first 16 octets are held back, so that the text's content seems to be a header.
    assert_eq!(edge.see(1 + 16, &text[16..100]), Finding::Framed);
    assert_eq!(edge.see(1, &text[..16]), Finding::Lost);
    assert_eq!(edge.flow.state, FlowState::Searching as u32);
    // From now on the flow gets no islands.
    assert_eq!(edge.see(101, &text[100..]), Finding::Framed);
    assert_eq!(edge.walk.tally.submits, 1);
    let end = edge.flow.main.end;
    assert_eq!(edge.see(end + 1000, &real), Finding::BeyondHole);
}

#[test]
fn a_hole_that_is_never_filled_does_not_stop_the_connection() {
    let mut edge = Edge::connected();
    edge.see(1, &submit());
    let beyond = edge.flow.main.end + 5000;
    let headless = [0xff; 100];
    let mut drops = 0;
    while edge.see(beyond, &headless) == Finding::BeyondHole {
        drops += 1;
        assert!(drops < 10, "the connection stands still");
    }
    assert_eq!(drops, 4);
    assert_eq!(edge.see(beyond + 100, &submit()), Finding::Framed);
    assert_eq!(edge.walk.tally.submits, 1);
}

#[test]
fn what_is_held_back_over_a_reset_is_not_free() {
    // A receiver ignores a reset outside of its window (RFC 5961 3); the flow is forgotten all the same.
    let mut edge = Edge::joined();
    let len = submit().len() as u32;
    assert_eq!(edge.see(100_000, &submit()), Finding::Framed);
    let mut submits = 0;
    for index in 0..5 {
        edge.see(90_000 + index * len, &submit());
        submits += edge.cost();
    }
    // Four that cost one more than they name, and then the flow is found anew.
    assert_eq!(submits, 9);
}

#[test]
fn a_hole_whose_head_is_refused_stays_a_hole() {
    let mut edge = Edge::connected();
    let one = submit();
    let len = one.len() as u32;
    let headless = [0xff; 100];
    for _ in 0..20 {
        let head = Segment { seq: 1, payload: 0, len };
        assert_eq!(edge.walk.run(&edge.flow, &one[..], head, DIGITS, &mut Nobody), Finding::Framed);
        edge.walk.refuse(&mut edge.flow);
        assert_eq!(edge.see(5000, &headless), Finding::BeyondHole);
    }
}

#[test]
fn a_hole_wider_than_any_window_is_given_up() {
    let mut edge = Edge::connected();
    edge.see(1, &submit());
    let beyond = edge.flow.main.end.wrapping_add((1 << 30) + 1);
    assert_eq!(edge.see(beyond, &submit()), Finding::Framed);
    assert_eq!(edge.flow.main.end, beyond.wrapping_add(submit().len() as u32));
    assert_eq!(edge.flow.islands_used, 0);
}

#[test]
fn a_fourth_island_is_dropped_and_comes_again() {
    let mut edge = Edge::connected();
    let one = submit();
    let len = one.len() as u32;
    let places = [2, 4, 6, 8];
    for &place in &places[..3] {
        assert_eq!(edge.see(1 + place * len, &one), Finding::Framed);
    }
    assert_eq!(edge.see(1 + places[3] * len, &one), Finding::BeyondHole);
    for place in [0, 1, 3, 5, 7, 8] {
        assert_eq!(edge.see(1 + place * len, &one), Finding::Framed, "place {place}");
        assert_eq!(edge.walk.tally.submits, 1, "place {place}");
    }
    assert_eq!(edge.flow.main.end, 1 + 9 * len);
}

#[test]
fn a_frame_that_ends_early_teaches_nothing() {
    let mut edge = Edge::connected();
    let before = edge.flow;
    let stream = submit();
    for present in 0..stream.len() {
        let segment = Segment { seq: 1, payload: 0, len: stream.len() as u32 };
        let finding = edge.walk.run(&edge.flow, &stream[..present], segment, DIGITS, &mut Nobody);
        assert_eq!(finding, Finding::Truncated, "{present} bytes present");
        edge.walk.commit(&mut edge.flow);
        assert_eq!(edge.flow, before);
    }
}

#[test]
fn a_join_over_tiny_segments_costs_a_message_each() {
    let mut random = Random::new(3);
    let stream = Stream::random(&mut random, 20);
    let mut edge = Edge::joined();
    let mut seq = 1;
    for part in stream.bytes[5..].chunks(13) {
        assert_eq!(edge.see(seq, part), Finding::Unsynchronised, "none has a whole header");
        assert_eq!((edge.walk.tally.unread, edge.walk.tally.commands_seen), (1, 0));
        seq += part.len() as u32;
    }
}

proptest! {
    #[test]
    fn random_segments_never_panic_and_are_bounded(
        segments in proptest::collection::vec(
            (any::<u32>(), 0_u32..3000, proptest::collection::vec(any::<u8>(), 0..300), any::<bool>()), 1..30),
    ) {
        let mut edge = Edge::connected();
        for (anywhere, near, payload, is_near) in segments {
            edge.see(if is_near { near } else { anywhere }, &payload);
            prop_assert!(edge.cost() as usize <= payload.len() / 16 + 5);
        }
    }

    #[test]
    fn garbage_after_a_good_start_never_panics_and_is_bounded(
        garbage in proptest::collection::vec(any::<u8>(), 1..2000),
        flips in proptest::collection::vec((0_usize..4000, any::<u8>()), 0..6),
        cuts in proptest::collection::vec((0_u32..4000, 1_u32..1500), 1..40),
        seed: u64,
    ) {
        let mut random = Random::new(seed);
        let mut bytes = Stream::random(&mut random, 12).bytes;
        for (at, value) in flips {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        bytes.extend(garbage);
        let mut edge = Edge::connected();
        for (from, len) in cuts {
            let from = from.min(bytes.len() as u32 - 1);
            let to = (from + len).min(bytes.len() as u32);
            edge.see(1 + from, &bytes[from as usize..to as usize]);
            prop_assert!(edge.walk.tally.submits <= len / 16 + 5);
            prop_assert!(edge.walk.tally.unread <= 254 * (len / 16 + 5));
        }
    }
}
