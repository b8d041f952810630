//! Notes against the messages as they were written.

use proptest::prelude::*;
use zerocopy::FromZeros as _;

use super::*;
use crate::abi::{ADDRESS_BYTES, DATA_CODING_UNKNOWN, MessageAddress, MessageNote};
use crate::stream::PREFIX_BYTES;
use crate::wire::smpp::{HEADER_BYTES, Header, PREFIX_ROOM, id};

/// A message, written down.
#[derive(Clone, Debug)]
struct Written {
    id: u32,
    service: Vec<u8>,
    from: (u8, u8, Vec<u8>),
    to: (u8, u8, Vec<u8>),
    /// Of `submit_multi`.
    destinations: u8,
    is_list: bool,
    esm_class: u8,
    times: [Vec<u8>; 2],
    data_coding: u8,
    text: Vec<u8>,
}

/// Its octets, and where the fields end that a note is made of: both addresses, `data_coding`, the head of the text.
fn write(message: &Written) -> (Vec<u8>, [usize; 3]) {
    let mut pdu = vec![0; HEADER_BYTES];
    let string = |pdu: &mut Vec<u8>, text: &[u8]| {
        pdu.extend(text);
        pdu.push(0);
    };
    string(&mut pdu, &message.service);
    pdu.extend([message.from.0, message.from.1]);
    string(&mut pdu, &message.from.2);
    if message.id == id::SUBMIT_MULTI {
        pdu.extend([message.destinations, if message.is_list { 2 } else { 1 }]);
    }
    pdu.extend([message.to.0, message.to.1]);
    string(&mut pdu, &message.to.2);
    let addresses = pdu.len();
    if message.id == id::DATA_SM {
        pdu.extend([message.esm_class, 0, message.data_coding]);
        return (pdu.clone(), [addresses, pdu.len(), pdu.len()]);
    }
    pdu.extend([message.esm_class, 0, 0]);
    string(&mut pdu, &message.times[0]);
    string(&mut pdu, &message.times[1]);
    pdu.extend([0, 0, message.data_coding]);
    let coding = pdu.len();
    pdu.extend([0, u8::try_from(message.text.len()).unwrap()]);
    let text = pdu.len();
    pdu.extend(&message.text);
    (pdu, [addresses, coding, text])
}

fn note(message: &Written) -> MessageNote {
    let (pdu, _) = write(message);
    let mut excerpts = Box::new(Excerpts::new_zeroed());
    excerpts.sample.choose(u32::MAX, 1, [0, 1]);
    let mut octets = [0xee; PREFIX_ROOM];
    let shown = pdu.len().min(PREFIX_BYTES);
    octets[..shown].copy_from_slice(&pdu[..shown]);
    let length = u32::try_from(pdu.len()).unwrap();
    excerpts.take(Header { length, id: message.id, status: 0, sequence: 7 }, &octets);
    let mut note = MessageNote::new_zeroed();
    note.part = 99;
    let mut reading = Reading::new_zeroed();
    describe(&mut reading, &excerpts.list[0], &mut note);
    note
}

fn address((ton, npi, text): &(u8, u8, Vec<u8>)) -> MessageAddress {
    let mut address = MessageAddress { text: [0; ADDRESS_BYTES], ton: u32::from(*ton), npi: u32::from(*npi) };
    address.text[..text.len()].copy_from_slice(text);
    address
}

fn example() -> Written {
    Written {
        id: id::SUBMIT_SM,
        service: b"CMT".to_vec(),
        from: (5, 0, b"acme".to_vec()),
        to: (1, 1, b"441632960123".to_vec()),
        destinations: 1,
        is_list: false,
        esm_class: 0,
        times: [Vec::new(), Vec::new()],
        data_coding: 8,
        text: b"hello".to_vec(),
    }
}

#[test]
fn a_note_has_the_addresses_and_the_coding_and_nothing_of_the_text() {
    let note = note(&example());
    assert_eq!((note.from, note.to), (address(&example().from), address(&example().to)));
    assert_eq!((note.command, note.destinations, note.data_coding), (id::SUBMIT_SM, 1, 8));
    assert_eq!((note.part, note.parts), (0, 0));
}

