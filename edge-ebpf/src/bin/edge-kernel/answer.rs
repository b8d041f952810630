//! Answers sent from XDP: the message is made in a map value; the headers are turned round where they stand, and it takes the
//! request's place behind them.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_csum_diff, bpf_loop, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use edge_ebpf::abi::Outcome;
use edge_ebpf::decide::{self, Refusal};
use edge_ebpf::verifier::opaque;
use edge_ebpf::wire::Headers;
use edge_ebpf::wire::sip::{Code, LINES_MAX, Reply, Saying, Scratch};

use crate::ingress::count;
use crate::xdp_packet::XdpPacket;
use crate::{maps, sip, turn};

/// The longest answer.
const MESSAGE_BYTES_MAX: u64 = 2048;
/// Bytes that one call sums up before kernel 6.13 (`net/core/filter.c`, `bpf_csum_diff`).
const SUM_BYTES_MAX: u32 = 512;
const SUMS_MAX: u32 = MESSAGE_BYTES_MAX as u32 / SUM_BYTES_MAX;
/// Lines that one call of the loop's body looks at: most requests need two calls.
const LINES_AT_ONCE: u32 = 8;

const _: () = assert!(LINES_MAX.is_multiple_of(LINES_AT_ONCE));

/// What the loop's body is given: on the stack, where `bpf_loop` wants it.
struct Turn {
    scratch: *mut Scratch,
    reply: *mut Reply,
}

/// Where an answer is made, and which: the request itself is handed over in `SIP_SCRATCH`.
pub(crate) struct Desk {
    order: Order,
    reply: Reply,
}

/// What the program before has found.
struct Order {
    /// A [`Code`].
    code: u64,
    fingerprint: u64,
    now_ns: u64,
    retry_after_s: u32,
}

/// Orders an answer.
#[inline(always)]
pub(crate) fn order(refusal: Refusal, fingerprint: u64, retry_after_s: u32, now_ns: u64) {
    if let Some(desk) = maps::DESK.get_ptr_mut(0) {
        let order = Order { code: refusal.code() as u64, fingerprint, now_ns, retry_after_s };
        // SAFETY: this CPU's own value; XDP does not run twice at once on a CPU.
        unsafe { (*desk).order = order };
    }
}

/// Answers a datagram of SIP.
#[xdp(frags)]
pub(crate) fn edge_sip_reply(ctx: XdpContext) -> u32 {
    let (Some(headers), Some(scratch), Some(desk)) =
        (maps::HEADERS.get_ptr(0), maps::SIP_SCRATCH.get_ptr_mut(0), maps::DESK.get_ptr_mut(0))
    else {
        return count(Outcome::Unjudged);
    };
    // SAFETY: this CPU's own values, which the programs before have filled.
    let (headers, order, reply) = unsafe { (&*headers, &(*desk).order, &raw mut (*desk).reply) };
    let Some(refusal) = Refusal::marked(order.code) else { return count(Outcome::Unjudged) };
    let is_answered =
        make(scratch, reply, headers, refusal.code(), order.retry_after_s) && send(&ctx, headers, reply);
    let (outcome, judged) = decide::answered(refusal, order.fingerprint, is_answered);
    if let Some(fingerprint) = judged {
        // SAFETY: as above.
        sip::remember(unsafe { &*scratch }, fingerprint, order.now_ns);
    }
    count(outcome)
}

/// Makes the message of the request; `false` if it has no answer.
#[inline(always)]
fn make(scratch: *mut Scratch, reply: *mut Reply, headers: &Headers, code: Code, retry_after_s: u32) -> bool {
    // SAFETY: this CPU's own values.
    let (request, message) = unsafe { (&mut *scratch, &mut *reply) };
    let transport = &headers.transport;
    let saying = Saying {
        code,
        source: &headers.ip.source,
        source_port: u16::from_be_bytes(transport.source_port),
        is_ipv6: headers.ip.is_ipv6,
    };
    message.begin(request, &saying);
    let mut turn = Turn { scratch, reply };
    // SAFETY: the helper calls `lines` with `turn`, which lives on this function's stack meanwhile.
    unsafe {
        bpf_loop(LINES_MAX / LINES_AT_ONCE, lines as *const () as *mut c_void, (&raw mut turn).cast(), 0)
    };
    // SAFETY: as above; the loop's borrows have ended.
    let (request, message) = unsafe { (&*scratch, &mut *reply) };
    message.read_via(request) && message.write(request, code, retry_after_s)
}

extern "C" fn lines(_turn: u64, context: *mut c_void) -> i64 {
    // SAFETY: `make` passes a `Turn`, whose map values outlive the loop.
    let turn = unsafe { &*context.cast::<Turn>() };
    // SAFETY: as above.
    let (scratch, reply) = unsafe { (&mut *turn.scratch, &mut *turn.reply) };
    for _ in 0..LINES_AT_ONCE {
        if reply.check_line(scratch).is_break() {
            return 1;
        }
    }
    0
}

/// Puts the message in the request's place. `false` if that cannot be: the packet is to be dropped then, for it may be
/// damaged.
#[inline(always)]
fn send(ctx: &XdpContext, headers: &Headers, reply: *const Reply) -> bool {
    // SAFETY: this CPU's own value.
    let reply = unsafe { &*reply };
    let (length, payload) = (opaque(u64::from(reply.length)), headers.transport.payload as u64);
    if length > MESSAGE_BYTES_MAX {
        return false;
    }
    // In one buffer, as a rule. What may follow the datagram in others is of no account, and goes out as padding.
    let in_front = (ctx.data_end() - ctx.data()) as u64;
    let before = if in_front < headers.transport.end as u64 {
        // SAFETY: a helper on the packet at hand.
        unsafe { bpf_xdp_get_buff_len(ctx.ctx) }
    } else {
        in_front
    };
    let change = (payload + length).cast_signed() - before.cast_signed();
    // SAFETY: as above; the packet becomes shorter, as `Reply::write` has seen to.
    if unsafe { bpf_xdp_adjust_tail(ctx.ctx, change as i32) } != 0
        || !turn::round(ctx, headers, length, reply.port as u16, || sum(reply, length as u32))
    {
        return false;
    }
    XdpPacket(ctx).put(payload, &reply.bytes, length)
}

/// The sum of the message's 16-bit words, in the order of this machine's memory.
#[inline(always)]
fn sum(reply: &Reply, length: u32) -> Option<u64> {
    let (mut sum, mut at) = (0, 0);
    // Behind the message are zeros.
    let mut rest = (length + 3) & !3;
    for _ in 0..SUMS_MAX {
        if rest == 0 {
            break;
        }
        let part = opaque(u64::from(if rest < SUM_BYTES_MAX { rest } else { SUM_BYTES_MAX }));
        if part > u64::from(SUM_BYTES_MAX) {
            return None;
        }
        // SAFETY: `at` is at most `(SUMS_MAX - 1) * SUM_BYTES_MAX`, so that the part lies within the buffer.
        let summed = unsafe {
            let from = reply.bytes.as_ptr().add(at as usize).cast_mut().cast();
            bpf_csum_diff(core::ptr::null_mut(), 0, from, part as u32, sum as u32)
        };
        sum = summed.cast_unsigned();
        at += SUM_BYTES_MAX;
        rest -= part as u32;
    }
    Some(sum)
}
