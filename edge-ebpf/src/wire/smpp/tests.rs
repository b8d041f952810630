//! Messages as clients write them, and as they are cut.

use proptest::prelude::*;

use super::*;

/// A `submit_sm`, `submit_multi` or `data_sm` up to its destination address.
fn message(command: u32, service: &[u8], source: &[u8], ton: u8, called: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(service);
    body.extend([0, 1, 1]);
    body.extend(source);
    body.push(0);
    if command == id::SUBMIT_MULTI {
        body.extend([1, DEST_FLAG_ADDRESS]);
    }
    body.extend([ton, 1]);
    body.extend(called);
    body.extend([0; 12]);
    let mut pdu = Vec::new();
    pdu.extend(u32::try_from(HEADER_BYTES + body.len()).unwrap().to_be_bytes());
    pdu.extend(command.to_be_bytes());
    pdu.extend([0, 0, 0, 0, 0, 0, 0, 1]);
    pdu.extend(body);
    pdu
}

fn prefix_of(pdu: &[u8], digits: u32) -> Option<u32> {
    // What lies behind the PDU must not matter.
    let mut room = [b'7'; PREFIX_ROOM];
    let held = pdu.len().min(96);
    room[..held].copy_from_slice(&pdu[..held]);
    let header = Header::parse(pdu[..HEADER_BYTES].try_into().unwrap());
    let held = u32::try_from(held).unwrap();
    if header.id == id::SUBMIT_MULTI {
        destinations(&room, held, digits).into_iter().next().flatten()
    } else {
        called_prefix(&room, held, digits)
    }
}

/// The prefix of each destination in sight.
fn destinations(room: &[u8; PREFIX_ROOM], held: u32, digits: u32) -> Vec<Option<u32>> {
    let mut destinations = Destinations::default();
    destinations.begin(room, held);
    let steps = 0..=DESTINATIONS_MAX;
    let found: Vec<_> = steps.map_while(|_| destinations.step(room, digits).continue_value()).collect();
    let numbers = found.iter().flatten().count();
    assert!(numbers <= DESTINATIONS_MAX as usize, "{numbers}");
    found
}

#[test]
fn the_called_number_is_found_in_every_kind_of_message() {
    for command in [id::SUBMIT_SM, id::SUBMIT_MULTI, id::DATA_SM] {
        assert_eq!(prefix_of(&message(command, b"", b"ACME", 1, b"447700900123"), 4), Some(1_4477));
        assert_eq!(prefix_of(&message(command, b"CMT", b"", 1, b"+447700900123"), 3), Some(1_447));
        assert_eq!(prefix_of(&message(command, b"CMT", b"12345678901234567890", 1, b"99"), 2), Some(1_99));
    }
}

#[test]
fn every_destination_in_sight_has_its_prefix() {
    let mut room = [b'7'; PREFIX_ROOM];
    let mut pdu = message(id::SUBMIT_MULTI, b"", b"1", 1, b"447700900123\0");
    pdu.truncate(16 + 3 + 2 + 4 + 13);
    pdu[16 + 5] = 9;
    pdu.extend(b"\x02friends\0\x01\x01\x01+4915\0\x01\x05\x00acme4\0\x01\x01\x0133\0\x01\x01\x01336\0");
    let behind_all = pdu.len();
    pdu.extend(b"\x01\x01\x0149123");
    let expected = [Some(1_447), None, Some(1_491), None, None, Some(1_336), Some(1_491)];
    for end in behind_all - 1..pdu.len() {
        room[..end].copy_from_slice(&pdu[..end]);
        // Three digits of the last are in sight, or it has none.
        let seen = if end < behind_all + 1 { 6 } else { 7 };
        let mut expected = expected[..seen].to_vec();
        if end < behind_all + 6 && seen == 7 {
            expected[6] = None;
        }
        assert_eq!(destinations(&room, end as u32, 3), expected, "cut at {end}");
    }
    // As many as the message says that there are, and no octet behind them.
    pdu[16 + 5] = 2;
    room[..pdu.len()].copy_from_slice(&pdu);
    assert_eq!(destinations(&room, pdu.len() as u32, 3), [Some(1_447), None]);
    let mut short = [0; PREFIX_ROOM];
    short[19..21].copy_from_slice(&[0, 254]);
    short[20..96].copy_from_slice(&[&[254][..], &b"\x01\x01\x011\0".repeat(15)].concat());
    assert_eq!(destinations(&short, 96, 1), [Some(11); 15]);
}

#[test]
fn what_is_not_a_number_has_no_prefix() {
    assert_eq!(prefix_of(&message(id::SUBMIT_SM, b"", b"1", 5, b"4477009"), 3), None, "alphanumeric");
    assert_eq!(prefix_of(&message(id::SUBMIT_SM, b"", b"1", 1, b""), 1), None, "empty");
    assert_eq!(prefix_of(&message(id::SUBMIT_SM, b"", b"1", 1, b"44"), 3), None, "too short");
    assert_eq!(prefix_of(&message(id::SUBMIT_SM, b"SERVICE", b"1", 1, b"4477"), 3), None, "service_type");
    let list = {
        let mut pdu = message(id::SUBMIT_MULTI, b"", b"1", 1, b"4477");
        pdu[16 + 1 + 2 + 2 + 1] = 2;
        pdu
    };
    assert_eq!(prefix_of(&list, 3), None, "distribution list");
}

#[test]
fn a_pdu_that_ends_early_has_no_prefix_from_behind_its_end() {
    let whole = message(id::SUBMIT_SM, b"", b"12345", 1, b"4477");
    let digits_end = 16 + 3 + 6 + 2 + 4;
    for end in HEADER_BYTES..whole.len() {
        let expected = (end >= digits_end).then_some(1_4477);
        assert_eq!(prefix_of(&whole[..end], 4), expected, "cut at {end}");
    }
}

