//! A segment of an SMPP connection: whose it is, what it brings, and what becomes of that.

use super::{Metered, Origin, Scope, World, give_back, meter};
use crate::abi::{Allowance, Class, FullMap, Outcome, RefusalMode, StandingKind, policy_flag};
use crate::native::judging;
use crate::stream::{Finding, Walk};
use crate::wire::Headers;

/// Whether there is a connection to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// There is, and it is ours alone until the segment is kept or dropped.
    Open,
    /// The segment carries nothing and changes nothing.
    Carried,
    /// Another CPU is at work on it.
    Busy,
    /// No room to keep it.
    Unkept,
}

/// What framing found in a segment of an SMPP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// New PDUs to be metered: messages and binds, at least one of either.
    Metered,
    /// New PDUs, of which the messages were judged one by one while they were framed.
    Judged,
    /// Nothing new to be metered.
    Carried,
    /// The boundaries of PDUs are not known: metered by the messages that may be in it.
    Unsynchronised,
    /// Not SMPP: metered by its length.
    Malformed,
    /// Beyond a hole, without a header in sight.
    BeyondHole,
    /// A message is over a limit, and is not refused in SMPP's words.
    Withheld,
}

/// That, and in numbers. (Not in the variants: what a variant does not have would be read by the kernel program all the
/// same, and its verifier refuses what was never written.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framed {
    /// What it is.
    pub found: Found,
    /// Messages: `submit_sm`, `data_sm`, and each destination of `submit_multi`; and those that may be in what is not framed.
    pub submits: u32,
    /// `bind_*`.
    pub binds: u32,
}

impl Framed {
    /// What a finished walk says.
    #[must_use]
    #[inline(always)]
    pub fn by(walk: &Walk, is_judged: bool) -> Self {
        let (submits, binds) = (walk.tally.submits, walk.tally.binds);
        let messages = submits + walk.tally.destinations + walk.tally.unread;
        let found = match walk.finding() {
            Finding::BeyondHole => Found::BeyondHole,
            Finding::Withheld => Found::Withheld,
            Finding::Unsynchronised => Found::Unsynchronised,
            // PDUs before the garbage are metered like any others, and the garbage with them.
            Finding::Malformed if submits | binds == 0 => Found::Malformed,
            _ if messages | binds == 0 => Found::Carried,
            _ if is_judged => Found::Judged,
            _ => Found::Metered,
        };
        Self { found, submits: messages, binds }
    }
}

/// What is to be said of a bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bind {
    /// The segment has none whose `system_id` is complete, or its account has a place for it.
    Within,
    /// Its account has as many binds as it may.
    Over,
    /// Its account is suspended.
    Suspended,
}

/// The first part of a segment's judgement: its connection is found. Comes back under which origin the segment is then to be
/// framed, on trial, and how its messages are judged if each is judged by itself (bits of [`judging`]). An error is the
/// outcome where there is nothing more to be done.
#[inline(always)]
pub fn open_segment<W: World>(
    world: &mut W,
    origin: Origin,
    headers: &Headers,
    now_ns: u64,
) -> Result<(Origin, u32), Outcome> {
    match world.open_segment(headers, now_ns) {
        Opened::Open => {}
        Opened::Carried => return Err(spare_allowed(origin, Outcome::SmppCarried)),
        Opened::Busy => return Err(pass_spared(origin, Outcome::SmppBusy)),
        Opened::Unkept => {
            world.tell_full(FullMap::Flows, now_ns);
            return Err(Outcome::Unjudged);
        }
    }
    let mode = world.refusal(now_ns);
    let mut origin = world.bound(origin);
    origin.observe |= matches!(mode, RefusalMode::Observe);
    let judging = if matches!(mode, RefusalMode::Native) { judging::NATIVE } else { 0 }
        | if origin.observe { judging::OBSERVE } else { 0 }
        | if matches!(origin.standing, StandingKind::Allowed) { judging::EXEMPT } else { 0 }
        | if origin.has(policy_flag::SUSPENDED) { judging::SUSPENDED } else { 0 };
    Ok((origin, judging))
}

