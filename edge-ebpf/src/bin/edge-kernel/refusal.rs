//! Refusing messages in SMPP's own words: what [`edge_ebpf::native`] needs of maps, buckets and packets.

use core::ffi::c_void;

use aya_ebpf::bindings::{BPF_NOEXIST, xdp_md};
use aya_ebpf::helpers::generated::{bpf_csum_diff, bpf_loop, bpf_xdp_load_bytes, bpf_xdp_store_bytes};
use aya_ebpf::programs::XdpContext;
use edge_ebpf::abi::{
    AccountState, Class, EventKind, FullMap, Limit, Listener, Ports, RefusalMode, Settings, SourceState,
    refusal_of,
};
use edge_ebpf::decide::Scope;
use edge_ebpf::meter::price_ns;
use edge_ebpf::native::{Judge, Refusals, Rewrite, fold, overlap, pseudo_sum};
use edge_ebpf::packet::Packet as _;
use edge_ebpf::stream::{self, Walk, Witness as _};
use edge_ebpf::verifier::opaque;
use edge_ebpf::wire::smpp::{Header, PREFIX_ROOM};

use crate::messages::Reader;
use crate::segment::Scratch;
use crate::smpp::Segment;
use crate::xdp_packet::XdpPacket;
use crate::{accounts, atomic, clock, events, maps, messages, senders};

/// Octets that are summed up at once: as many as `bpf_csum_diff` takes before kernel 6.13.
const SUM_BYTES: u32 = 512;
/// Turns for the largest packet.
const SUMS_MAX: u32 = 65_536 / SUM_BYTES + 1;
/// Where TCP's checksum lies in its header (RFC 9293 3.1).
const CHECKSUM_AT: usize = 16;

/// What one message costs, and whether it is read.
pub(crate) struct Prices {
    pub(crate) source: Limit,
    pub(crate) account: Limit,
    pub(crate) refusals: Limit,
    pub(crate) now_ns: u64,
    /// Not 0 if messages are read.
    pub(crate) reads: u32,
}

/// A client's segment, as [`edge_ebpf::native::Refuser`] needs it.
pub(crate) struct XdpSegment<'a> {
    pub(crate) frame: *mut xdp_md,
    pub(crate) segment: stream::Segment,
    pub(crate) prices: &'a Prices,
    pub(crate) source: *mut SourceState,
    pub(crate) account: *mut AccountState,
}

impl Rewrite for XdpSegment<'_> {
    #[inline(always)]
    fn write(&mut self, seq: u32, octets: [u8; 4]) {
        rewrite(self.frame, self.segment, seq, octets);
    }
}

impl Judge for XdpSegment<'_> {
    #[inline(always)]
    fn charge(&mut self, scope: Scope) -> bool {
        let (limit, bucket) = self.bucket(scope);
        limit == Limit::NONE || accounts::charge(bucket, limit, 1, self.prices.now_ns)
    }

    #[inline(always)]
    fn refund(&mut self, scope: Scope) {
        let (limit, bucket) = self.bucket(scope);
        if limit != Limit::NONE {
            atomic::add(bucket, price_ns(limit, 1).wrapping_neg());
        }
    }

    #[inline(always)]
    fn owe(&mut self, scope: Scope, messages: u32) {
        let (limit, bucket) = self.bucket(scope);
        if limit != Limit::NONE {
            atomic::add(bucket, price_ns(limit, messages));
        }
    }

    #[inline(always)]
    fn weigh(&mut self, header: Header, octets: &[u8; PREFIX_ROOM]) -> u32 {
        messages::further_destinations(header, octets)
    }

    #[inline(always)]
    fn call(&mut self, walk: &mut Walk) {
        messages::edge_call_destinations(walk);
    }

    #[inline(always)]
    fn read(&mut self, start: u32, header: Header, octets: &[u8; PREFIX_ROOM]) {
        Reader { reads: self.prices.reads }.read(start, header, octets);
    }

    #[inline(always)]
    fn is_foreign(&mut self, octets: &[u8; PREFIX_ROOM], seen: u32) -> bool {
        senders::is_foreign(octets, seen)
    }

    #[inline(always)]
    fn may_refuse(&mut self) -> bool {
        let limit = self.prices.refusals;
        // SAFETY: within a map value.
        let bucket = unsafe { &raw mut (*self.source).refusals_ns };
        limit == Limit::NONE || accounts::charge(bucket, limit, 1, self.prices.now_ns)
    }
}

