//! What nobody can frame is metered by its length, to the end of its connection.

use super::{Finding, Wire};

const SPOILT: &str = "INVITE sip:a@b SIP/2.0\r\nTo: <sip:b@c>\r\nContent-Length: 5\r\nl: 0\r\n\r\n";
const WHOLE: &str =
    "INVITE sip:a@b SIP/2.0\r\nTo: <sip:b@c>\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n";

/// What segments cost that come one after another, of which all pass or the first does.
fn costs(seen: bool, segments: &[&str], passes: bool) -> Vec<u32> {
    let mut wire = Wire::new(seen);
    let stream = segments.concat();
    let mut at = 0;
    segments
        .iter()
        .enumerate()
        .map(|(number, segment)| {
            let from = at;
            at += segment.len();
            wire.bring(stream.as_bytes(), from, at, passes || number == 0);
            wire.reader.tally.unrefusable
        })
        .collect()
}

#[test]
fn a_spoilt_stream_is_metered_by_its_length_and_not_found_again() {
    let long = WHOLE.repeat(10);
    for passes in [true, false] {
        assert_eq!(costs(true, &[WHOLE, SPOILT, WHOLE, &long, "x"], passes)[1..], [1, 1, 7, 1], "{passes}");
    }
}

#[test]
fn what_comes_again_is_metered_again() {
    let mut wire = Wire::new(true);
    for _ in 0..3 {
        wire.bring(SPOILT.as_bytes(), 0, SPOILT.len(), true);
        assert_eq!((wire.findings.last(), wire.reader.tally.unrefusable), (Some(&Finding::Unframed), 1));
    }
}

/// What begins in the middle, or behind a hole, may be anything.
#[test]
fn a_wrong_guess_spoils_nothing() {
    assert_eq!(costs(false, &[SPOILT, WHOLE], true), [0, 0]);
    let mut wire = Wire::new(true);
    let stream = [WHOLE, SPOILT, WHOLE].concat();
    wire.bring(stream.as_bytes(), WHOLE.len(), WHOLE.len() + SPOILT.len(), true);
    assert_eq!(wire.reader.tally.unrefusable, 0);
    wire.bring(stream.as_bytes(), WHOLE.len() + SPOILT.len(), stream.len(), true);
    assert_eq!(wire.findings.last(), Some(&Finding::Framed), "it is found again");
}

#[test]
fn a_hole_that_is_filled_with_it_spoils_the_stream() {
    let mut wire = Wire::new(true);
    let stream = [SPOILT, WHOLE, WHOLE].concat();
    let (first, second) = (SPOILT.len(), SPOILT.len() + WHOLE.len());
    wire.bring(stream.as_bytes(), first, second, true);
    assert_eq!(wire.findings.last(), Some(&Finding::Framed));
    wire.bring(stream.as_bytes(), 0, first, true);
    wire.bring(stream.as_bytes(), second, stream.len(), true);
    assert_eq!((wire.findings.last(), wire.reader.tally.unrefusable), (Some(&Finding::Unframed), 1));
}

/// A reordered beginning is no way out.
#[test]
fn a_guess_that_proves_right_leaves_the_stream_certain() {
    let mut wire = Wire::new(true);
    let stream = [WHOLE, WHOLE, SPOILT].concat();
    let (first, second) = (WHOLE.len(), 2 * WHOLE.len());
    wire.bring(stream.as_bytes(), first, second, true);
    wire.bring(stream.as_bytes(), 0, first, true);
    wire.bring(stream.as_bytes(), second, stream.len(), true);
    assert_eq!((wire.findings.last(), wire.reader.tally.unrefusable), (Some(&Finding::Unframed), 1));
}

#[test]
fn a_new_connection_is_framed_again() {
    let mut wire = Wire::new(true);
    wire.bring(SPOILT.as_bytes(), 0, SPOILT.len(), true);
    wire.flow.syn(super::ISN);
    wire.bring(WHOLE.as_bytes(), 0, WHOLE.len(), true);
    assert_eq!((wire.findings.last(), wire.reader.tally.unrefusable), (Some(&Finding::Framed), 0));
}

#[test]
fn a_call_without_one_max_forwards_cannot_be_refused_by_itself() {
    for (hops, unrefusable) in [
        ("Max-Forwards: 70\r\n", 0),
        ("", 1),
        ("Max-Forwards: x\r\n", 1),
        ("Max-Forwards: 70\r\nMax-Forwards: 70\r\n", 1),
        ("Max-Forwards: 70\rX: y\r\n", 1),
    ] {
        let call = WHOLE.replace("Max-Forwards: 70\r\n", hops);
        assert_eq!(costs(true, &[&call], true), [unrefusable], "{hops:?}");
        let tagged = call.replace("<sip:b@c>", "<sip:b@c>;tag=1");
        assert_eq!(costs(true, &[&tagged], true), [0], "{hops:?} within a dialog");
    }
}