#[test]
fn a_part_of_a_long_message_is_known_by_both_kinds_of_reference() {
    for (header, expected) in [
        (&[5, 0x00, 3, 42, 3, 2][..], (2, 3)),
        (&[6, 0x08, 4, 42, 42, 4, 1][..], (1, 4)),
        (&[6, 0x05, 4, 0x0b, 0x84, 0, 0][..], (0, 0)),
    ] {
        let text = [header, b"text"].concat();
        let part = note(&Written { esm_class: 0x40, text, ..example() });
        assert_eq!((part.part, part.parts), expected, "{header:?}");
    }
}

#[test]
fn of_many_destinations_the_first_is_noted_and_of_a_list_none() {
    let multi = Written { id: id::SUBMIT_MULTI, destinations: 12, ..example() };
    let many = note(&multi);
    assert_eq!((many.destinations, many.to, many.data_coding), (12, address(&multi.to), DATA_CODING_UNKNOWN));
    let list = note(&Written { is_list: true, ..multi });
    assert_eq!((list.destinations, list.to), (12, address(&(0, 0, Vec::new()))));
}

#[test]
fn what_finds_no_room_is_counted() {
    let mut excerpts = Box::new(Excerpts::new_zeroed());
    excerpts.sample.choose(u32::MAX, 1, [0, 1]);
    for sequence in 1..=40 {
        excerpts.take(Header { length: 60, id: id::SUBMIT_SM, status: 0, sequence }, &[0; PREFIX_ROOM]);
    }
    assert_eq!((excerpts.used, excerpts.missed), (32, 8));
    let mut answers = Box::new(Answers::new_zeroed());
    answers.sample.choose(u32::MAX, 1, [0, 1]);
    for sequence in 1..=100 {
        answers.take(sequence, 0, false);
    }
    assert_eq!((answers.used, answers.missed), (96, 4));
}

proptest! {
    /// Each field is in the note if and only if it is in sight.
    #[test]
    fn a_note_says_what_was_written(
        kind in prop_oneof![Just(id::SUBMIT_SM), Just(id::DATA_SM), Just(id::SUBMIT_MULTI)],
        service in proptest::collection::vec(1..=255_u8, 0..6),
        from in (any::<u8>(), any::<u8>(), proptest::collection::vec(1..=255_u8, 0..21)),
        to in (any::<u8>(), any::<u8>(), proptest::collection::vec(1..=255_u8, 0..21)),
        times in [proptest::collection::vec(1..=255_u8, 0..17), proptest::collection::vec(1..=255_u8, 0..17)],
        (data_coding, has_parts, part, parts) in (any::<u8>(), any::<bool>(), any::<u8>(), any::<u8>()),
        text in proptest::collection::vec(any::<u8>(), 0..120),
    ) {
        let text = if has_parts { [&[5, 0, 3, 1, parts, part][..], &text].concat() } else { text };
        let esm_class = if has_parts { 0x43 } else { 0x03 };
        let message = Written {
            id: kind, service, from, to, destinations: 1, is_list: false, esm_class, times, data_coding, text,
        };
        let (_, [addresses, coding, text_at]) = write(&message);
        let note = note(&message);
        prop_assert_eq!(note.from, address(&message.from));
        let to = if addresses <= PREFIX_BYTES { address(&message.to) } else { address(&(0, 0, Vec::new())) };
        prop_assert_eq!(note.to, to);
        let coding = if coding <= PREFIX_BYTES { u32::from(data_coding) } else { DATA_CODING_UNKNOWN };
        prop_assert_eq!(note.data_coding, coding);
        let shows_parts = has_parts && kind != id::DATA_SM && text_at + 6 <= PREFIX_BYTES;
        let expected = if shows_parts { (u32::from(part), u32::from(parts)) } else { (0, 0) };
        prop_assert_eq!((note.part, note.parts), expected);
    }
}
