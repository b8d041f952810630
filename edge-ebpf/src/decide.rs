//! The journey of a packet from its headers to its one outcome: the truth table.
//!
//! [`route`] tells the way, [`enter`] begins it, and what judges the service ends it. All are generic over the [`World`],
//! which is all that they need of state, so that the kernel programs (maps, atomics, helpers) and the host's model (plain
//! collections) run the very same decisions.

mod connection;
mod datagram;
mod segment;
mod stream;

use network_types::ip::IpProto;

pub use self::connection::judge_tls;
pub use self::connection::{Connecting, judge_connection};
use self::connection::{continues, reset};
pub use self::datagram::{Refusal, Settled, Slot, answered, judge_datagram};
pub use self::segment::spare_allowed;
pub use self::segment::{Bind, Found, Framed, Opened, open_segment, settle_segment};
pub use self::stream::{count_passed, judge_request, settle_stream};

use crate::abi::{
    Allowance, Class, FullMap, Limit, Method, Outcome, RefusalMode, Service, SourceKey, StandingKind,
};
use crate::native::Judged;
use crate::packet::Packet;
use crate::stream::sip::{Spot, Tally};
use crate::wire::{self, Headers, Reason, sip, transport};

/// Whose bucket is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The single source.
    Source,
    /// The account, over all its sources.
    Account,
}

/// What is known of a packet's source before its payload is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// What was decided about the source beforehand, where it has not ended.
    pub standing: StandingKind,
    /// Whether nothing may be refused: the edge or the account is in observe mode.
    pub observe: bool,
    /// Bits of [`crate::abi::policy_flag`].
    pub flags: u32,
}

impl Origin {
    /// Whether the account's policy has that bit.
    #[inline(always)]
    const fn has(self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Whether it is metered where limits hold.
    #[inline(always)]
    const fn is_held(self) -> bool {
        matches!(self.standing, StandingKind::Metered) && !self.observe
    }

    /// An outcome for who is held to limits; another for who is spared.
    #[inline(always)]
    const fn unless_spared(self, outcome: Outcome, spared: Outcome) -> Outcome {
        if self.is_held() { outcome } else { spared }
    }
}

/// Which way a packet goes, by its headers alone. Each service has a way of its own, which begins with [`enter`]: in the
/// kernel a program of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Nowhere: that is its outcome.
    Ends(Outcome),
    /// To [`judge_portless`].
    Portless,
    /// To what judges that service: [`judge_datagram`] and [`answered`], [`open_segment`] and [`settle_segment`],
    /// [`settle_stream`] or [`judge_tls`].
    Service(Service),
}

/// State, clock and maps, as the judgement needs them. One value lives for one packet.
pub trait World {
    /// Nanoseconds of the monotonic clock; asked once a packet.
    fn now_ns(&self) -> u64;

    /// Finds the source and its account, as all later calls mean them; a source that is new is remembered if
    /// `remember` says so. `None`: it is new and not to be remembered, or there is no room.
    fn enter(&mut self, source: &SourceKey, remember: bool, now_ns: u64) -> Option<Origin>;

    /// The limit in force.
    fn limit(&self, scope: Scope, class: Class) -> Limit;

    /// Charges a bucket if the cost conforms to the limit ([`crate::meter::charge`]), atomically.
    fn charge(&mut self, scope: Scope, class: Class, limit: Limit, cost: u32, now_ns: u64) -> bool;

    /// Gives back what [`Self::charge`] took.
    fn refund(&mut self, scope: Scope, class: Class, limit: Limit, cost: u32);

    /// Charges a bucket that [`Self::charge`] has just found full: what passes over a limit is owed
    /// ([`crate::meter::owe`]).
    fn owe(&mut self, scope: Scope, class: Class, limit: Limit, cost: u32, now_ns: u64);

    /// What becomes of requests over a limit on the port of a segment of SIP over TCP.
    fn stream_refusal(&mut self, now_ns: u64) -> RefusalMode;