impl XdpSegment<'_> {
    #[inline(always)]
    fn bucket(&self, scope: Scope) -> (Limit, *mut u64) {
        const CLASS: usize = Class::SmppSubmit as usize;
        // SAFETY: within map values.
        unsafe {
            match scope {
                Scope::Source => (self.prices.source, &raw mut (*self.source).buckets[CLASS]),
                Scope::Account => (self.prices.account, &raw mut (*self.account).buckets[CLASS]),
            }
        }
    }
}

/// How messages over a limit are refused on a port now.
#[inline(always)]
pub(crate) fn mode(ports: &Ports, settings: &Settings, port: u16, now_ns: u64) -> RefusalMode {
    let index = opaque(u64::from(port)) & 0xffff;
    let (mode, _) = refusal_of(ports.refusals[index as usize]);
    if !matches!(mode, RefusalMode::Native) {
        return mode;
    }
    let Some(listener) = maps::LISTENERS.get_ptr_mut(index as u32) else { return RefusalMode::Drop };
    // SAFETY: a map value, whose words each stand for themselves.
    let (fallen_ns, waiting, since_ns) =
        unsafe { ((*listener).fallen_back_ns, (*listener).waiting, (*listener).waiting_since_ns) };
    if fallen_ns > settings.refusals_armed_ns {
        return RefusalMode::Drop;
    }
    let limit_ns = settings.refusal_answer_ns;
    if limit_ns == 0
        // What went unanswered before refusals were armed again is not held against the server a second time.
        || since_ns < settings.refusals_armed_ns
        || waiting.cast_signed() <= 0
        || now_ns.wrapping_sub(since_ns).cast_signed() <= limit_ns.cast_signed()
    {
        return RefusalMode::Native;
    }
    edge_fall_back(index, fallen_ns, now_ns);
    RefusalMode::Drop
}

/// A listener's refusals have all gone unanswered for too long: it falls back to drop, and one event says so.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_fall_back(port: u64, before_ns: u64, now_ns: u64) -> u64 {
    let Some(listener) = maps::LISTENERS.get_ptr_mut(port as u32) else { return 0 };
    // SAFETY: within the map value.
    let (cell, waiting) = unsafe { (&raw mut (*listener).fallen_back_ns, (*listener).waiting) };
    if atomic::compare_exchange(cell, before_ns, now_ns).1 {
        events::send(EventKind::RefusalsUnanswered, 0, [0, 0], port, waiting, now_ns);
    }
    1
}

/// Counts messages that were refused in a segment that passes.
#[inline(always)]
pub(crate) fn count_refused(
    refusals: *mut Refusals,
    account: *mut AccountState,
    scratch: &Scratch,
    now_ns: u64,
) {
    let refused = scratch.judged.refused;
    if !refusals.is_null() {
        // SAFETY: a map value; only the way in writes this word, under the lock of the flow.
        unsafe { (*refusals).refused = (*refusals).refused.wrapping_add(refused) };
    }
    // SAFETY: within the map value.
    atomic::add(unsafe { &raw mut (*account).counters.smpp_refused }, u64::from(refused));
    count_at_listener(u16::from_be_bytes(scratch.key.destination_port), refused, 0, now_ns);
}

/// Counts refusals whose answers are waited for, as long as more than `few` are.
#[inline(always)]
pub(crate) fn count_at_listener(port: u16, refused: u32, few: i64, now_ns: u64) {
    let Some(listener) = maps::LISTENERS.get_ptr_mut(u32::from(port)) else { return };
    let armed_ns = maps::SETTINGS.get(0).map_or(0, |settings| settings.refusals_armed_ns);
    // SAFETY: within the map value.
    unsafe {
        atomic::add(&raw mut (*listener).refused, u64::from(refused));
        let before = atomic::add(&raw mut (*listener).waiting, u64::from(refused));
        if before.cast_signed() <= few || (*listener).waiting_since_ns < armed_ns {
            (*listener).waiting_since_ns = now_ns;
        }
    }
}

