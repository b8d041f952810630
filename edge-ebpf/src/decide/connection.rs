//! A TCP connection as a whole: whether it may begin, and whether it is to end. Nothing of what it carries is read here.

use super::segment::spare_allowed;
use super::{Metered, Origin, Scope, World, meter};
use crate::abi::{Allowance, Class, Outcome, Service, StandingKind, policy_flag};
use crate::wire::{Headers, transport};

/// Why a segment is looked at before what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connecting {
    /// None for most: [`Self::OPENS`], [`Self::UNCLEAR`].
    pub bits: u32,
}

impl Connecting {
    /// It asks for a new connection.
    const OPENS: u32 = 1;
    /// A server's TCP may read it otherwise ([`transport::Header::is_unclear`]).
    const UNCLEAR: u32 = 2;

    /// What there is to be said of a segment.
    #[must_use]
    #[inline(always)]
    pub const fn of(segment: &transport::Header) -> Self {
        let opens = if segment.opens() { Self::OPENS } else { 0 };
        let is_unclear = if segment.is_unclear { Self::UNCLEAR } else { 0 };
        Self { bits: opens | is_unclear }
    }
}

/// A new connection: its SYN; or a segment that nobody can frame. `None`: it may go on, and is judged as what it carries.
///
/// A SYN that comes again is charged again: nothing is remembered of connections here, so that a flood of them costs no
/// memory. A sender whose SYN was dropped sends it again after 1, 3, 7 … seconds (RFC 6298).
#[inline(always)]
pub fn judge_connection<W: World>(
    world: &mut W,
    origin: Origin,
    service: Service,
    segment: Connecting,
    now_ns: u64,
) -> Option<Outcome> {
    if segment.bits & Connecting::UNCLEAR != 0 && origin.is_held() && !is_unread(service) {
        return Some(Outcome::TcpUnclear);
    }
    if segment.bits & Connecting::OPENS == 0 {
        return None;
    }
    if matches!(origin.standing, StandingKind::Allowed) {
        world.count(Class::Connections, Allowance::Exempt, 1);
        return None;
    }
    let (allowance, outcome) = if is_suspended(origin) && is_unread(service) {
        (Allowance::Refused, Some(Outcome::ConnectionSuspended))
    } else {
        match meter(world, Class::Connections, 1, now_ns) {
            Metered::Within => (Allowance::Admitted, None),
            // It goes on: what it carries would not be understood without its beginning.
            Metered::Over(_) if origin.observe => (Allowance::Observed, None),
            Metered::Over(Scope::Source) => (Allowance::Refused, Some(Outcome::ConnectionOverSource)),
            Metered::Over(Scope::Account) => (Allowance::Refused, Some(Outcome::ConnectionOverAccount)),
        }
    };
    world.count(Class::Connections, allowance, 1);
    outcome
}

/// A segment of a connection whose messages cannot be read.
#[inline(always)]
pub fn judge_tls<W: World>(world: &mut W, origin: Origin, headers: &Headers, now_ns: u64) -> Outcome {
    let is_metered = matches!(origin.standing, StandingKind::Metered);
    if is_metered && is_suspended(origin) && continues(headers) && reset(world, now_ns) {
        return Outcome::ResetSuspended;
    }
    spare_allowed(origin, Outcome::TlsStream)
}

/// Whether a connection that is to end is reset with the segment at hand. Each reset reaches the server, so that they are
/// held to the same bucket of the source as answers are: segments of connections that there are not become no flood.
#[inline(always)]
pub(super) fn reset<W: World>(world: &mut W, now_ns: u64) -> bool {
    world.resets() && world.attend(now_ns)
}

/// Whether a packet is a segment of a connection that has begun.
#[inline(always)]
pub(super) const fn continues(headers: &Headers) -> bool {
    !headers.ip.is_fragment && headers.transport.continues()
}

/// Suspension refuses messages where they can be read, and connections where they cannot: an account is known by what it
/// sends, if it says so there (`system_id`), and what is within a dialog is never refused.
#[inline(always)]
const fn is_unread(service: Service) -> bool {
    matches!(service, Service::SipTls | Service::SmppTls)
}

#[inline(always)]
const fn is_suspended(origin: Origin) -> bool {
    origin.has(policy_flag::SUSPENDED) && !origin.observe
}
