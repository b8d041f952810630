//! SIP over TCP on the host: connections in a plain collection.

use std::collections::HashMap;

use edge_ebpf::abi::{
    Class, FlowKey, Listener, Outcome, RefusalMode, StreamServer, Verdict, refusal_of, stream_server_of,
};
use edge_ebpf::decide::{Origin, judge_request, settle_stream, spare_allowed};
use edge_ebpf::native::Delta;
use edge_ebpf::stream::Segment;
use edge_ebpf::stream::sip::{
    Answered, Overwrite, PLACES, Reader, SPOTS, SipFlow, SipRefusals, Sought, Spot, Tally, bit, disguise,
    respond, within,
};
use edge_ebpf::wire::Headers;
use edge_ebpf::wire::transport::flag;
use zerocopy::FromZeros as _;

use crate::host::{Host, Journey};
use crate::host_segments::{names, narrow, replace, sealed};

/// SIP connections, and the refusals of each.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    flows: HashMap<FlowKey, SipFlow>,
    refusals: HashMap<FlowKey, Box<SipRefusals>>,
    /// How the port's refusals go.
    pub(crate) listener: Option<Listener>,
}

/// A segment that is judged.
pub(crate) struct StreamOnTrial {
    key: FlowKey,
    spots: Vec<(Class, Spot)>,
    changes: Changes,
}

/// Changes octets of a segment.
struct Changes {
    frame: Vec<u8>,
    segment: Segment,
    delta: Delta,
}

impl Overwrite for Changes {
    fn overwrite(&mut self, seq: u32, octets: [u8; 4], len: u32) {
        if let Some((offset, skipped, len)) = within(self.segment, seq, len) {
            let octets = &octets[skipped as usize..(skipped + len) as usize];
            replace(&mut self.frame, &mut self.delta, offset, octets);
        }
    }
}

impl Changes {
    fn of(frame: &[u8], headers: &Headers) -> Self {
        let transport = &headers.transport;
        let seq = transport.sequence.wrapping_add(u32::from(transport.flags & flag::SYN != 0));
        let (payload, end) = (narrow(transport.payload), narrow(transport.end));
        let segment = Segment { seq, payload, len: end.saturating_sub(payload) };
        Self { frame: frame.to_vec(), segment, delta: Delta::default() }
    }
}

fn midstream() -> SipFlow {
    let mut flow = SipFlow::new_zeroed();
    flow.begin_midstream();
    flow
}

impl Streams {
    /// The connection is over.
    fn let_go(&mut self, key: &FlowKey, forgets: bool) {
        let waiting = self.refusals.get_mut(key).map_or(0, |refusals| refusals.let_go());
        if let Some(listener) = &mut self.listener {
            listener.waiting = listener.waiting.saturating_sub(u64::from(waiting));
        }
        if forgets {
            self.refusals.remove(key);
        }
    }
}