/// The last part: the outcome of a segment that was framed. `origin` is that of the first part.
#[inline(always)]
pub fn settle_segment<W: World>(world: &mut W, origin: Origin, framed: Framed, now_ns: u64) -> Outcome {
    let is_allowed = matches!(origin.standing, StandingKind::Allowed);
    if !matches!(framed.found, Found::BeyondHole | Found::Withheld)
        && let Some(outcome) = judge_bind(world, origin, is_allowed || origin.observe)
    {
        return refuse(world, (0, 1), Class::SmppBind, outcome, now_ns);
    }
    let (submits, binds, within) = match framed.found {
        Found::Metered => (framed.submits, framed.binds, Outcome::SmppAdmitted),
        Found::Unsynchronised => (framed.submits, 0, Outcome::SmppUnsynchronised),
        // With the further destinations of a message before the garbage.
        Found::Malformed => (framed.submits, 0, Outcome::SmppMalformed),
        Found::Judged => return settle(world, origin, framed.binds, now_ns),
        Found::Carried => {
            world.keep_segment();
            return spare_allowed(origin, Outcome::SmppCarried);
        }
        Found::BeyondHole => {
            world.drop_segment();
            return pass_spared(origin, Outcome::SmppBeyondHole);
        }
        Found::Withheld => {
            let over = if origin.has(policy_flag::SUSPENDED) {
                Outcome::SmppSuspended
            } else if world.judged().over_account == 0 {
                over(Scope::Source)
            } else {
                over(Scope::Account)
            };
            return refuse(world, (framed.submits, 0), Class::SmppSubmit, over, now_ns);
        }
    };
    if is_allowed {
        world.keep_segment();
        count_pdus(world, Allowance::Exempt, submits, binds);
        return Outcome::Allowed;
    }
    if origin.has(policy_flag::SUSPENDED) && !origin.observe {
        return refuse(world, (submits, binds), Class::SmppSubmit, Outcome::SmppSuspended, now_ns);
    }

    let over_limit = match meter(world, Class::SmppBind, binds, now_ns) {
        Metered::Over(scope) => Some((Class::SmppBind, scope)),
        Metered::Within => match meter(world, Class::SmppSubmit, submits, now_ns) {
            Metered::Over(scope) => {
                // The bind comes again with the segment, and is charged again then.
                give_back(world, Class::SmppBind, binds);
                Some((Class::SmppSubmit, scope))
            }
            Metered::Within => None,
        },
    };
    match over_limit {
        None => {
            world.keep_segment();
            count_pdus(world, Allowance::Admitted, submits, binds);
            within
        }
        Some(_) if origin.observe => {
            world.keep_segment();
            count_pdus(world, Allowance::Observed, submits, binds);
            Outcome::SmppObserved
        }
        Some((class, scope)) => refuse(world, (submits, binds), class, over(scope), now_ns),
    }
}

/// A segment whose messages were judged one by one.
#[inline(always)]
fn settle<W: World>(world: &mut W, origin: Origin, binds: u32, now_ns: u64) -> Outcome {
    let judged = world.judged();
    let is_allowed = matches!(origin.standing, StandingKind::Allowed);
    let over_bind = if is_allowed { Metered::Within } else { meter(world, Class::SmppBind, binds, now_ns) };
    if let Metered::Over(scope) = over_bind
        && !origin.observe
    {
        let submits = judged.admitted + judged.refused;
        return refuse(world, (submits, binds), Class::SmppBind, over(scope), now_ns);
    }
    world.keep_segment();
    let admitted = if is_allowed { Allowance::Exempt } else { Allowance::Admitted };
    let bound = if matches!(over_bind, Metered::Over(_)) { Allowance::Observed } else { admitted };
    count_pdus(world, admitted, judged.admitted, 0);
    count_pdus(world, bound, 0, binds);
    count_pdus(world, Allowance::Observed, judged.observed, 0);
    if judged.refused != 0 {
        count_pdus(world, Allowance::Refused, judged.refused, 0);
        world.tell_refused(Class::SmppSubmit, judged.refused, now_ns);
        return Outcome::SmppRefused;
    }
    if is_allowed {
        Outcome::Allowed
    } else if judged.observed != 0 || matches!(over_bind, Metered::Over(_)) {
        Outcome::SmppObserved
    } else {
        Outcome::SmppAdmitted
    }
}

/// What a bind is refused for.
#[inline(always)]
fn judge_bind<W: World>(world: &mut W, origin: Origin, spared: bool) -> Option<Outcome> {
    match world.ask_bind(origin.has(policy_flag::SUSPENDED)) {
        Bind::Within => None,
        _ if spared => None,
        Bind::Over => Some(Outcome::SmppOverBinds),
        Bind::Suspended => Some(Outcome::SmppSuspended),
    }
}

/// Drops the segment: TCP sends it again, and it is judged again.
#[inline(always)]
fn refuse<W: World>(
    world: &mut W,
    (submits, binds): (u32, u32),
    class: Class,
    outcome: Outcome,
    now_ns: u64,
) -> Outcome {
    world.drop_segment();
    count_pdus(world, Allowance::Refused, submits, binds);
    world.tell_refused(class, submits + binds, now_ns);
    outcome
}

#[inline(always)]
const fn over(scope: Scope) -> Outcome {
    match scope {
        Scope::Source => Outcome::SmppOverSource,
        Scope::Account => Outcome::SmppOverAccount,
    }
}

#[inline(always)]
fn count_pdus<W: World>(world: &mut W, allowance: Allowance, submits: u32, binds: u32) {
    if submits != 0 {
        world.count(Class::SmppSubmit, allowance, submits);
    }
    if binds != 0 {
        world.count(Class::SmppBind, allowance, binds);
    }
}

/// The name of a pass: that of the allow-list, where the source is on it.
#[must_use]
#[inline(always)]
pub const fn spare_allowed(origin: Origin, outcome: Outcome) -> Outcome {
    match origin.standing {
        StandingKind::Allowed => Outcome::Allowed,
        StandingKind::Metered | StandingKind::Banned => outcome,
    }
}

/// A drop for the framing's sake, not a limit's: it spares those from whom nothing may be refused.
#[inline(always)]
const fn pass_spared(origin: Origin, dropped: Outcome) -> Outcome {
    match origin.standing {
        StandingKind::Allowed => Outcome::Allowed,
        StandingKind::Metered | StandingKind::Banned => {
            if origin.observe {
                Outcome::SmppUnsynchronised
            } else {
                dropped
            }
        }
    }
}