    /// Gives the requests of the segment that may be changed to [`judge_request`], one by one.
    fn judge_requests(&mut self, tally: &mut Tally, now_ns: u64);

    /// Refuses the request that may be changed at `spot`, and remembers it. `false`: there is no room.
    fn refuse_request(&mut self, spot: Spot, now_ns: u64) -> bool;

    /// Counts SIP messages by the index of their [`Method`].
    fn count_methods(&mut self, method: usize, messages: u32);

    /// Counts messages of the account and the source. Under [`Class::Packets`] only what a flood or a ban
    /// brought is counted: an admitted packet is counted as the message that it carries.
    fn count(&mut self, class: Class, allowance: Allowance, messages: u32);

    /// [`count_passed`]. The kernel does it apart, so that it is proven once and not for each way that leads to it.
    #[inline(always)]
    fn count_passed(&mut self, tally: &Tally, is_allowed: bool)
    where
        Self: Sized,
    {
        count_passed(self, tally, is_allowed);
    }

    /// [`judge_connection`]. The kernel does it apart: few packets begin a connection, and all of them would have to have the
    /// stack that it needs.
    #[inline(always)]
    fn judge_connection(
        &mut self,
        origin: Origin,
        service: Service,
        segment: Connecting,
        now_ns: u64,
    ) -> Option<Outcome>
    where
        Self: Sized,
    {
        judge_connection(self, origin, service, segment, now_ns)
    }

    /// Counts a SIP message by method.
    fn count_method(&mut self, method: Method);

    /// Counts an admitted message by the prefix it is addressed to.
    fn count_called(&mut self, called: u32);

    /// What became of the request of which this is a retransmission: [`crate::repeat::find`].
    fn earlier(&mut self, fingerprint: u64, now_ns: u64) -> Option<u64>;

    /// Remembers what became of a request: its fingerprint with its mark.
    fn remember(&mut self, fingerprint: u64, now_ns: u64);

    /// Remembers that the request that was just read passes, where its answer is waited for ([`crate::awaited`]).
    fn await_answer(&mut self, method: Method, now_ns: u64);

    /// Whether the source may have another refusal recorded and answered: a bucket of its own, so that neither
    /// answers nor records can be had in floods.
    fn attend(&mut self, now_ns: u64) -> bool;

    /// Whether connections that are to end are reset.
    fn resets(&self) -> bool;

    /// Whether refused requests of a class are to be answered.
    fn answers(&self, class: Class) -> bool;

    /// Says that the source was refused so many messages, which are counted already.
    fn tell_refused(&mut self, class: Class, messages: u32, now_ns: u64);

    /// Says that a map had no room for what the packet brought.
    fn tell_full(&mut self, map: FullMap, now_ns: u64);

    /// Reads the datagram's payload as SIP.
    fn read_sip(&mut self, transport: &transport::Header) -> sip::Message;

    /// Whether the request that was just read shows a caller ID that is none of its account's.
    fn has_foreign_caller(&mut self) -> bool;

    /// Counts and says that it did; `is_read` if it was read.
    fn tell_caller(&mut self, is_read: bool, now_ns: u64);

    /// Says so if the request that was just read names a known scanner as its user agent, and its source is a stranger.
    fn look_at_agent(&mut self, now_ns: u64);

    /// Takes a slot for the call whose INVITE was just read. Without `may_refuse` it takes one in any case, and tells
    /// what it would have been.
    fn open_call(&mut self, may_refuse: bool, now_ns: u64) -> Slot;

    /// Leaves a record of a call that is refused.
    fn record_refused(&mut self, refusal: Refusal, now_ns: u64);

    /// Finds the segment's connection, for us alone until [`Self::keep_segment`] or [`Self::drop_segment`].
    fn open_segment(&mut self, headers: &Headers, now_ns: u64) -> Opened;

