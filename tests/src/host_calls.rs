//! Calls on the host: the map, the slots and the records, plainly.

use std::collections::HashMap;

use edge_ebpf::abi::{
    AccountState, CallCause, CallCount, CallKey, CallPhase, CallState, EndedBy, Number, SourceKey,
};
use edge_ebpf::calls::{Consequence, consequence};
use edge_ebpf::decide::{Refusal, Slot};
use edge_ebpf::wire::sip::{Heard, Scratch};
use zerocopy::FromZeros as _;

/// Calls that hold slots, and what ended or was refused.
#[derive(Debug, Default)]
pub struct Calls {
    /// As the map `CALLS`.
    pub held: HashMap<CallKey, CallState>,
    /// Records of calls that ended.
    pub ended: Vec<(CallCause, EndedBy, u32)>,
    /// Records of calls that were refused.
    pub refused: Vec<Refusal>,
}

/// Who calls, and under which limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) account: u32,
    pub(crate) source: SourceKey,
    pub(crate) calls_max: u64,
    pub(crate) may_refuse: bool,
    pub(crate) now_ns: u64,
}

impl Calls {
    pub(crate) fn open(&mut self, account: &mut AccountState, parsed: &mut Scratch, caller: Caller) -> Slot {
        let Caller { now_ns, may_refuse, .. } = caller;
        let key = CallKey { account: caller.account, reserved: 0, call_id_hash: parsed.call_id_hash() };
        let cseq = parsed.cseq();
        if let Some(call) = self.held.get_mut(&key) {
            call.touched_ns = now_ns;
            if call.cseq == cseq && !parsed.has_cookie() {
                return Slot::Kept;
            }
            let slot = take(account, caller);
            if slot == Slot::Kept || !may_refuse {
                call.cseq = cseq;
                call.slots += 1;
            }
            return slot;
        }
        let slot = take(account, caller);
        if slot == Slot::Kept || !may_refuse {
            parsed.read_all_parties();
            let call = CallState {
                source: caller.source,
                setup_ns: now_ns,
                touched_ns: now_ns,
                cseq,
                slots: 1,
                from: number(parsed.parties.from),
                to: number(parsed.parties.to),
                ..CallState::new_zeroed()
            };
            self.held.insert(key, call);
            count(account, CallCount::Admitted);
        }
        slot
    }

    pub(crate) fn hear(&mut self, number: u32, account: &mut AccountState, heard: &Heard, now_ns: u64) {
        let key = CallKey { account: number, reserved: 0, call_id_hash: heard.call_id_hash };
        let Some(call) = self.held.get_mut(&key) else { return };
        let (counted, record) = match consequence(call, heard) {
            Consequence::Nothing => return,
            Consequence::Alive => {
                call.touched_ns = now_ns;
                if heard.session_expires_s != 0 {
                    call.session_expires_s = heard.session_expires_s;
                }
                return;
            }
            Consequence::Rung => {
                call.ring_ns = now_ns;
                call.touched_ns = now_ns;
                return;
            }
            Consequence::Answered => {
                call.session_expires_s = heard.session_expires_s;
                call.answer_ns = now_ns;
                call.touched_ns = now_ns;
                call.phase = CallPhase::Answered as u32;
                count(account, CallCount::Answered);
                return;
            }
            Consequence::Challenged => (CallCount::Challenged, None),
            Consequence::Ended { cause, ended_by } => (CallCount::Ended, Some((cause, ended_by))),
        };
        account.calls_active -= 1;
        if call.slots > 1 {
            call.slots -= 1;
            return;
        }
        self.held.remove(&key);
        count(account, counted);
        if let Some((cause, ended_by)) = record {
            self.ended.push((cause, ended_by, if heard.status == 0 { 200 } else { heard.status }));
        }
    }
}

fn take(account: &mut AccountState, caller: Caller) -> Slot {
    account.calls_active += 1;
    if caller.calls_max == 0 || account.calls_active <= caller.calls_max {
        return Slot::Kept;
    }
    if caller.may_refuse {
        account.calls_active -= 1;
        count(account, CallCount::Refused);
    } else {
        count(account, CallCount::Observed);
    }
    Slot::OverAccount
}

fn count(account: &mut AccountState, what: CallCount) {
    account.counters.calls[what.index()] += 1;
}

fn number(words: [u64; 3]) -> Number {
    zerocopy::transmute!(words)
}
