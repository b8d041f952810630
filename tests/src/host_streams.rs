//! SIP over TCP on the host: connections in a plain collection.

use std::collections::HashMap;

use edge_ebpf::abi::{FlowKey, Outcome};
use edge_ebpf::decide::{Origin, settle_stream, spare_allowed};
use edge_ebpf::stream::Segment;
use edge_ebpf::stream::sip::{Reader, SipFlow};
use edge_ebpf::wire::Headers;
use edge_ebpf::wire::transport::flag;
use zerocopy::FromZeros as _;

use crate::host::Journey;
use crate::host_segments::names;

/// SIP connections, the client's direction.
pub(crate) type Streams = HashMap<FlowKey, SipFlow>;

impl Journey<'_> {
    /// What `edge_sip_segment` does.
    pub(crate) fn judge_stream(&mut self, headers: &Headers, origin: Origin, now_ns: u64) -> Outcome {
        let transport = &headers.transport;
        let has = |bits: u8| transport.flags & bits != 0;
        if !has(flag::SYN | flag::RST) && transport.end == transport.payload {
            return spare_allowed(origin, Outcome::SipStream);
        }
        let (key, _) = names(headers);
        if has(flag::RST) {
            if self.host.streams.get(&key).is_some_and(|flow| flow.ends_at(transport.sequence)) {
                self.host.streams.remove(&key);
            }
            return spare_allowed(origin, Outcome::SipStream);
        }
        let mut flow = self.host.streams.get(&key).copied().unwrap_or_else(|| {
            let mut flow = SipFlow::new_zeroed();
            flow.begin_midstream();
            flow
        });
        let mut seq = transport.sequence;
        if has(flag::SYN) {
            flow.syn(seq);
            seq = seq.wrapping_add(1);
        }
        let (payload, end) = (u32::try_from(transport.payload), u32::try_from(transport.end));
        let payload = payload.unwrap_or(u32::MAX);
        let len = end.unwrap_or(0).saturating_sub(payload);
        let mut reader = Reader::new_zeroed();
        let finding = reader.run(&flow, self.frame, Segment { seq, payload, len });
        let outcome = settle_stream(self, origin, finding, &mut reader.tally, now_ns);
        reader.settle(&mut flow, outcome.verdict());
        self.host.streams.insert(key, flow);
        outcome
    }
}