    /// What is known of the account under whose `system_id` the connection is bound, which all later calls mean then; else
    /// `origin`. What was decided about the source holds in any case.
    fn bound(&mut self, origin: Origin) -> Origin;

    /// What becomes of messages over a limit on the connection's port.
    fn refusal(&mut self, now_ns: u64) -> RefusalMode;

    /// What became of the segment's messages, where each was judged by itself.
    fn judged(&self) -> Judged;

    /// Whether there is a place for the bind that the segment brings.
    fn ask_bind(&mut self, is_suspended: bool) -> Bind;

    /// Keeps what framing found, because the segment passes: the connection's state, PDUs by
    /// command, its bind, and called prefixes. If it shows that the connection is not SMPP, that is said
    /// once.
    fn keep_segment(&mut self);

    /// Forgets it, because the segment is dropped, and gives back what its messages were charged on the way.
    fn drop_segment(&mut self);
}

/// Whether a glance at the frame shows that it is not ours: asked before anything else, so that other traffic
/// passes within nanoseconds. `services` tells what listens on a port, as bits of [`Service`].
#[inline(always)]
pub fn is_foreign<P: Packet + ?Sized>(packet: &P, services: impl FnOnce(u16) -> u8) -> bool {
    match wire::glance(packet) {
        Some((protocol, _, port)) => is_foreign_port(protocol, port, services),
        None => false,
    }
}

/// Whether nothing of ours is spoken over a protocol on a port.
#[inline(always)]
pub(crate) fn is_foreign_port(protocol: u8, port: u16, services: impl FnOnce(u16) -> u8) -> bool {
    let ours = if protocol == IpProto::Udp as u8 {
        bit(Service::SipUdp)
    } else if protocol == IpProto::Tcp as u8 {
        bit(Service::SipTcp) | bit(Service::SmppTcp) | bit(Service::SipTls) | bit(Service::SmppTls)
    } else {
        0
    };
    ours == 0 || services(port) & ours == 0
}

/// The way of a packet whose headers were read as `parsed` says. `services` tells what listens on a port, as
/// bits of [`Service`].
#[inline(always)]
pub fn route(parsed: Result<(), Reason>, headers: &Headers, services: impl FnOnce(u16) -> u8) -> Route {
    match parsed {
        Ok(()) => {}
        Err(Reason::Truncated) => return Route::Ends(Outcome::Truncated),
        Err(Reason::Foreign) => return Route::Ends(Outcome::NotOurs),
    }
    if headers.ip.is_later_fragment || headers.ip.is_too_deep {
        return Route::Portless;
    }
    let transport = &headers.transport;
    let services = services(u16::from_be_bytes(transport.destination_port));
    match service(transport.is_tcp, services) {
        Some(service) => Route::Service(service),
        None => Route::Ends(Outcome::NotOurs),
    }
}

/// Where the way of each service begins: source, standing, flood and connection. An error is the outcome where the journey
/// ends; else it goes on under this origin, and at this time.
#[inline(always)]
pub fn enter<W: World>(world: &mut W, headers: &Headers, service: Service) -> Result<(Origin, u64), Outcome> {
    let now_ns = world.now_ns();
    let Some(origin) = world.enter(&headers.ip.source, true, now_ns) else {
        return Err(Outcome::Unjudged);
    };
    if let Some(outcome) = judge_source(world, origin, now_ns) {
        let ends = matches!(outcome, Outcome::Banned) && continues(headers);
        return Err(if ends && reset(world, now_ns) { Outcome::ResetBanned } else { outcome });
    }
    let segment = Connecting::of(&headers.transport);
    if segment.bits != 0
        && let Some(outcome) = world.judge_connection(origin, service, segment, now_ns)
    {
        return Err(outcome);
    }
    if headers.ip.is_fragment && headers.transport.is_tcp {
        return Err(Outcome::Fragment);
    }
    Ok((origin, now_ns))
}