impl Journey<'_> {
    /// What `edge_sip_stream` does.
    pub(crate) fn judge_stream(&mut self, headers: &Headers, origin: Origin, now_ns: u64) -> Outcome {
        let transport = &headers.transport;
        let has = |bits: u8| transport.flags & bits != 0;
        let (key, _) = names(headers);
        let streams = &mut self.host.streams;
        if !has(flag::SYN | flag::RST) && transport.end == transport.payload {
            if has(flag::FIN) {
                streams.let_go(&key, false);
            }
            return spare_allowed(origin, Outcome::SipStream);
        }
        if has(flag::RST) {
            if streams.flows.get(&key).is_some_and(|flow| flow.ends_at(transport.sequence)) {
                streams.flows.remove(&key);
                streams.let_go(&key, true);
            }
            return spare_allowed(origin, Outcome::SipStream);
        }
        let mut flow = streams.flows.get(&key).copied().unwrap_or_else(midstream);
        if transport.opens() {
            streams.let_go(&key, true);
            flow.syn(transport.sequence);
        }
        let mut changes = Changes::of(self.frame, headers);
        let segment = changes.segment;
        if let Some(refusals) = streams.refusals.get_mut(&key) {
            if has(flag::ACK) {
                refusals.answers.acknowledge(transport.acknowledgement);
            }
            refusals.requests.retire();
            for spot in (0..narrow(PLACES)).filter_map(|at| refusals.requests.remembered(at, segment.seq)) {
                disguise(spot, &mut changes);
            }
        }
        let mut reader = Reader::new_zeroed();
        reader.seek(Sought::Requests, bit(self.host.server_behind(key.destination_port)));
        let finding = reader.run(&flow, &changes.frame[..], segment);
        let spots = (0..narrow(SPOTS)).map_while(|at| reader.request(at)).collect();
        self.stream = Some(StreamOnTrial { key, spots, changes });
        let outcome = settle_stream(self, origin, finding, &mut reader.tally, now_ns);
        reader.settle(&mut flow, outcome.verdict());
        let streams = &mut self.host.streams;
        streams.flows.insert(key, flow);
        if has(flag::FIN) {
            streams.let_go(&key, false);
        }
        if let Some(StreamOnTrial { changes, .. }) = self.stream.take() {
            self.host.passed = Some(sealed(changes.frame, changes.delta, headers));
        }
        outcome
    }

    pub(crate) fn stream_mode(&self) -> RefusalMode {
        let port = self.stream.as_ref().map_or(0, |it| u16::from_be_bytes(it.key.destination_port));
        refusal_of(self.host.ports.refusals[usize::from(port)]).0
    }

    pub(crate) fn judge_spots(&mut self, tally: &mut Tally, now_ns: u64) {
        let spots = self.stream.as_ref().map(|it| it.spots.clone()).unwrap_or_default();
        for spot in spots {
            judge_request(self, tally, spot, now_ns);
        }
    }

    pub(crate) fn refuse_at(&mut self, spot: Spot) -> bool {
        let Some(StreamOnTrial { key, changes, .. }) = &mut self.stream else { return false };
        let streams = &mut self.host.streams;
        let refusals = streams.refusals.entry(*key).or_insert_with(|| Box::new(SipRefusals::new_zeroed()));
        let is_refused = refusals.refuse(spot, changes);
        let listener = streams.listener.get_or_insert_with(Listener::new_zeroed);
        listener.refused += u64::from(is_refused);
        listener.waiting += u64::from(is_refused);
        is_refused
    }
}

impl Host {
    /// What stands behind a port.
    fn server_behind(&self, port: [u8; 2]) -> StreamServer {
        stream_server_of(self.ports.refusals[usize::from(u16::from_be_bytes(port))])
    }

    /// What `edge_sip_answers` does.
    pub(crate) fn hear_stream(&mut self, frame: &[u8], headers: &Headers) {
        let transport = &headers.transport;
        let has = |bits: u8| transport.flags & bits != 0;
        let (key, client) = names(headers);
        let streams = &mut self.streams;
        let Some(refusals) = streams.refusals.get_mut(&client) else { return };
        refusals.requests.acknowledge(transport.acknowledgement);
        let mut changes = Changes::of(frame, headers);
        if changes.segment.len != 0 && !has(flag::SYN | flag::RST) {
            let flow = streams.flows.entry(key).or_insert_with(midstream);
            let segment = changes.segment;
            for spot in (0..narrow(PLACES)).filter_map(|at| refusals.answers.remembered(at, segment.seq)) {
                respond(spot, &mut changes);
            }
            refusals.answers.retire();
            let mut reader = Reader::new_zeroed();
            reader.seek(Sought::Answers, refusals.servers);
            reader.run(flow, &changes.frame[..], segment);
            let waiting = refusals.waiting();
            let (mut answered, mut unmatched) = (0, 0);
            for spot in (0..narrow(SPOTS)).map_while(|at| reader.spot(at)) {
                let outcome = refusals.answer(spot, &mut changes);
                answered += u32::from(outcome != Answered::Foreign);
                unmatched += u32::from(outcome == Answered::Unmatched);
            }
            let missed = reader.missed.min(waiting.saturating_sub(answered));
            refusals.answered += missed;
            let listener = streams.listener.get_or_insert_with(Listener::new_zeroed);
            listener.answered += u64::from(answered + missed);
            listener.unmatched += u64::from(unmatched + missed);
            if answered + missed != 0 {
                listener.waiting = 0;
            }
            reader.settle(flow, Verdict::Pass);
        }
        if has(flag::FIN | flag::RST) {
            streams.let_go(&client, false);
        }
        self.passed = Some(sealed(changes.frame, changes.delta, headers));
    }
}
