//! Answers sent from XDP: the message is made in a map value, headers and all, and stored over the packet at once.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{
    bpf_csum_diff, bpf_loop, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_store_bytes,
};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use edge_ebpf::abi::Outcome;
use edge_ebpf::decide::{self, Refusal};
use edge_ebpf::packet::Packet as _;
use edge_ebpf::verifier::opaque;
use edge_ebpf::wire::Headers;
use edge_ebpf::wire::sip::{Code, LINES_MAX, REPLY_AT, Reply, Saying, Scratch};

use crate::ingress::count;
use crate::maps;
use crate::world::Kernel;
use crate::xdp_packet::XdpPacket;

/// Headers of a packet that can be answered: Ethernet with up to two tags, IPv4 without options or IPv6 without
/// extensions, UDP.
const HEADERS_BYTES_MIN: u64 = 14 + 20 + 8;
const HEADERS_BYTES_MAX: u64 = 22 + 40 + 8;
/// The same in whole words: every request that is answered has more.
const FRONT_BYTES: usize = 72;
/// The longest answer with its headers.
const FRAME_BYTES_MAX: usize = 2048 + 96;
/// Bytes that one call sums up before kernel 6.13 (`net/core/filter.c`, `bpf_csum_diff`).
const SUM_BYTES_MAX: u32 = 512;
const SUMS_MAX: u32 = 5;
/// Lines that one call of the loop's body looks at: most requests need two calls.
const LINES_AT_ONCE: u32 = 8;
const UDP: u16 = 17;
/// Time to live, or hop limit (RFC 1700).
const HOPS: u16 = 64;

const _: () = assert!(LINES_MAX.is_multiple_of(LINES_AT_ONCE));

/// What the loop's body is given: on the stack, where `bpf_loop` wants it.
struct Turn {
    scratch: *mut Scratch,
    reply: *mut Reply,
}

/// What the program before has found: it hands over the request, too, in `SIP_SCRATCH`.
pub(crate) struct Order {
    /// A [`Code`].
    code: u64,
    fingerprint: u64,
    now_ns: u64,
}

/// Orders an answer.
#[inline(always)]
pub(crate) fn order(refusal: Refusal, fingerprint: u64, now_ns: u64) {
    if let Some(order) = maps::ORDER.get_ptr_mut(0) {
        // SAFETY: this CPU's own value; XDP does not run twice at once on a CPU.
        unsafe { order.write(Order { code: refusal.code() as u64, fingerprint, now_ns }) };
    }
}

/// Answers a datagram of SIP.
#[xdp(frags)]
pub(crate) fn edge_sip_reply(ctx: XdpContext) -> u32 {
    let (Some(ports), Some(settings), Some(headers), Some(order)) =
        (maps::PORTS.get(0), maps::SETTINGS.get(0), maps::HEADERS.get_ptr(0), maps::ORDER.get_ptr(0))
    else {
        return count(Outcome::Unjudged);
    };
    // SAFETY: this CPU's own values, which the programs before have filled.
    let (headers, order) = unsafe { (&*headers, &*order) };
    let Some(refusal) = Refusal::marked(order.code) else { return count(Outcome::Unjudged) };
    let mut world = Kernel::new(&ctx, settings, ports);
    count(decide::answer(&mut world, headers, refusal, order.fingerprint, order.now_ns))
}

/// Turns the packet into an answer. `false` if it has none; it is to be dropped then, for it may be damaged.
#[inline(always)]
pub(crate) fn answer(ctx: &XdpContext, headers: &Headers, code: Code, retry_after_s: u32) -> bool {
    let (Some(scratch), Some(reply)) = (maps::SIP_SCRATCH.get_ptr_mut(0), maps::REPLY.get_ptr_mut(0)) else {
        return false;
    };
    // SAFETY: this CPU's own value.
    let Some(mut front) = Front::read(ctx, headers, unsafe { (*reply).bytes.as_mut_ptr() }) else {
        return false;
    };
    make(scratch, reply, headers, code, retry_after_s) && send(ctx, headers, reply, &mut front)
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
    if edge_read_via() == 0 {
        return false;
    }
    // SAFETY: as above; the loop's borrows have ended.
    let (request, message) = unsafe { (&*scratch, &mut *reply) };
    message.write(request, code, retry_after_s)
}

