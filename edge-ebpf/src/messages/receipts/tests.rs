//! Receipts against the octets as a server writes them.

use proptest::prelude::*;
use zerocopy::FromZeros as _;

use super::*;

const DIGITS: u32 = 4;

/// A `deliver_sm`, written down.
#[derive(Clone, Debug)]
struct Written {
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

fn write(deliver_sm: &Written) -> Vec<u8> {
    let mut pdu = vec![0; HEADER_BYTES];
    for string in [deliver_sm.service, "\x01\x01", &deliver_sm.source, "\x05\x00", "acme"] {
        pdu.extend(string.as_bytes());
        if !string.starts_with(['\x01', '\x05']) {
            pdu.push(0);
        }
    }
    pdu.extend([deliver_sm.esm_class, 0, 0]);
    for _ in 0..2 {
        pdu.extend(deliver_sm.time.as_bytes());
        pdu.push(0);
    }
    pdu.extend([0, 0, 0, 0, u8::try_from(deliver_sm.text.len()).unwrap()]);
    pdu.extend(deliver_sm.text.as_bytes());
    for (tag, value) in &deliver_sm.parameters {
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
    reading.read(pdu, DIGITS)
}

fn kind(deliver_sm: &Written) -> Option<ReceiptKind> {
    read(&write(deliver_sm)).map(|receipt| receipt.kind)
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
    fn any_octets_are_read_without_a_panic(octets in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = read(&octets);
    }
}
