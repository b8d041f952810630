//! SMPP over TCP, framed to the PDU without putting the stream together.
//!
//! # Theory of operation
//!
//! 1. A [`Flow`] is one direction of a connection. Its main [`Cursor`] knows where in the sequence numbers the
//!    current PDU begins and up to where the bytes were seen without a hole; of a PDU that is cut by the end of
//!    a segment it holds the first bytes.
//! 2. A [`Segment`] is judged on scratch, the [`Walk`]: [`Walk::start`] finds out what of it is new,
//!    [`Walk::step`] reads one PDU, and the [`Tally`] says what the segment would cost. Nothing of the flow has
//!    changed so far.
//! 3. Only if the segment is let through does [`Walk::commit`] move the cursor. A segment that is dropped
//!    leaves a hole, and TCP sends it again: then it is judged again. What was committed is never charged
//!    twice, however it is cut when it comes again.
//! 4. A segment beyond a hole passes if it extends an [`Island`], or begins one with a PDU header in sight
//!    ([`Walk::scan_step`]). When the hole is filled, the main cursor must arrive at the island's first header;
//!    the PDU across the seam is put together from both sides.
//! 5. A flow that was alive before the program scans its segments for a header in the same way.
//!
//! # Invariants
//!
//! * On a stream of well-formed PDUs that was seen from its SYN, every PDU is counted exactly once, whatever
//!   was lost, reordered, repeated, cut anew or refused on the way.
//! * What cannot be framed is said to be so ([`Finding`]) and costs the messages that may be in it: no header is
//!   assumed where none was seen, and a header that is cut by a segment's end hides one PDU at most.
//! * Sequence numbers are compared modulo 2^32 (RFC 9293 3.4).
//!
//! A sender whose retransmissions differ from what it sent first is not followed: the first copy counts, which is what the
//! receiver's TCP has taken where it came in order (out of order Linux takes a later copy that covers it).

mod flow;
pub mod sip;
mod tally;
mod walk;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on panics where it stands")]
pub(crate) mod tests;

pub use flow::{Cursor, Flow, FlowState, ISLANDS, Island, PREFIX_BYTES};
pub use tally::{CALLED_MAX, Called, Tally};
pub(crate) use walk::NAMED;
pub use walk::{Finding, Next, Nobody, SCAN_STEPS, STEPS, Segment, Sighting, Walk, Witness};

/// Whether sequence number `a` comes before `b` (RFC 9293 3.4).
#[must_use]
#[inline(always)]
pub(crate) const fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b)).cast_signed() < 0
}
