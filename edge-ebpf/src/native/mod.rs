//! Refusing a message in SMPP's own words, without a proxy: the pure core.
//!
//! # Theory of operation
//!
//! 1. On the way in a message that is over its limit becomes, in place and in the same length, an `enquire_link`
//!    with a vendor's parameter: four octets of its name and the first four of its body change. [`Refuser`] says
//!    which, PDU by PDU, while the segment is framed.
//! 2. The server answers it in sixteen octets. On the way out [`Answerer`] turns that answer into the response that
//!    the client waits for, with a status that says why.
//! 3. [`Refusals`] remembers every refusal until the client has acknowledged its answer. What TCP sends again is
//!    changed again from there, however it is cut then, and is never judged again.
//!
//! # Invariants
//!
//! * An octet of the stream is changed in every copy that passes, or in none.
//! * What cannot be refused this way is dropped ([`crate::stream::Finding::Withheld`]), never passed: it comes
//!   again. That is so where no room is left to remember it, where its name has gone ahead in an earlier segment,
//!   and wherever it is not certain to be a PDU.
//! * One message of a segment that fills a hole passes all the same, and is owed: the one that lies across the hole's
//!   end, if any before it was within the limit. It would be held back for ever, each time behind those that take the
//!   room first.
//! * A server that does not answer fills the room, and what is over the limit is then dropped: the refusal falls
//!   back to backpressure by itself, connection by connection.

mod answerer;
mod refusals;
mod refuser;
mod rewrite;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on panics where it stands")]
mod tests;

pub use answerer::Answerer;
pub use refusals::{PLACES, Refusal, Refusals, Stage, brings_old, ends_within_changed};
pub use refuser::{Judge, Judged, Refuser, judging};
pub use rewrite::{Delta, Overlap, Rewrite, fold, overlap, pseudo_sum};
