//! Receipts against the octets as a server writes them.

use proptest::prelude::*;
use zerocopy::FromZeros as _;

use super::*;

const DIGITS: u32 = 4;

/// A `deliver_sm` or a `data_sm`, which has no times and no text, written down.
#[derive(Clone, Debug)]
struct Written {
    command_id: u32,
    service: &'static str,
    source: String,
    esm_class: u8,
    time: &'static str,
    text: String,
    /// Tags and values.
    parameters: Vec<(u16, Vec<u8>)>,
}

impl Default for Written {
    fn default() -> Self {
        Self {
            command_id: id::DELIVER_SM,
            service: "",
            source: "447700900123".to_owned(),
            esm_class: DELIVERY_RECEIPT,
            time: "",
            text: text("DELIVRD"),
            parameters: Vec::new(),
        }
    }
}

/// As appendix B has it.
fn text(state: &str) -> String {
    format!(
        "id:0123456789 sub:001 dlvrd:001 submit date:2611271100 done date:2611271101 stat:{state} err:000 text:Hello"
    )
}

fn write(message: &Written) -> Vec<u8> {
    let mut pdu = vec![0; HEADER_BYTES];
    pdu[4..8].copy_from_slice(&message.command_id.to_be_bytes());
    for string in [message.service, "\x01\x01", &message.source, "\x05\x00", "acme"] {
        pdu.extend(string.as_bytes());
        if !string.starts_with(['\x01', '\x05']) {
            pdu.push(0);
        }
    }
    pdu.extend([message.esm_class, 0, 0]);
    if message.command_id == id::DELIVER_SM {
        for _ in 0..2 {
            pdu.extend(message.time.as_bytes());
            pdu.push(0);
        }
        pdu.extend([0, 0, 0, 0, u8::try_from(message.text.len()).unwrap()]);
        pdu.extend(message.text.as_bytes());
    }
    for (tag, value) in &message.parameters {
        pdu.extend(tag.to_be_bytes());
        pdu.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        pdu.extend(value);
    }
    pdu
}

fn read(pdu: &[u8]) -> Option<Receipt> {
    let mut reading = Box::new(ReceiptReading::new_zeroed());
    // What was read before and what lies behind the PDU must not matter.
    reading.pdu.fill(b's');
    reading.kind = 1;
    let command_id = pdu.get(4..8).map_or(0, |id| u32::from_be_bytes(id.try_into().unwrap()));
    reading.read(command_id, pdu, DIGITS)
}

fn kind(message: &Written) -> Option<ReceiptKind> {
    read(&write(message)).map(|receipt| receipt.kind)
}

#[test]
fn a_receipt_says_what_became_of_which_number() {
    for (state, expected) in [
        ("DELIVRD", ReceiptKind::Delivered),
        ("delivrd", ReceiptKind::Delivered),
        ("UNDELIV", ReceiptKind::Failed),
        ("REJECTD", ReceiptKind::Failed),
        ("DELETED", ReceiptKind::Failed),
        ("EXPIRED", ReceiptKind::Expired),
        ("ENROUTE", ReceiptKind::Other),
        ("ACCEPTD", ReceiptKind::Other),
        ("UNKNOWN", ReceiptKind::Other),
    ] {
        let receipt = read(&write(&Written { text: text(state), ..Written::default() })).unwrap();
        assert_eq!(receipt, Receipt { kind: expected, prefix: 1_4477 }, "{state}");
    }
    for source in ["+447700900123", "4477"] {
        let receipt = read(&write(&Written { source: source.to_owned(), ..Written::default() })).unwrap();
        assert_eq!(receipt.prefix, 1_4477, "{source}");
    }
    let named = Written { source: "acme".to_owned(), ..Written::default() };
    assert_eq!(read(&write(&named)).unwrap().prefix, 0, "no number");
}

