//! Messages: what the server says to them, and the records that some of them leave.
//!
//! 1. Whether a message leaves a record is decided by its `sequence_number` and a secret ([`Sample`]), so that request and
//!    response agree and share nothing.
//! 2. The walk over the client's segment keeps the first octets of such a message ([`Excerpts`]). Once the segment has passed,
//!    [`describe`] reads a note from them; the text is not looked at.
//! 3. The walk over the server's segment keeps what is said to such a message ([`Answers`]). Once the segment has passed, note
//!    and answer become a record.
//! 4. The same walk notes where delivery receipts lie ([`Receipts`]). Once the segment has passed, each is read
//!    ([`ReceiptReading`]) and counted by what it says; one that is cut is kept ([`CutReceipt`]) for the next segment.

mod answers;
mod describe;
mod excerpts;
mod receipts;
mod responses;
mod sample;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on panics where it stands")]
mod tests;

pub use answers::{ANSWERS_MAX, Answer, Answers};
pub use describe::{Reading, describe};
pub use excerpts::{EXCERPTS_MAX, Excerpt, Excerpts};
pub use receipts::{
    CUT_BYTES, CutReceipt, PARAMETERS_MAX, Place, RECEIPTS_MAX, Receipt, ReceiptReading, Receipts, TEXT_STEPS,
};
pub use responses::Responses;
pub use sample::Sample;