/// Counts answers that the server has given to refused messages.
#[inline(always)]
pub(crate) fn count_answered(port: u16, answered: u32, awaited: u32, unmatched: u32) {
    let Some(listener) = maps::LISTENERS.get_ptr_mut(u32::from(port)) else { return };
    let fewer = if awaited < answered { awaited } else { answered };
    // SAFETY: within the map value.
    unsafe {
        atomic::add(&raw mut (*listener).answered, u64::from(answered));
        atomic::add(&raw mut (*listener).unmatched, u64::from(unmatched));
        atomic::add(&raw mut (*listener).waiting, u64::from(fewer).wrapping_neg());
        if answered != 0 {
            (*listener).waiting_since_ns = clock::now_ns();
        }
    }
}

/// Nobody waits any more for what a connection's server has not answered.
#[inline(always)]
pub(crate) fn stop_waiting(port: u16, refusals: *mut Refusals) {
    // SAFETY: a map value.
    let outstanding = unsafe {
        let outstanding = (*refusals).outstanding();
        (*refusals).refused = (*refusals).answered;
        outstanding
    };
    if outstanding.cast_signed() > 0
        && let Some(listener) = maps::LISTENERS.get_ptr_mut(u32::from(port))
    {
        // SAFETY: within the map value.
        atomic::add(waiting_of(listener), u64::from(outstanding).wrapping_neg());
    }
}

#[inline(always)]
fn waiting_of(listener: *mut Listener) -> *mut u64 {
    // SAFETY: within the map value.
    unsafe { &raw mut (*listener).waiting }
}

/// Makes room for the refusals of the connection in the scratch; 0 if there is none, or if the server's direction cannot
/// be framed: its answers could not be told apart then.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn edge_begin_refusals() -> u64 {
    let Some(scratch) = maps::SMPP_SCRATCH.get_ptr(0) else { return 0 };
    // SAFETY: this CPU's own value.
    let scratch = unsafe { &*scratch };
    let has_begun = begin(scratch);
    let key = &scratch.key;
    if !has_begun && let Some(flow) = maps::FLOWS.get_ptr_mut(key) {
        // SAFETY: the flow is locked by us.
        unsafe { (*flow).lenient = 1 };
    }
    u64::from(has_begun)
}

#[inline(always)]
fn begin(scratch: &Scratch) -> bool {
    let Some(fresh) = maps::FRESH_REFUSALS.get_ptr(0) else { return false };
    // SAFETY: this CPU's own value, which is zero, always.
    let fresh = unsafe { &*fresh };
    let (key, reverse) = (&scratch.key, &scratch.reverse);
    let Some(answers) = maps::FLOWS.get_ptr_mut(reverse) else { return false };
    // SAFETY: a map value, of which one word is read and one is written.
    if !unsafe { (*answers).is_synchronised() } {
        return false;
    }
    if maps::REFUSALS.insert(key, fresh, u64::from(BPF_NOEXIST)).is_err()
        && maps::REFUSALS.get_ptr(key).is_none()
    {
        events::send(EventKind::MapFull, 0, [0, 0], FullMap::Refusals as u64, 0, clock::now_ns());
        return false;
    }
    if let Some(flow) = maps::FLOWS.get_ptr_mut(key) {
        // SAFETY: as above; this flow is locked by us.
        unsafe {
            (*answers).refusing = 1;
            // What comes behind a hole may begin with the rest of an answer, which would go ahead as it is.
            (*answers).strict = 1;
            (*flow).refusing = 1;
        }
    }
    true
}

