//! The kernel's side of [`edge_ebpf::decide`]: its state is in maps, its clock and copies are helpers.

use aya_ebpf::programs::XdpContext;
use edge_ebpf::abi::{
    Allowance, Class, EventKind, FullMap, Limit, Method, Mode, Outcome, Ports, RefusalMode, Service,
    Settings, SourceKey, SourceState,
};
use edge_ebpf::awaited::is_awaited;
use edge_ebpf::decide::{Bind, Connecting, Opened, Origin, Refusal, Scope, Slot, World};
use edge_ebpf::hash::mix;
use edge_ebpf::native::Judged;
use edge_ebpf::stream::Flow;
use edge_ebpf::stream::sip::{Spot, Tally};
use edge_ebpf::verifier::opaque;
use edge_ebpf::wire::sip::Message;
use edge_ebpf::wire::{Headers, transport};

use crate::accounts::Party;
use crate::xdp_packet::XdpPacket;
use crate::{
    agents, awaited, callers, calls, clock, counters, events, maps, refusal, segment, sip, sip_refusal,
    sip_stream, smpp, tcp,
};

/// All that one packet is judged with.
pub(crate) struct Kernel<'a> {
    ctx: &'a XdpContext,
    settings: &'static Settings,
    ports: &'static Ports,
    /// The source's key, as two words: bytes would be copied one by one.
    source: [u64; 2],
    party: Option<Party>,
    segment: smpp::Segment,
    /// Whether charges and counts are calls: in place they cost less, but room on the stack.
    spares_stack: bool,
    fate: Fate,
}

/// What is to become of the segment at hand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Open,
    Kept,
    Dropped,
}

impl<'a> Kernel<'a> {
    #[inline(always)]
    pub(crate) fn new(ctx: &'a XdpContext, settings: &'static Settings, ports: &'static Ports) -> Self {
        Self {
            ctx,
            settings,
            ports,
            source: [opaque(0), opaque(0)],
            party: None,
            segment: smpp::Segment::none(),
            spares_stack: false,
            fate: Fate::Open,
        }
    }

    /// As [`Self::new`], where the stack is full.
    #[inline(always)]
    pub(crate) fn sparing_stack(
        ctx: &'a XdpContext,
        settings: &'static Settings,
        ports: &'static Ports,
    ) -> Self {
        Self { spares_stack: true, ..Self::new(ctx, settings, ports) }
    }

    /// Goes on with a source that was found before. In place: the stack has no room for copies.
    #[inline(always)]
    pub(crate) fn resume(&mut self, party: Party, address: [u64; 2]) {
        let [high, low] = address;
        // Apart: both in one go would become a call to move them.
        self.source[0] = opaque(high);
        self.source[1] = opaque(low);
        self.party = Some(party);
    }

    /// The account under which is judged; 0 if there is none yet.
    #[inline(always)]
    pub(crate) fn number(&self) -> u32 {
        self.party.map_or(0, |party| party.number)
    }

    /// Frames a segment whose connection was found and locked before.
    #[inline(always)]
    pub(crate) fn frame_segment(
        &mut self,
        scratch: *mut segment::Scratch,
        flow: *mut Flow,
        judging: u32,
        now_ns: u64,
    ) {
        if let Some(party) = &self.party {
            self.segment.resume(self.ctx.ctx, scratch, flow);
            self.segment.frame(party, judging, self.settings, now_ns);
        }
    }

    /// The connection of the segment at hand, locked.
    #[inline(always)]
    pub(crate) const fn flow(&self) -> *mut Flow {
        self.segment.flow
    }

    /// The source that was found, and its key.
    #[inline(always)]
    pub(crate) fn entered(&self) -> Option<(*mut SourceState, [u64; 2])> {
        self.party.map(|party| (party.source, self.source))
    }
}

/// The services that listen on a port, a bit each.
#[inline(always)]
pub(crate) fn services(ports: &Ports, port: u16) -> u8 {
    // The verifier of 6.1 knows nothing of a value whose bytes were swapped: it must see the bound.
    ports.services[(opaque(u64::from(port)) & 0xffff) as usize]
}

