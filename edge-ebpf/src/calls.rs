//! Calls: what the server's words do to a call that holds a slot. Pure; kernel and host keep the state.
//!
//! A slot is given back only on what the *server* says. The customer's own BYE proves nothing: a made-up one is
//! answered 481, and the call goes on. So, too, only 2xx to a BYE ends a call, and not any final response. Behind a proxy the
//! server says what others say: what it then has to check is in `docs/configuration.md`, under "Calls at once".

use crate::abi::{CallCause, CallPhase, CallState, EndedBy, Method, Settings};
use crate::wire::sip::Heard;

/// What a message does to the call that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// Nothing.
    Nothing,
    /// It proves that the call is alive.
    Alive,
    /// The far end rings.
    Rung,
    /// The far end has answered.
    Answered,
    /// It is over.
    Ended {
        /// Why.
        cause: CallCause,
        /// By whom.
        ended_by: EndedBy,
    },
    /// The server asks for credentials: the caller comes again.
    Challenged,
}

/// What a message on the way out means for a call.
#[must_use]
#[inline(always)]
pub fn consequence(call: &CallState, heard: &Heard) -> Consequence {
    let is_answered = call.phase == CallPhase::Answered as u32;
    match (heard.status, heard.method) {
        // RFC 3261 15.1.1: who sends a BYE considers the session over with that.
        (0, Method::Bye) if is_answered => {
            Consequence::Ended { cause: CallCause::Completed, ended_by: EndedBy::Callee }
        }
        (200..=299, Method::Bye) if is_answered => {
            Consequence::Ended { cause: CallCause::Completed, ended_by: EndedBy::Caller }
        }
        (180 | 183, Method::Invite) if !is_answered && call.ring_ns == 0 => Consequence::Rung,
        (200..=299, Method::Invite) if !is_answered => Consequence::Answered,
        (0 | 200..=299, Method::Invite | Method::Update) | (101..=199, Method::Invite) => Consequence::Alive,
        // Of a re-INVITE it ends nothing (RFC 3261 14.1), and neither does one that is sent again after the
        // caller has come anew.
        (300..=699, Method::Invite) if !is_answered && heard.cseq == call.cseq => failed(heard.status),
        _ => Consequence::Nothing,
    }
}

/// What a final response to the INVITE of a call means that was not answered.
#[inline(always)]
const fn failed(status: u32) -> Consequence {
    match status {
        401 | 407 => Consequence::Challenged,
        487 => Consequence::Ended { cause: CallCause::Cancelled, ended_by: EndedBy::Caller },
        486 | 600 => Consequence::Ended { cause: CallCause::Busy, ended_by: EndedBy::Callee },
        _ => Consequence::Ended { cause: CallCause::Failed, ended_by: EndedBy::Callee },
    }
}

/// Whether a call has to be over, and why.
#[must_use]
#[inline(always)]
pub fn expiry(call: &CallState, settings: &Settings, now_ns: u64) -> Option<CallCause> {
    if call.phase == CallPhase::Dropped as u32 {
        return Some(CallCause::Dropped);
    }
    let silent_ns = now_ns.saturating_sub(call.touched_ns);
    if call.phase != CallPhase::Answered as u32 {
        let limit_ns = settings.call_unanswered_ns;
        return (limit_ns != 0 && silent_ns > limit_ns).then_some(CallCause::ExpiredUnanswered);
    }
    let limit_ns = if call.session_expires_s == 0 {
        settings.call_answered_ns
    } else {
        // A tenth more: the side that refreshes may be late (RFC 4028 10).
        u64::from(call.session_expires_s) * 1_100_000_000
    };
    (limit_ns != 0 && silent_ns > limit_ns).then_some(CallCause::ExpiredAnswered)
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros as _;

    use super::*;
    use crate::wire::sip::Kind;

    fn call(phase: CallPhase) -> CallState {
        CallState { phase: phase as u32, cseq: 7, slots: 1, ..CallState::new_zeroed() }
    }

    fn heard(status: u32, method: Method, cseq: u32) -> Heard {
        let kind = if status == 0 { Kind::InDialog } else { Kind::Response };
        Heard { kind, method, status, cseq, call_id_hash: 1, session_expires_s: 0 }
    }

    fn ended(cause: CallCause, ended_by: EndedBy) -> Consequence {
        Consequence::Ended { cause, ended_by }
    }

    #[test]
    fn a_call_is_freed_by_the_server_only() {
        use CallPhase::{Answered, Proceeding};
        let cases = [
            (Proceeding, heard(100, Method::Invite, 7), Consequence::Nothing),
            (Proceeding, heard(180, Method::Invite, 7), Consequence::Rung),
            (Proceeding, heard(200, Method::Invite, 7), Consequence::Answered),
            (Proceeding, heard(487, Method::Invite, 7), ended(CallCause::Cancelled, EndedBy::Caller)),
            (Proceeding, heard(486, Method::Invite, 7), ended(CallCause::Busy, EndedBy::Callee)),
            (Proceeding, heard(404, Method::Invite, 7), ended(CallCause::Failed, EndedBy::Callee)),
            (Proceeding, heard(407, Method::Invite, 7), Consequence::Challenged),
            (Proceeding, heard(407, Method::Invite, 6), Consequence::Nothing),
            (Proceeding, heard(200, Method::Bye, 8), Consequence::Nothing),
            (Answered, heard(200, Method::Invite, 8), Consequence::Alive),
            (Answered, heard(491, Method::Invite, 8), Consequence::Nothing),
            (Answered, heard(486, Method::Invite, 7), Consequence::Nothing),
            (Answered, heard(481, Method::Bye, 8), Consequence::Nothing),
            (Answered, heard(200, Method::Bye, 8), ended(CallCause::Completed, EndedBy::Caller)),
            (Answered, heard(0, Method::Bye, 1), ended(CallCause::Completed, EndedBy::Callee)),
            (Answered, heard(0, Method::Update, 1), Consequence::Alive),
            (Answered, heard(200, Method::Options, 9), Consequence::Nothing),
        ];
        for (phase, heard, expected) in cases {
            assert_eq!(consequence(&call(phase), &heard), expected, "{phase} and {heard:?}");
        }
    }

    #[test]
    fn a_call_expires_by_its_phase_and_by_its_session_timer() {
        const SECOND: u64 = 1_000_000_000;
        let settings = Settings {
            call_unanswered_ns: 200 * SECOND,
            call_answered_ns: 3600 * SECOND,
            ..Settings::new_zeroed()
        };
        let at = |call: &CallState, seconds: u64| expiry(call, &settings, seconds * SECOND);
        assert_eq!(at(&call(CallPhase::Proceeding), 200), None);
        assert_eq!(at(&call(CallPhase::Proceeding), 201), Some(CallCause::ExpiredUnanswered));
        assert_eq!(at(&call(CallPhase::Answered), 3600), None);
        assert_eq!(at(&call(CallPhase::Answered), 3601), Some(CallCause::ExpiredAnswered));
        let timed = CallState { session_expires_s: 100, ..call(CallPhase::Answered) };
        assert_eq!(at(&timed, 110), None);
        assert_eq!(at(&timed, 111), Some(CallCause::ExpiredAnswered));
        assert_eq!(at(&call(CallPhase::Dropped), 0), Some(CallCause::Dropped));
        let endless = Settings::new_zeroed();
        assert_eq!(expiry(&call(CallPhase::Answered), &endless, u64::MAX), None);
    }
}