/// Gives back what messages of the segment in the scratch were charged.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn edge_give_back(source: *mut SourceState, account: *mut AccountState) -> u64 {
    const CLASS: usize = Class::SmppSubmit as usize;
    let Some(scratch) = maps::SMPP_SCRATCH.get_ptr_mut(0) else { return 0 };
    if source.is_null() || account.is_null() {
        return 0;
    }
    // SAFETY: this CPU's own value.
    let scratch = unsafe { &mut *scratch };
    let (prices, judged) = (&scratch.prices, &mut scratch.judged);
    if scratch.judging & edge_ebpf::native::judging::EXEMPT == 0 {
        // SAFETY: within map values.
        let (source, account) =
            unsafe { (&raw mut (*source).buckets[CLASS], &raw mut (*account).buckets[CLASS]) };
        if prices.source != Limit::NONE {
            atomic::add(source, price_ns(prices.source, judged.admitted).wrapping_neg());
        }
        if prices.account != Limit::NONE {
            atomic::add(account, price_ns(prices.account, judged.admitted).wrapping_neg());
        }
    }
    if prices.refusals != Limit::NONE {
        // SAFETY: as above.
        let bucket = unsafe { &raw mut (*source).refusals_ns };
        atomic::add(bucket, price_ns(prices.refusals, judged.refused).wrapping_neg());
    }
    judged.admitted = 0;
    judged.wants_refusals = 0;
    1
}

/// Of what was refused before, only the PDU that is cut where the segment begins can lie in it.
#[inline(never)]
pub(crate) fn disguise_current(segment: &mut Segment) {
    // SAFETY: map values, under the lock of the flow.
    let (scratch, flow, refusals) = unsafe { (&*segment.scratch, &*segment.flow, &*segment.refusals) };
    refusals.disguise_current(flow, &mut changes(segment, scratch));
}

/// What was refused before, in a segment that brings old data.
pub(crate) extern "C" fn disguise_again(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: `run` passes a `Segment`.
    let segment = unsafe { &*context.cast::<Segment>() };
    // SAFETY: as above.
    let (scratch, refusals) = unsafe { (&*segment.scratch, &*segment.refusals) };
    refusals.disguise_again(opaque(index) as usize, &mut changes(segment, scratch));
    0
}

/// What was refused in a segment that is dropped after all.
pub(crate) extern "C" fn undo(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: as in `disguise_again`.
    let segment = unsafe { &*context.cast::<Segment>() };
    // SAFETY: as above.
    let (refusals, committed) = unsafe { (&mut *segment.refusals, (*segment.flow).main.end) };
    refusals.undo(opaque(index) as usize, committed);
    0
}

#[inline(always)]
fn changes<'a>(segment: &Segment, scratch: &'a Scratch) -> XdpSegment<'a> {
    XdpSegment {
        frame: segment.frame,
        segment: scratch.walk.segment(),
        prices: &scratch.prices,
        source: segment.source,
        account: segment.account,
    }
}

/// Writes what of four octets lies in the segment.
#[inline(always)]
fn rewrite(frame: *mut xdp_md, segment: stream::Segment, seq: u32, octets: [u8; 4]) {
    if let Some(overlap) = overlap(segment, seq) {
        let octets = u64::from(u32::from_le_bytes(octets)) >> (8 * overlap.skipped);
        // In place where it can be: a call costs more than the change.
        if overlap.len == 4
            && let Some(scratch) = maps::SMPP_SCRATCH.get_ptr_mut(0)
            && let Some(old) =
                XdpPacket(&XdpContext::new(frame)).replace(overlap.offset as u64, octets as u32)
        {
            if old != octets as u32 {
                // SAFETY: this CPU's own value.
                unsafe { (*scratch).delta.add(old, octets as u32, overlap.offset & 1 != 0) };
            }
            return;
        }
        edge_rewrite(frame, overlap.offset as u64, u64::from(overlap.len), octets);
    }
}