/// [`Reply::read_via`]; 0 for `false`. A global function: the verifier walks its loop once, and not once for each answer.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_read_via() -> u64 {
    let (Some(scratch), Some(reply)) = (maps::SIP_SCRATCH.get_ptr(0), maps::REPLY.get_ptr_mut(0)) else {
        return 0;
    };
    // SAFETY: this CPU's own values.
    let (request, message) = unsafe { (&*scratch, &mut *reply) };
    u64::from(message.read_via(request))
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

/// Puts headers before the message and both in the packet's place; `false` if that cannot be.
#[inline(always)]
fn send(ctx: &XdpContext, headers: &Headers, reply: *mut Reply, front: &mut Front) -> bool {
    // SAFETY: this CPU's own value.
    let (length, port) = unsafe { ((*reply).length, (*reply).port as u16) };
    let length = opaque(u64::from(length));
    if length > 2048 || !front.turn_round(headers, length as u32, port) {
        return false;
    }
    let whole = u64::from(REPLY_AT) - u64::from(front.at) + length;
    // In one buffer, as a rule. What may follow the datagram in others is of no account, and goes out as padding.
    let in_front = (ctx.data_end() - ctx.data()) as u64;
    let before = if in_front < headers.transport.end as u64 {
        // SAFETY: a helper on the packet at hand.
        unsafe { bpf_xdp_get_buff_len(ctx.ctx) }
    } else {
        in_front
    };
    // SAFETY: as above; the packet becomes shorter, as `Reply::write` has seen to.
    if unsafe { bpf_xdp_adjust_tail(ctx.ctx, (whole.cast_signed() - before.cast_signed()) as i32) } != 0 {
        return false;
    }
    // SAFETY: `front` begins so far before `REPLY_AT` as there are headers.
    let frame = unsafe { &*front.bytes.add(front.at as usize).cast::<[u8; FRAME_BYTES_MAX]>() };
    if XdpPacket(ctx).put_blocks(frame, whole) {
        return true;
    }
    // SAFETY: as above.
    unsafe { bpf_xdp_store_bytes(ctx.ctx, 0, frame.as_ptr().cast_mut().cast(), whole as u32) == 0 }
}

/// The part of the buffer that holds headers.
struct Front {
    bytes: *mut u8,
    /// Where the frame begins in it, so that its payload begins at [`REPLY_AT`].
    at: u32,
}

impl Front {
    /// Reads the headers of the packet, and the first octets of its payload, into the buffer. `None` for a packet that has
    /// other headers than those that are answered.
    #[inline(always)]
    fn read(ctx: &XdpContext, headers: &Headers, bytes: *mut u8) -> Option<Self> {
        // Two bounds, each on a register that LLVM knows nothing of: it would make one comparison of a difference of
        // them, from which the verifier of 6.1 learns nothing about the value itself.
        let payload = opaque(headers.transport.payload as u64);
        if payload < HEADERS_BYTES_MIN {
            return None;
        }
        let payload = opaque(payload);
        if payload > HEADERS_BYTES_MAX {
            return None;
        }
        let at = u64::from(REPLY_AT) - payload;
        // SAFETY: within the buffer, which the message that is made afterwards fills.
        let front = unsafe { &mut *bytes.add(at as usize).cast::<[u8; FRONT_BYTES]>() };
        XdpPacket(ctx).copy_to(0, front, FRONT_BYTES).ok()?;
        Some(Self { bytes, at: at as u32 })
    }

