//! SIP over TCP, framed to the message without putting the stream together (RFC 3261 7.5, 18.3).
//!
//! # Theory of operation
//!
//! 1. A [`SipFlow`] is the client's direction of a connection. Its [`Cursor`] knows which octet of the stream comes next
//!    and what that octet is part of: a start line, a header line, a body. Of what was read it keeps the last
//!    [`HISTORY_BYTES`], which is more than any name or version that has to be compared.
//! 2. A segment is read on scratch, the [`Reader`]: [`Reader::start`] finds out what of it is new, [`Reader::step`] goes on
//!    to the end of a line, over a part of a To header, or over a body, and the [`Tally`] says which messages the segment
//!    completes. A message is counted with the end of its headers, which is the first place where a To tag or its absence
//!    is certain.
//! 3. Only if the segment is let through does [`Reader::settle`] move the cursor. A segment that is dropped comes again,
//!    and so does all behind it: the flow keeps an [`OwnHole`], beyond which nothing passes until it is filled.
//!
//! # Invariants
//!
//! * On a stream of well-formed messages that was seen from its SYN and came in order, every message is counted exactly
//!   once, however it was cut and whatever was repeated or refused on the way.
//! * What was read stays small: nothing of a message is kept but its method, whether it has a To tag, and its length.
//! * What cannot be framed is said to be so, and costs nothing: it is found again where a segment begins with a start
//!   line. One hole is waited for, and what fills it is counted.
//!
//! A header that says where a message ends decides what is one. Where servers may disagree (two Content-Length, one that is
//! no number, a name that is one to some, one on a folded line, headers that end with a bare LF), the stream counts as not
//! framed.

mod cursor;
mod ends;
mod hole;
mod lines;
mod reader;
mod refusals;
mod spots;
mod tally;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on panics where it stands")]
mod tests;

pub use cursor::{Cursor, Phase, SipFlow};
pub use hole::OwnHole;
pub use reader::{Finding, Reader, STEPS};
pub use refusals::{
    Answered, CODE, Overwrite, PHRASE, PLACES, Ring, SPOTS, SipRefusals, Spot, bit, disguise, respond, within,
};
pub use spots::Sought;
pub use tally::{CLASSES, PerClass, Tally, class};

/// Octets of what was read that are kept: a header's name, and what follows it up to the colon (14 and 8), fit.
pub const HISTORY_BYTES: u32 = 24;

/// Longest body. A longer one is no SIP that anybody sends, but a way to hide messages in.
pub const BODY_BYTES_MAX: u32 = 1 << 20;

/// Longest start line and headers of one message.
pub const HEADERS_BYTES_MAX: u32 = 1 << 16;