/// Writes up to four octets, the first in the lowest, and notes what that does to the checksum.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn edge_rewrite(frame: *mut xdp_md, offset: u64, len: u64, octets: u64) -> u64 {
    let Some(scratch) = maps::SMPP_SCRATCH.get_ptr_mut(0) else { return 0 };
    let last = opaque(len.wrapping_sub(1));
    if last > 3 {
        return 0;
    }
    let len = last + 1;
    let (mut old, new) = (0_u32, octets as u32 & (u32::MAX >> (8 * (4 - len as u32))));
    // SAFETY: the helpers read and write at most four octets; they fail where the frame ends before.
    unsafe {
        if bpf_xdp_load_bytes(frame, offset as u32, (&raw mut old).cast(), len as u32) != 0
            || old == new
            || bpf_xdp_store_bytes(frame, offset as u32, (&raw const new).cast_mut().cast(), len as u32) != 0
        {
            return 0;
        }
        (*scratch).delta.add(old, new, offset & 1 != 0);
    }
    1
}

/// Makes the checksum of the segment at hand that of the changed segment.
///
/// Where the sender's stack left it to an interface (veth, tap, virtio), the field holds the pseudo-header's sum alone and
/// stays as it is. The checksum of one packet in 65,536 looks the same: then the packet's sum tells.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn edge_seal(frame: *mut xdp_md) -> u64 {
    let (Some(scratch), Some(headers)) = (maps::SMPP_SCRATCH.get_ptr_mut(0), maps::HEADERS.get_ptr(0)) else {
        return 0;
    };
    // SAFETY: this CPU's own values.
    let (delta, ip) = unsafe { ((*scratch).delta, &(*headers).ip) };
    let at = ip.offset + CHECKSUM_AT;
    let ctx = XdpContext::new(frame);
    let packet = XdpPacket(&ctx);
    // Headers lie in the frame's first buffer. The checksum, and the urgent pointer behind it.
    let Ok([first, second, third, fourth]) = packet.read::<4>(at) else { return 0 };
    let field = u16::from_le_bytes([first, second]);
    let length = (ip.end - ip.offset) as u32;
    let pseudo = pseudo_sum(&ip.source, &ip.destination, ip.is_ipv6, length);
    if field == pseudo {
        let sum = edge_sum(frame, ip.offset as u64, u64::from(length));
        if fold(sum + u64::from(pseudo)) != fold(0xffff + delta.0) {
            return 0;
        }
    }
    let sealed = delta.applied_to(field);
    let [first, second] = sealed.to_le_bytes();
    u64::from(packet.replace(at as u64, u32::from_le_bytes([first, second, third, fourth])).is_some())
}

/// What the loop over a packet is given.
struct Sum {
    frame: *mut xdp_md,
    at: u64,
    left: u64,
    so_far: u64,
}

/// The sum of a packet's 16-bit words.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn edge_sum(frame: *mut xdp_md, at: u64, length: u64) -> u64 {
    let mut turn = Sum { frame, at, left: length, so_far: 0 };
    // SAFETY: the helper calls `sum_part` with `turn`, which lives on this stack meanwhile.
    unsafe { bpf_loop(SUMS_MAX, sum_part as *const () as *mut c_void, (&raw mut turn).cast(), 0) };
    turn.so_far
}

extern "C" fn sum_part(_turn: u64, context: *mut c_void) -> i64 {
    // SAFETY: `edge_sum` passes a `Sum`.
    let turn = unsafe { &mut *context.cast::<Sum>() };
    let Some(part) = maps::SUM_PART.get_ptr_mut(0) else { return 1 };
    let len = opaque(if turn.left > u64::from(SUM_BYTES) { u64::from(SUM_BYTES) } else { turn.left });
    let last = opaque(len.wrapping_sub(1));
    if last >= u64::from(SUM_BYTES) {
        return 1;
    }
    let len = last + 1;
    let whole = (len + 3) & !3;
    // SAFETY: the buffer has 516 octets; the last word is zeroed, so that what lies behind the packet counts as nothing.
    unsafe {
        part.cast::<u32>().add((len >> 2) as usize).write(0);
        if bpf_xdp_load_bytes(turn.frame, turn.at as u32, part.cast(), len as u32) != 0 {
            return 1;
        }
        let sum = bpf_csum_diff(core::ptr::null_mut(), 0, part.cast(), whole as u32, 0);
        turn.so_far += sum.cast_unsigned() & 0xffff_ffff;
    }
    turn.at += len;
    turn.left -= len;
    0
}