    /// Swaps addresses and ports, and writes lengths and checksums. `false` for headers that are not answered.
    #[inline(always)]
    fn turn_round(&mut self, headers: &Headers, length: u32, port: u16) -> bool {
        const UDP_AT: u32 = REPLY_AT - 8;
        let front = self.at;
        let ip_bytes = if headers.ip.is_ipv6 { 40 } else { 20 };
        let ip = UDP_AT - ip_bytes;
        // Where the frame would begin for each number of tags: anything else has options or extensions.
        let link = ip - front;
        if link != 14 && link != 18 && link != 22 {
            return false;
        }
        let udp_length = length as u16 + 8;
        let had_sum = self.get(UDP_AT + 6) != 0;
        for half in [0, 2, 4] {
            self.swap(front + half, front + 6 + half);
        }
        let addresses = if headers.ip.is_ipv6 {
            if self.get(ip - 2) != 0x86dd || self.get(ip + 6) >> 8 != UDP {
                return false;
            }
            self.put(ip + 4, udp_length);
            self.put(ip + 6, UDP << 8 | HOPS);
            for half in 0..8 {
                self.swap(ip + 8 + 2 * half, ip + 24 + 2 * half);
            }
            ip + 8
        } else {
            if self.get(ip - 2) != 0x0800 || self.get(ip) >> 8 != 0x45 {
                return false;
            }
            self.put(ip + 2, udp_length + 20);
            self.put(ip + 8, HOPS << 8 | UDP);
            self.put(ip + 10, 0);
            for half in 0..2 {
                self.swap(ip + 12 + 2 * half, ip + 16 + 2 * half);
            }
            let mut sum = 0;
            for half in 0..10 {
                sum += u32::from(self.get(ip + 2 * half));
            }
            self.put(ip + 10, !folded(sum));
            ip + 12
        };
        self.swap(UDP_AT, UDP_AT + 2);
        self.put(UDP_AT + 2, port);
        self.put(UDP_AT + 4, udp_length);
        self.put(UDP_AT + 6, 0);
        // A checksum where the request had one; IPv6 always has (RFC 8200 8.1).
        if had_sum || headers.ip.is_ipv6 {
            let Some(sum) = self.sum(addresses, UDP_AT + 8 + length - addresses, udp_length) else {
                return false;
            };
            self.put(UDP_AT + 6, if sum == 0 { 0xffff } else { sum });
        }
        true
    }

    /// The checksum of UDP (RFC 768): the addresses stand right before its header.
    #[inline(always)]
    fn sum(&self, start: u32, length: u32, udp_length: u16) -> Option<u16> {
        let mut sum = u64::from((UDP + udp_length).to_be());
        let mut rest = (length + 3) & !3;
        let mut at = start;
        for _ in 0..SUMS_MAX {
            if rest == 0 {
                break;
            }
            let part = opaque(u64::from(if rest < SUM_BYTES_MAX { rest } else { SUM_BYTES_MAX }));
            let from = opaque(u64::from(at));
            if part > u64::from(SUM_BYTES_MAX) || from > 2400 {
                return None;
            }
            // SAFETY: `from + part` lies within the buffer; behind the message are zeros.
            let summed = unsafe {
                bpf_csum_diff(
                    core::ptr::null_mut(),
                    0,
                    self.bytes.add(from as usize).cast(),
                    part as u32,
                    sum as u32,
                )
            };
            sum = summed.cast_unsigned();
            at += SUM_BYTES_MAX;
            rest -= part as u32;
        }
        // Summed in the order of this machine's memory, hence turned at the end.
        let sum = (sum & 0xffff) as u32 + (sum >> 16 & 0xffff) as u32;
        Some(!folded(sum).swap_bytes())
    }

    #[inline(always)]
    fn swap(&mut self, a: u32, b: u32) {
        let (first, second) = (self.get(a), self.get(b));
        self.put(a, second);
        self.put(b, first);
    }

    /// Two bytes, big-endian.
    #[inline(always)]
    fn get(&self, at: u32) -> u16 {
        // SAFETY: `at` is taken modulo 256, and the buffer is longer.
        u16::from_be(unsafe { self.bytes.add(within(at)).cast::<u16>().read_unaligned() })
    }

    #[inline(always)]
    fn put(&mut self, at: u32, value: u16) {
        // SAFETY: as in `get`.
        unsafe { self.bytes.add(within(at)).cast::<u16>().write_unaligned(value.to_be()) };
    }
}

#[inline(always)]
fn within(at: u32) -> usize {
    (opaque(u64::from(at)) & 0xff) as usize
}

/// The internet checksum's sum in 16 bits, not yet inverted (RFC 1071).
#[inline(always)]
const fn folded(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}