#[test]
fn a_number_of_destinations_behind_what_is_too_long_is_the_largest() {
    let further = |service: &[u8], source: &[u8]| {
        let pdu = message(id::SUBMIT_MULTI, service, source, 1, b"447700900123");
        let mut room = [b'7'; PREFIX_ROOM];
        let held = pdu.len().min(96);
        room[..held].copy_from_slice(&pdu[..held]);
        further_destinations(&room, pdu.len() as u32)
    };
    assert_eq!(further_destinations(&[b'7'; PREFIX_ROOM], 47), 0, "what lies behind a PDU is not read");
    assert_eq!([further(b"VMAIL", &[b'1'; 23]), further(b"", b"")], [0, 0]);
    assert_eq!([further(b"VMAIL67", b"1"), further(b"VMAIL789", b"1"), further(b"", &[b'1'; 24])], [253; 3]);
}

#[test]
fn a_sender_that_cannot_be_read_is_told_from_one_that_is_not_there() {
    let read = |service: &[u8], source: &[u8], held: u32| {
        let pdu = message(id::SUBMIT_SM, service, source, 1, b"447700900123");
        let mut room = [b'7'; PREFIX_ROOM];
        let end = pdu.len().min(held as usize);
        room[..end].copy_from_slice(&pdu[..end]);
        sender(&room, held, |_, _| {})
    };
    assert_eq!(read(b"", b"ACME", 96), Sender::Named);
    assert_eq!(read(b"", b"", 96), Sender::Empty);
    assert_eq!(read(b"VMAIL", &[b'1'; 23], 96), Sender::Named);
    assert_eq!([read(b"VMAIL6", b"ACME", 96), read(b"", &[b'1'; 24], 96)], [Sender::Unreadable; 2]);
    assert_eq!([read(b"VMAIL6", b"ACME", 22), read(b"", &[b'1'; 24], 43)], [Sender::Unreadable; 2]);
    assert_eq!([read(b"VMAIL6", b"ACME", 21), read(b"", &[b'1'; 24], 42)], [Sender::Cut; 2]);
    assert_eq!([read(b"", b"ACME", 23), read(b"", b"", 19), read(b"", b"", 16)], [Sender::Cut; 3]);
    assert_eq!([read(b"", b"ACME", 24), read(b"", b"", 20)], [Sender::Named, Sender::Empty]);
}

#[test]
fn every_command_has_its_name_and_is_known() {
    for (command_id, command) in [
        (0x0000_0001, Command::BindReceiver),
        (0x0000_0002, Command::BindTransmitter),
        (0x0000_0009, Command::BindTransceiver),
        (0x0000_0006, Command::Unbind),
        (0x8000_0006, Command::UnbindResp),
        (0x0000_0004, Command::SubmitSm),
        (0x0000_0021, Command::SubmitMulti),
        (0x0000_0103, Command::DataSm),
        (0x8000_0103, Command::DataSmResp),
        (0x8000_0005, Command::DeliverSmResp),
        (0x0000_0003, Command::QuerySm),
        (0x0000_0008, Command::CancelSm),
        (0x0000_0007, Command::ReplaceSm),
        (0x0000_0015, Command::EnquireLink),
        (0x8000_0015, Command::EnquireLinkResp),
        (0x8000_0000, Command::GenericNack),
        (0x0000_000b, Command::OtherRequest),
        (0x8000_0004, Command::OtherResponse),
    ] {
        let header = Header { length: 16, id: command_id, status: 0, sequence: 1 };
        assert_eq!(header.command(), command, "{command_id:#010x}");
        assert!(is_known(command_id), "{command_id:#010x}");
    }
    for unknown in [0, 0x0a, 0x16, 0x0001_0300, 0x4745_5420, 0x1603_0102] {
        assert!(!is_known(unknown), "{unknown:#010x}");
    }
}

#[test]
fn a_text_before_a_header_is_not_taken_for_one() {
    let mut octets = vec![0x00, 0x00, 0x47, 0x11, 0x80];
    octets.extend(message(id::SUBMIT_SM, b"", b"1", 1, b"4477"));
    octets[5..9].copy_from_slice(&[0x00, 0x00, 0x01, 0xc8]);
    let at = |start: usize| Header::parse(octets[start..start + 16].try_into().unwrap());
    assert_eq!(at(0).id, id::BIND_RECEIVER | RESPONSE);
    assert!(!at(0).is_plausible());
    assert!(at(5).is_plausible());
}

proptest! {
    #[test]
    fn the_first_zero_is_found_in_any_word(bytes: [u8; 8], zero in 0_usize..9) {
        let mut bytes = bytes;
        if let Some(byte) = bytes.get_mut(zero) {
            *byte = 0;
        }
        let expected = bytes.iter().position(|&byte| byte == 0).unwrap_or(8);
        prop_assert_eq!(first_zero(u64::from_le_bytes(bytes)) as usize, expected);
    }

    #[test]
    fn signs_are_skipped_as_a_plain_reading_does(text in "[+( a\u{0}]{0,4}[0-9\u{0}a]{0,8}") {
        let mut bytes = [0_u8; 8];
        let length = text.len().min(8);
        bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
        let first = bytes.iter().position(u8::is_ascii_digit).unwrap_or(8);
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(8);
        let expected = if first < end { first } else { 0 };
        prop_assert_eq!(leading_signs(u64::from_le_bytes(bytes)) as usize, expected);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 96), digits in 1_u32..9) {
        let _ = prefix_of(&bytes, digits);
    }
}
