//! A segment of a SIP connection: which messages it completes, and what becomes of it.

use super::segment::spare_allowed;
use super::{Metered, Origin, Scope, World, give_back, meter};
use crate::abi::{Allowance, Class, Limit, Method, Outcome, StandingKind, policy_flag};
use crate::stream::sip::{CLASSES, Finding, Tally};

/// The outcome of a segment that was read. It is let through or dropped as a whole, with all that it brings.
///
/// Over a limit it is dropped where nothing in it must get through, and TCP sends it again; else it passes, and what was over
/// the limit is owed. What is dropped is not counted by method, for it comes again. What lies behind a dropped segment
/// is dropped too, unless nothing is refused any more.
#[inline(always)]
pub fn settle_stream<W: World>(
    world: &mut W,
    origin: Origin,
    finding: Finding,
    tally: &mut Tally,
    now_ns: u64,
) -> Outcome {
    let is_allowed = matches!(origin.standing, StandingKind::Allowed);
    let may_refuse = !is_allowed && !origin.observe;
    if matches!(finding, Finding::BeyondHole)
        && may_refuse
        && (origin.has(policy_flag::SUSPENDED) || world.refuses_streams())
    {
        return Outcome::SipBeyondHole;
    }
    if tally.methods_seen == 0 {
        let outcome = match finding {
            Finding::Unframed | Finding::Truncated | Finding::BeyondHole => Outcome::SipUnframed,
            Finding::Framed | Finding::Repeated => Outcome::SipStream,
        };
        return spare_allowed(origin, outcome);
    }
    if tally.has_initial() && !is_allowed {
        if may_refuse && origin.has(policy_flag::SUSPENDED) {
            // With what else it brings: the client may open another connection for that.
            if world.resets() && world.attend(now_ns) {
                refuse(world, tally, now_ns);
                return Outcome::ResetSuspended;
            }
            if tally.is_refusable() {
                return dropped(world, tally, Outcome::SipSuspended, now_ns);
            }
        }
        judge(world, tally, now_ns);
        if tally.over != 0 && may_refuse {
            let over = if tally.over_account == 0 { Outcome::SipOverSource } else { Outcome::SipOverAccount };
            if tally.is_refusable() && world.refuses_streams() {
                return dropped(world, tally, over, now_ns);
            }
            owe(world, tally, now_ns);
        }
    }
    pass(world, tally, is_allowed)
}

/// Charges each class by itself.
#[inline(always)]
fn judge<W: World>(world: &mut W, tally: &mut Tally, now_ns: u64) {
    for index in 0..CLASSES {
        let (messages, class) = (tally.initial(index), class(index));
        if messages == 0 {
            continue;
        }
        if let Metered::Over(scope) = meter(world, class, messages, now_ns) {
            tally.over |= 1 << index;
            if matches!(scope, Scope::Account) {
                tally.over_account = 1;
            }
        }
    }
}

/// Gives back what was charged, and drops the segment.
#[inline(always)]
fn dropped<W: World>(world: &mut W, tally: &Tally, outcome: Outcome, now_ns: u64) -> Outcome {
    if !matches!(outcome, Outcome::SipSuspended) {
        for index in 0..CLASSES {
            if tally.over >> index & 1 == 0 {
                give_back(world, class(index), tally.initial(index));
            }
        }
    }
    refuse(world, tally, now_ns);
    outcome
}

#[inline(always)]
fn refuse<W: World>(world: &mut W, tally: &Tally, now_ns: u64) {
    for index in 0..CLASSES {
        let messages = tally.initial(index);
        if messages != 0 {
            world.count(class(index), Allowance::Refused, messages);
            world.tell_refused(class(index), now_ns);
        }
    }
}

/// What passes over a limit is owed.
#[inline(always)]
fn owe<W: World>(world: &mut W, tally: &Tally, now_ns: u64) {
    for index in 0..CLASSES {
        if tally.over >> index & 1 == 0 {
            continue;
        }
        for scope in [Scope::Source, Scope::Account] {
            let limit = world.limit(scope, class(index));
            if limit != Limit::NONE {
                world.owe(scope, class(index), limit, tally.initial(index), now_ns);
            }
        }
    }
}

/// Counts what passes.
#[inline(always)]
pub fn count_passed<W: World>(world: &mut W, tally: &Tally, is_allowed: bool) {
    for index in 0..Method::SLOTS {
        let messages = tally.method(index);
        if messages != 0 {
            world.count_methods(index, messages);
        }
    }
    for index in 0..CLASSES {
        let (initial, in_dialog) = (tally.initial(index), tally.in_dialog(index));
        if initial != 0 {
            let allowance = if is_allowed {
                Allowance::Exempt
            } else if tally.over >> index & 1 == 0 {
                Allowance::Admitted
            } else {
                Allowance::Observed
            };
            world.count(class(index), allowance, initial);
        }
        if in_dialog != 0 {
            world.count(class(index), Allowance::Exempt, in_dialog);
        }
    }
}

/// Lets the segment through.
#[inline(always)]
fn pass<W: World>(world: &mut W, tally: &Tally, is_allowed: bool) -> Outcome {
    world.count_passed(tally, is_allowed);
    if is_allowed {
        Outcome::Allowed
    } else if tally.over != 0 {
        Outcome::SipObserved
    } else if tally.has_initial() {
        Outcome::SipAdmitted
    } else if tally.has_in_dialog() {
        Outcome::SipInDialog
    } else {
        Outcome::SipResponse
    }
}

#[inline(always)]
const fn class(index: usize) -> Class {
    match index {
        0 => Class::SipInvite,
        1 => Class::SipRegister,
        2 => Class::SipOptions,
        3 => Class::SipMessage,
        _ => Class::SipOther,
    }
}
