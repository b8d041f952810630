//! A segment of a SIP connection: which messages it completes, and what becomes of it.

use super::segment::spare_allowed;
use super::{Metered, Origin, Scope, World, give_back, meter};
use crate::abi::{Allowance, Class, Limit, Method, Outcome, RefusalMode, StandingKind, policy_flag};
use crate::stream::sip::{CLASSES, Finding, Spot, Tally, class};

/// The outcome of a segment that was read. It is let through or dropped as a whole, with all that it brings.
///
/// Where refusals are native, each request over a limit that the server must refuse is refused by itself, and all else passes;
/// but not where the client has written one that cannot be refused so.
/// Else what is over a limit is dropped, and TCP sends it again; with what must get through it may go ahead of the limit by a
/// burst. What is dropped is not counted by method, for it comes again. What lies behind a dropped segment
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
        && (origin.has(policy_flag::SUSPENDED) || drops(world, now_ns))
    {
        return Outcome::SipBeyondHole;
    }
    if tally.methods_seen == 0 && tally.unrefusable == 0 {
        let outcome = match finding {
            Finding::Unframed | Finding::Truncated | Finding::BeyondHole => Outcome::SipUnframed,
            Finding::Framed | Finding::Repeated => Outcome::SipStream,
        };
        return spare_allowed(origin, outcome);
    }
    if !tally.initial.is_empty() && !is_allowed {
        if may_refuse && origin.has(policy_flag::SUSPENDED) {
            // With what else it brings: the client may open another connection for that.
            if world.resets() && world.attend(now_ns) {
                refuse(world, tally, now_ns);
                return Outcome::ResetSuspended;
            }
            return dropped(world, tally, Outcome::SipSuspended, now_ns);
        }
        let mode = if may_refuse { world.stream_refusal(now_ns) } else { RefusalMode::Observe };
        let is_withheld = tally.unrefusable != 0 && matches!(mode, RefusalMode::Native);
        let mode = if is_withheld { RefusalMode::Drop } else { mode };
        if matches!(mode, RefusalMode::Native) {
            world.judge_requests(tally, now_ns);
        }
        judge(world, tally, now_ns);
        if tally.over != 0 && may_refuse {
            let over = if tally.over_account == 0 { Outcome::SipOverSource } else { Outcome::SipOverAccount };
            if !matches!(mode, RefusalMode::Drop) {
                owe(world, tally, now_ns);
            } else if tally.is_refusable() || !borrows(world, tally, now_ns) {
                return dropped(world, tally, over, now_ns);
            }
        }
    }
    pass(world, tally, is_allowed, now_ns)
}

/// Whether segments are dropped at all for what they bring over a limit.
#[inline(always)]
fn drops<W: World>(world: &mut W, now_ns: u64) -> bool {
    !matches!(world.stream_refusal(now_ns), RefusalMode::Observe)
}

/// Judges one request by itself, which may be changed at `spot`. Over a limit it is refused; where that cannot be, it passes
/// and is owed.
#[inline(always)]
pub fn judge_request<W: World>(world: &mut W, tally: &mut Tally, (class, spot): (Class, Spot), now_ns: u64) {
    tally.judged.add(class);
    if matches!(meter(world, class, 1, now_ns), Metered::Within) {
        return;
    }
    if world.refuse_request(spot, now_ns) {
        tally.refused.add(class);
        return;
    }
    tally.observed.add(class);
    owe_class(world, class, 1, now_ns);
}