impl World for Kernel<'_> {
    #[inline(always)]
    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }

    #[inline(always)]
    fn enter(&mut self, source: &SourceKey, remember: bool, now_ns: u64) -> Option<Origin> {
        // A copy is handed over: where the address of a field is known outside, LLVM keeps the whole value on the stack.
        let key = aggregated(source, &self.settings.ipv6_mask);
        self.source = [opaque(key[0]), opaque(key[1])];
        let Some(party) = Party::find(&key, remember, self.settings, now_ns) else {
            if remember {
                self.tell_full(FullMap::Sources, now_ns);
            }
            return None;
        };
        self.party = Some(party);
        let enforce = Mode::Enforce as u32;
        // SAFETY: a map value.
        let observe = self.settings.mode != enforce || unsafe { (*party.policy).mode } != enforce;
        // SAFETY: as above.
        let flags = unsafe { (*party.policy).flags };
        Some(Origin { standing: party.standing(now_ns), observe, flags })
    }

    #[inline(always)]
    fn limit(&self, scope: Scope, class: Class) -> Limit {
        match &self.party {
            Some(party) => party.limit(scope, class),
            None => Limit::NONE,
        }
    }

    #[inline(always)]
    fn charge(&mut self, scope: Scope, class: Class, limit: Limit, cost: u32, now_ns: u64) -> bool {
        match &self.party {
            Some(party) if self.spares_stack => party.charge_apart(scope, class, limit, cost, now_ns),
            Some(party) => party.charge(scope, class, limit, cost, now_ns),
            None => true,
        }
    }

    #[inline(always)]
    fn refund(&mut self, scope: Scope, class: Class, limit: Limit, cost: u32) {
        if let Some(party) = self.party {
            party.refund(scope, class, limit, cost);
        }
    }

    #[inline(always)]
    fn owe(&mut self, scope: Scope, class: Class, limit: Limit, cost: u32, now_ns: u64) {
        if let Some(party) = self.party {
            party.owe(scope, class, limit, cost, now_ns);
        }
    }

    #[inline(always)]
    fn count_passed(&mut self, _tally: &Tally, is_allowed: bool) {
        if let Some(party) = self.party {
            sip_stream::edge_count_passed(party.source, u64::from(is_allowed));
        }
    }

    #[inline(always)]
    fn stream_refusal(&mut self, now_ns: u64) -> RefusalMode {
        sip_refusal::mode(self.ports, self.settings, now_ns)
    }

    #[inline(always)]
    fn judge_requests(&mut self, tally: &mut Tally, now_ns: u64) {
        if let Some(party) = self.party {
            sip_refusal::edge_judge_requests(self.ctx.ctx, party.source, tally, now_ns);
        }
    }

    #[inline(always)]
    fn refuse_request(&mut self, spot: Spot, now_ns: u64) -> bool {
        sip_refusal::edge_refuse_request(self.ctx.ctx, u64::from(spot.seq), u64::from(spot.len), now_ns) != 0
    }

    #[inline(always)]
    fn count_methods(&mut self, method: usize, messages: u32) {
        if let Some(party) = self.party {
            counters::methods(party.account, method, u64::from(messages));
        }
    }

    #[inline(always)]
    fn count(&mut self, class: Class, allowance: Allowance, messages: u32) {
        if let Some(party) = self.party {
            if self.spares_stack {
                let (class, allowance) = (class.index() as u64, allowance.index() as u64);
                counters::edge_count(party.account, party.source, class, allowance, u64::from(messages));
            } else {
                counters::messages(party.account, party.source, class, allowance, messages);
            }
        }
    }

    #[inline(always)]
    fn judge_connection(
        &mut self,
        origin: Origin,
        service: Service,
        segment: Connecting,
        now_ns: u64,
    ) -> Option<Outcome> {
        let party = self.party?;
        tcp::judge_connection(party.source, origin, service, segment, now_ns)
    }

    #[inline(always)]
    fn count_method(&mut self, method: Method) {
        if let Some(party) = self.party {
            counters::method(party.account, method);
        }
    }

    #[inline(always)]
    fn count_called(&mut self, called: u32) {
        if let Some(party) = self.party
            && !counters::called(party.number, self.settings.prefix_epoch, called, 1)
        {
            self.tell_full(FullMap::Prefixes, clock::now_ns());
        }
    }

    #[inline(always)]
    fn earlier(&mut self, fingerprint: u64, now_ns: u64) -> Option<u64> {
        sip::earlier(fingerprint, self.settings.repeat_window_ns, now_ns)
    }

    #[inline(always)]
    fn remember(&mut self, fingerprint: u64, now_ns: u64) {
        if let Some(request) = maps::SIP_SCRATCH.get_ptr(0) {
            // SAFETY: this CPU's own value.
            sip::remember(unsafe { &*request }, fingerprint, now_ns);
        }
    }

    #[inline(always)]
    fn await_answer(&mut self, method: Method, now_ns: u64) {
        if is_awaited(method, self.number()) {
            awaited::await_answer(self.source, method, now_ns);
        }
    }

    #[inline(always)]
    fn tell_refused(&mut self, class: Class, messages: u32, now_ns: u64) {
        let Some(party) = self.party else { return };
        // Over a limit, but no scanner: it has shown credentials.
        if party.is_registered() {
            return;
        }
        // SAFETY: a map value.
        let refused = unsafe { (*party.source).messages[Allowance::Refused as usize] };
        let before = refused.wrapping_sub(u64::from(messages));
        // The 1st, 2nd, 4th, 8th … refusal, or what counts it in: an attacker can send few of them however long he tries.
        if refused ^ before > before {
            let class = class.index() as u64;
            events::send(EventKind::SourceRefused, party.number, self.source, class, refused, now_ns);
        }
    }

    #[inline(always)]
    fn tell_full(&mut self, map: FullMap, now_ns: u64) {
        let number = match &self.party {
            Some(party) => party.number,
            None => 0,
        };
        events::send(EventKind::MapFull, number, self.source, map.index() as u64, 0, now_ns);
    }

    #[inline(always)]
    fn read_sip(&mut self, transport: &transport::Header) -> Message {
        // The fingerprint is keyed with the source too: nobody travels on another's admission.
        let [hash_key, _] = self.settings.hash_key;
        let keys = [hash_key, source_key(self.source, self.settings)];
        // SAFETY: a map value.
        let answers = self.party.is_some_and(|party| unsafe { (*party.policy).answered } != 0);
        match sip::read(&XdpPacket(self.ctx), transport, keys, self.settings.prefix_digits, false, answers) {
            Some(scratch) => scratch.message(),
            None => Message::MALFORMED,
        }
    }

    #[inline(always)]
    fn attend(&mut self, now_ns: u64) -> bool {
        let limit = self.settings.answers;
        match self.party {
            Some(party) if limit != Limit::NONE => party.attend(limit, now_ns),
            _ => true,
        }
    }

    #[inline(always)]
    fn resets(&self) -> bool {
        self.settings.resets != 0
    }

    #[inline(always)]
    fn answers(&self, class: Class) -> bool {
        // SAFETY: a map value.
        let answered = self.party.map_or(0, |party| unsafe { (*party.policy).answered });
        answered & 1 << class.index() != 0
    }

    #[inline(always)]
    fn look_at_agent(&mut self, now_ns: u64) {
        if let Some(party) = self.party
            && party.number == 0
            && !party.is_registered()
        {
            agents::look(&party, self.source, now_ns);
        }
    }

    #[inline(always)]
    fn has_foreign_caller(&mut self) -> bool {
        self.party.is_some_and(|party| callers::has_foreign(party.number))
    }

    #[inline(always)]
    fn tell_caller(&mut self, is_read: bool, now_ns: u64) {
        if let Some(party) = self.party {
            callers::tell(&party, self.source, is_read, now_ns);
        }
    }

    #[inline(always)]
    fn open_call(&mut self, may_refuse: bool, now_ns: u64) -> Slot {
        let Some(party) = self.party else { return Slot::Kept };
        calls::note_source(self.source);
        // SAFETY: a map value.
        let calls_max = u64::from(unsafe { (*party.policy).calls_max });
        calls::open(&party, calls_max, may_refuse, now_ns)
    }

    #[inline(always)]
    fn record_refused(&mut self, refusal: Refusal, now_ns: u64) {
        if let Some(party) = self.party {
            calls::note_source(self.source);
            calls::record_refused(&party, refusal, now_ns);
        }
    }

    #[inline(always)]
    fn open_segment(&mut self, headers: &Headers, now_ns: u64) -> Opened {
        self.segment.open(self.ctx.ctx, headers, self.settings.generation, now_ns)
    }

    #[inline(always)]
    fn bound(&mut self, origin: Origin) -> Origin {
        let number = self.segment.account_number();
        let Some(party) = self.party else { return origin };
        let Some(bound) = party.under(number) else { return origin };
        self.party = Some(bound);
        let enforce = Mode::Enforce as u32;
        // SAFETY: a map value.
        let (mode, flags) = unsafe { ((*bound.policy).mode, (*bound.policy).flags) };
        Origin { standing: origin.standing, observe: self.settings.mode != enforce || mode != enforce, flags }
    }

    #[inline(always)]
    fn refusal(&mut self, now_ns: u64) -> RefusalMode {
        refusal::mode(self.ports, self.settings, self.segment.port(), now_ns)
    }

    #[inline(always)]
    fn judged(&self) -> Judged {
        self.segment.judged()
    }

    #[inline(always)]
    fn ask_bind(&mut self, is_suspended: bool) -> Bind {
        match &self.party {
            Some(party) => self.segment.ask_bind(party, is_suspended),
            None => Bind::Within,
        }
    }

    #[inline(always)]
    fn keep_segment(&mut self) {
        self.fate = Fate::Kept;
    }

    #[inline(always)]
    fn drop_segment(&mut self) {
        self.fate = Fate::Dropped;
    }
}

