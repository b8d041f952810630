//! Egress: what leaves, seen and passed on.

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use edge_ebpf::abi::{EgressOutcome, EgressStage, Method, Ports, Settings, SourceKey};
use edge_ebpf::awaited::must_be_awaited;
use edge_ebpf::outbound::{self, Outbound};
use edge_ebpf::wire::sip::Heard;
use edge_ebpf::wire::{self, transport};

use crate::ingress::reread;
use crate::skb_packet::SkbPacket;
use crate::{accounts, awaited, calls, clock, counters, events, maps, sip, sip_answers, smpp_out, world};

/// Hears what the server says. The packet goes on to the next program and out, but for what must not reach the client
/// unchanged and cannot be changed: TCP sends that again.
#[classifier]
pub(crate) fn edge_egress(ctx: TcContext) -> i32 {
    verdict(&ctx)
}

/// Hears a packet and counts what was seen in it.
#[inline(always)]
pub(crate) fn verdict(ctx: &TcContext) -> i32 {
    let mut index = judge(ctx) as u64;
    if index == EgressOutcome::SmppSegment as u64 {
        index = smpp_out::edge_hear_segment(smpp_out::skb(ctx));
    }
    counters::egress_outcome(index);
    if EgressOutcome::drops(index as usize) {
        return TC_ACT_SHOT;
    }
    if index == EgressOutcome::SmppSegment as u64 || index == EgressOutcome::SmppAnswered as u64 {
        if smpp_out::has_receipts() {
            // SAFETY: nothing is left to be done here; without the stage they are not counted, and there are no records.
            unsafe { maps::EGRESS_STAGES.tail_call(ctx, EgressStage::CountReceipts as u32) };
        } else if smpp_out::has_answers() {
            // SAFETY: as above; without the stage there are no records.
            unsafe { maps::EGRESS_STAGES.tail_call(ctx, EgressStage::RecordMessages as u32) };
        }
    }
    if index == EgressOutcome::SipStream as u64 && sip_answers::may_follow() {
        // SAFETY: as above; without the stage the answers stay as they are.
        unsafe { maps::EGRESS_STAGES.tail_call(ctx, EgressStage::SipAnswers as u32) };
    }
    TC_ACT_UNSPEC
}

/// A function beside that for segments and not around it: the stack has no room for both at once.
#[inline(never)]
fn judge(ctx: &TcContext) -> EgressOutcome {
    let Some(ports) = maps::PORTS.get(0) else { return EgressOutcome::Unjudged };
    if outbound::is_foreign(&SkbPacket(ctx), |port| world::services(ports, port)) {
        return EgressOutcome::NotOurs;
    }
    let (Some(settings), Some(headers)) = (maps::SETTINGS.get(0), maps::HEADERS.get_ptr_mut(0)) else {
        return EgressOutcome::Unjudged;
    };
    // SAFETY: this CPU's own value; bottom halves are off on the way out, as they are on the way in.
    let headers = unsafe { &mut *headers };
    let parsed = wire::parse(&SkbPacket(ctx), headers);
    outbound::judge(&mut Leaving { ctx, settings, ports }, parsed, reread(headers))
}

/// All that one packet is looked at with.
struct Leaving<'a> {
    ctx: &'a TcContext,
    settings: &'static Settings,
    ports: &'static Ports,
}

impl Outbound for Leaving<'_> {
    #[inline(always)]
    fn services(&self, port: u16) -> u8 {
        world::services(self.ports, port)
    }

    #[inline(always)]
    fn read_sip(&mut self, transport: &transport::Header) -> Heard {
        let [hash_key, _] = self.settings.hash_key;
        match sip::read(
            &SkbPacket(self.ctx),
            transport,
            [hash_key, 0],
            self.settings.prefix_digits,
            true,
            false,
        ) {
            Some(scratch) => scratch.heard(),
            None => Heard::NOTHING,
        }
    }

    #[inline(always)]
    fn hear(&mut self, peer: &SourceKey, heard: &Heard) {
        let key = world::aggregated(peer, &self.settings.ipv6_mask);
        let (number, source) = accounts::peer(&key, self.settings);
        let now_ns = clock::now_ns();
        if let Some(source) = source
            && (!must_be_awaited(heard, number) || awaited::take_answer(key, heard.method, now_ns))
            && let Some((kind, count)) =
                counters::heard(source, heard, self.settings.registered_for_ns, now_ns)
        {
            events::send(kind, number, key, u64::from(heard.status), count, now_ns);
        }
        if matches!(heard.method, Method::Invite | Method::Bye | Method::Update) {
            calls::hear(number, heard, now_ns);
        }
    }
}