/// Charges each class by itself.
#[inline(always)]
fn judge<W: World>(world: &mut W, tally: &mut Tally, now_ns: u64) {
    for index in 0..CLASSES {
        let (messages, class) = (tally.unjudged(index), class(index));
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

/// Whether what is over a limit may go ahead for the sake of what must get through beside it: up to one burst more, or whoever
/// sends an ACK beside each call were under no limit. Where nothing at all may pass, it passes: there it would never come.
#[inline(always)]
fn borrows<W: World>(world: &mut W, tally: &Tally, now_ns: u64) -> bool {
    for index in 0..CLASSES {
        if tally.over >> index & 1 == 0 {
            continue;
        }
        let (class, messages) = (class(index), tally.unjudged(index));
        for scope in [Scope::Source, Scope::Account] {
            let limit = world.limit(scope, class);
            let two_bursts = Limit { burst_ns: limit.burst_ns.saturating_add(limit.burst_ns), ..limit };
            if limit.burst_ns != 0 && !world.charge(scope, class, two_bursts, messages, now_ns) {
                if matches!(scope, Scope::Account) {
                    world.refund(Scope::Source, class, world.limit(Scope::Source, class), messages);
                }
                return false;
            }
        }
    }
    true
}

/// Gives back what was charged, and drops the segment.
#[inline(always)]
fn dropped<W: World>(world: &mut W, tally: &Tally, outcome: Outcome, now_ns: u64) -> Outcome {
    if !matches!(outcome, Outcome::SipSuspended) {
        for index in 0..CLASSES {
            if tally.over >> index & 1 == 0 {
                give_back(world, class(index), tally.initial.of(index));
            }
        }
    }
    refuse(world, tally, now_ns);
    outcome
}

#[inline(always)]
fn refuse<W: World>(world: &mut W, tally: &Tally, now_ns: u64) {
    for index in 0..CLASSES {
        let messages = tally.initial.of(index);
        if messages != 0 {
            world.count(class(index), Allowance::Refused, messages);
            world.tell_refused(class(index), messages, now_ns);
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
        owe_class(world, class(index), tally.unjudged(index), now_ns);
    }
}

#[inline(always)]
fn owe_class<W: World>(world: &mut W, class: Class, messages: u32, now_ns: u64) {
    for scope in [Scope::Source, Scope::Account] {
        let limit = world.limit(scope, class);
        if limit != Limit::NONE {
            world.owe(scope, class, limit, messages, now_ns);
        }
    }
}

/// Counts what passes.
#[inline(always)]
pub fn count_passed<W: World>(world: &mut W, tally: &Tally, is_allowed: bool) {
    if !tally.judged.is_empty() {
        count_judged(world, tally);
    }
    for index in 0..Method::SLOTS {
        let messages = tally.method(index);
        if messages != 0 {
            world.count_methods(index, messages);
        }
    }
    for index in 0..CLASSES {
        let (initial, in_dialog) = (tally.unjudged(index), tally.in_dialog.of(index));
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

/// Counts requests that were judged one by one.
#[inline(always)]
fn count_judged<W: World>(world: &mut W, tally: &Tally) {
    for index in 0..CLASSES {
        let (judged, refused, observed) =
            (tally.judged.of(index), tally.refused.of(index), tally.observed.of(index));
        for (allowance, messages) in [
            (Allowance::Admitted, judged - refused - observed),
            (Allowance::Refused, refused),
            (Allowance::Observed, observed),
        ] {
            if messages != 0 {
                world.count(class(index), allowance, messages);
            }
        }
    }
}

#[inline(always)]
fn tell_refused<W: World>(world: &mut W, tally: &Tally, now_ns: u64) {
    let (mut all, mut first) = (0, CLASSES);
    for index in 0..CLASSES {
        let refused = tally.refused.of(index);
        if refused != 0 && first == CLASSES {
            first = index;
        }
        all += refused;
    }
    world.tell_refused(class(first), all, now_ns);
}

/// Lets the segment through.
#[inline(always)]
fn pass<W: World>(world: &mut W, tally: &Tally, is_allowed: bool, now_ns: u64) -> Outcome {
    world.count_passed(tally, is_allowed);
    if !tally.refused.is_empty() {
        tell_refused(world, tally, now_ns);
    }
    if is_allowed {
        Outcome::Allowed
    } else if !tally.refused.is_empty() {
        Outcome::SipRefused
    } else if tally.over != 0 || !tally.observed.is_empty() {
        Outcome::SipObserved
    } else if tally.methods_seen == 0 {
        Outcome::SipUnframed
    } else if !tally.initial.is_empty() {
        Outcome::SipAdmitted
    } else if !tally.in_dialog.is_empty() {
        Outcome::SipInDialog
    } else {
        Outcome::SipResponse
    }
}