/// What is spoken over a transport on a port with these services.
#[inline(always)]
pub(crate) const fn service(is_tcp: bool, services: u8) -> Option<Service> {
    if is_tcp {
        if services & bit(Service::SmppTcp) != 0 {
            Some(Service::SmppTcp)
        } else if services & bit(Service::SipTcp) != 0 {
            Some(Service::SipTcp)
        } else if services & bit(Service::SipTls) != 0 {
            Some(Service::SipTls)
        } else if services & bit(Service::SmppTls) != 0 {
            Some(Service::SmppTls)
        } else {
            None
        }
    } else if services & bit(Service::SipUdp) != 0 {
        Some(Service::SipUdp)
    } else {
        None
    }
}

/// A packet without ports. A fragment's source is metered if it is known from other traffic to our ports, so
/// that what is not ours passes untouched. Headers too deep to be read can only be meant to hide what follows.
#[inline(always)]
pub fn judge_portless<W: World>(world: &mut W, headers: &Headers) -> Outcome {
    let now_ns = world.now_ns();
    match world.enter(&headers.ip.source, headers.ip.is_too_deep, now_ns) {
        Some(origin) => {
            let hidden = origin.unless_spared(Outcome::HeadersHidden, Outcome::Fragment);
            let outcome = if headers.ip.is_too_deep { hidden } else { Outcome::Fragment };
            judge_source(world, origin, now_ns).unwrap_or(outcome)
        }
        None => Outcome::Fragment,
    }
}

/// Standing and flood, from the headers alone: a flooding source costs next to nothing.
#[inline(always)]
fn judge_source<W: World>(world: &mut W, origin: Origin, now_ns: u64) -> Option<Outcome> {
    match origin.standing {
        StandingKind::Allowed => return None,
        StandingKind::Banned if origin.observe => {
            world.count(Class::Packets, Allowance::Observed, 1);
            return Some(Outcome::BannedObserved);
        }
        StandingKind::Banned => {
            world.count(Class::Packets, Allowance::Refused, 1);
            return Some(Outcome::Banned);
        }
        StandingKind::Metered => {}
    }
    let (allowance, outcome) = match meter(world, Class::Packets, 1, now_ns) {
        Metered::Within => return None,
        Metered::Over(_) if origin.observe => (Allowance::Observed, Outcome::FloodObserved),
        Metered::Over(Scope::Source) => (Allowance::Refused, Outcome::FloodSource),
        Metered::Over(Scope::Account) => (Allowance::Refused, Outcome::FloodAccount),
    };
    world.count(Class::Packets, allowance, 1);
    Some(outcome)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Metered {
    Within,
    Over(Scope),
}

/// Charges the source's bucket, then the account's; a message that the account has no room for costs its
/// source nothing.
#[inline(always)]
fn meter<W: World>(world: &mut W, class: Class, cost: u32, now_ns: u64) -> Metered {
    if cost == 0 {
        return Metered::Within;
    }
    let source_limit = world.limit(Scope::Source, class);
    if source_limit != Limit::NONE && !world.charge(Scope::Source, class, source_limit, cost, now_ns) {
        return Metered::Over(Scope::Source);
    }
    let account_limit = world.limit(Scope::Account, class);
    if account_limit != Limit::NONE && !world.charge(Scope::Account, class, account_limit, cost, now_ns) {
        if source_limit != Limit::NONE {
            world.refund(Scope::Source, class, source_limit, cost);
        }
        return Metered::Over(Scope::Account);
    }
    Metered::Within
}

/// Gives back what [`meter`] charged to the source's bucket and the account's.
#[inline(always)]
fn give_back<W: World>(world: &mut W, class: Class, cost: u32) {
    if cost == 0 {
        return;
    }
    for scope in [Scope::Source, Scope::Account] {
        let limit = world.limit(scope, class);
        if limit != Limit::NONE {
            world.refund(scope, class, limit, cost);
        }
    }
}

#[inline(always)]
const fn bit(service: Service) -> u8 {
    1 << service.index()
}