impl Kernel<'_> {
    /// Does what was decided about the segment, once for all ways that lead there: a call of its own on each of them would
    /// cost more than the work. Until then its connection stays locked, and what was said of its messages is said before.
    #[inline(always)]
    pub(crate) fn close_segment(&mut self) {
        match self.fate {
            Fate::Open => {}
            Fate::Kept => self.keep(),
            Fate::Dropped => self.segment.forget(),
        }
    }

    #[inline(always)]
    fn keep(&mut self) {
        let now_ns = self.segment.now_ns();
        if let Some(party) = self.party
            && !self.segment.keep(&party, self.settings, now_ns)
        {
            self.tell_full(FullMap::Prefixes, now_ns);
        }
        if let (Some(party), Some(port)) = (self.party, self.segment.unframed_port()) {
            events::send(EventKind::FlowUnframed, party.number, self.source, u64::from(port), 0, now_ns);
        }
    }
}

/// The source that an address belongs to: itself if it is IPv4 (RFC 4291 2.5.5.2); many IPv6 addresses make
/// one, because a customer owns a whole prefix of them. By words: bytes would be copied one by one.
#[inline(always)]
pub(crate) fn aggregated(address: &SourceKey, mask: &[u8; 16]) -> [u64; 2] {
    let [high, low]: [u64; 2] = zerocopy::transmute!(*address);
    if high == 0 && low & MAPPED_MASK == MAPPED {
        return [high, low];
    }
    let [high_mask, low_mask]: [u64; 2] = zerocopy::transmute!(*mask);
    [high & high_mask, low & low_mask]
}

/// A source as a keyed hash.
#[inline(always)]
pub(crate) fn source_key([low, high]: [u64; 2], settings: &Settings) -> u64 {
    let [_, key] = settings.hash_key;
    mix(mix(key, low), high)
}

const MAPPED: u64 = u64::from_ne_bytes([0, 0, 0xff, 0xff, 0, 0, 0, 0]);
const MAPPED_MASK: u64 = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