#[test]
fn a_state_in_a_parameter_goes_before_that_of_the_text() {
    for (state, expected) in [
        (1, ReceiptKind::Other),
        (2, ReceiptKind::Delivered),
        (3, ReceiptKind::Expired),
        (4, ReceiptKind::Failed),
        (5, ReceiptKind::Failed),
        (6, ReceiptKind::Other),
        (7, ReceiptKind::Other),
        (8, ReceiptKind::Failed),
    ] {
        let parameters = vec![(0x001e, b"0123\0".to_vec()), (0x0427, vec![state])];
        assert_eq!(kind(&Written { parameters, ..Written::default() }), Some(expected), "{state}");
    }
    let payload = vec![(0x0424, text("EXPIRED").into_bytes())];
    let in_payload = Written { text: String::new(), parameters: payload, ..Written::default() };
    assert_eq!(kind(&in_payload), Some(ReceiptKind::Expired));
}

#[test]
fn a_data_sm_says_it_in_a_parameter_or_in_its_payload() {
    let data_sm = |parameters| Written { command_id: id::DATA_SM, parameters, ..Written::default() };
    let state = (0x0427, vec![5]);
    let message_id = (0x001e, b"0123\0".to_vec());
    let payload = (0x0424, text("EXPIRED").into_bytes());
    for (parameters, expected) in [
        (vec![state.clone()], ReceiptKind::Failed),
        (vec![message_id.clone(), state.clone()], ReceiptKind::Failed),
        (vec![payload.clone()], ReceiptKind::Expired),
        (vec![payload, state], ReceiptKind::Failed),
        (vec![message_id], ReceiptKind::Unread),
        (vec![], ReceiptKind::Unread),
    ] {
        let receipt = read(&write(&data_sm(parameters.clone()))).unwrap();
        assert_eq!(receipt, Receipt { kind: expected, prefix: 1_4477 }, "{parameters:?}");
    }
    for esm_class in [0x00, 0x08, 0x20] {
        let other = Written { esm_class, ..data_sm(vec![(0x0427, vec![2])]) };
        assert_eq!(kind(&other), None, "{esm_class:#x}");
    }
}

#[test]
fn what_is_no_receipt_is_none_and_what_says_nothing_is_unread() {
    for esm_class in [0x00, 0x08, 0x10, 0x20, 0x40, 0x43] {
        assert_eq!(kind(&Written { esm_class, ..Written::default() }), None, "{esm_class:#x}");
    }
    assert_eq!(kind(&Written { esm_class: 0x44, ..Written::default() }), Some(ReceiptKind::Delivered));
    for silent in ["", "stat", "stat:", "status is DELIVRD"] {
        let silent = Written { text: silent.to_owned(), ..Written::default() };
        assert_eq!(kind(&silent), Some(ReceiptKind::Unread), "{silent:?}");
    }
}

proptest! {
    #[test]
    fn the_state_is_found_wherever_the_text_has_it(before in "[a-rt-z :]{0,220}", time in "[0-9]{0,16}") {
        let deliver_sm = Written {
            text: format!("{before}stat:UNDELIV"),
            time: Box::leak(time.into_boxed_str()),
            service: "CMT",
            ..Written::default()
        };
        prop_assert_eq!(kind(&deliver_sm), Some(ReceiptKind::Failed));
    }

    #[test]
    fn a_receipt_cut_anywhere_says_nothing_that_it_does_not_have(cut in HEADER_BYTES..300) {
        let whole = write(&Written::default());
        let cut = cut.min(whole.len());
        let state_at = whole.windows(5).position(|part| part == b"stat:").unwrap();
        if let Some(receipt) = read(&whole[..cut]) {
            let expected = if cut < state_at + 9 { ReceiptKind::Unread } else { ReceiptKind::Delivered };
            prop_assert_eq!(receipt.kind, expected);
        }
    }

    #[test]
    fn any_octets_are_read_without_a_panic(
        octets in proptest::collection::vec(any::<u8>(), 8..600),
        command_id in prop_oneof![Just(id::DELIVER_SM), Just(id::DATA_SM)],
    ) {
        let mut octets = octets;
        octets[4..8].copy_from_slice(&command_id.to_be_bytes());
        let _ = read(&octets);
    }
}
