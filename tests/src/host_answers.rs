//! The server's segments on the host: answers to binds and to what was refused.

use edge_ebpf::abi::{
    BindCount, BindPhase, EgressOutcome, FlowKey, ReceiptKind, SystemId, receipt_digits, refusal_of,
};
use edge_ebpf::binds::{BindResponse, Hearer};
use edge_ebpf::messages::{Answers, CutReceipt, ReceiptReading, Receipts, Responses};
use edge_ebpf::native::{Delta, PLACES, Rewrite, brings_old};
use edge_ebpf::stream::{Finding, Segment, Walk};
use edge_ebpf::wire::Headers;
use edge_ebpf::wire::transport::flag;
use zerocopy::FromZeros as _;

use crate::host::Host;
use crate::host_segments::{change, ends, midstream, names, narrow, sealed};

impl Host {
    /// Hears a segment of the server.
    pub(crate) fn hear_segment(&mut self, frame: &[u8], headers: &Headers) -> EgressOutcome {
        let transport = &headers.transport;
        let (key, client) = names(headers);
        let has = |bits: u8| transport.flags & bits != 0;
        let length = transport.end.saturating_sub(transport.payload);
        if !has(flag::SYN | flag::RST | flag::FIN) && length == 0 {
            return EgressOutcome::SmppSegment;
        }
        if has(flag::RST) {
            if self.connections.flows.get(&key).is_some_and(|flow| flow.ends_at(transport.sequence)) {
                self.end_connection(&client);
                self.connections.refusals.remove(&client);
                self.connections.flows.remove(&key);
            }
            return EgressOutcome::SmppSegment;
        }
        let mut flow = self.connections.flows.get(&key).copied().unwrap_or_else(midstream);
        if has(flag::SYN) {
            flow.syn(transport.sequence);
        }
        let seq = transport.sequence.wrapping_add(u32::from(has(flag::SYN)));
        let segment = Segment { seq, payload: narrow(transport.payload), len: narrow(length) };
        let status =
            refusal_of(self.ports.refusals[usize::from(u16::from_be_bytes(key.source_port))]).1.code();
        let mut refusals = self.connections.refusals.remove(&client);
        let mut changes = ServerChanges { frame: frame.to_vec(), segment, delta: Delta::default() };
        if let Some(refusals) = refusals.as_deref().filter(|_| length != 0) {
            if brings_old(&flow, segment) {
                for index in 0..PLACES {
                    refusals.respond_again(index, status, &mut changes);
                }
            } else {
                refusals.respond_current(&flow, status, &mut changes);
            }
        }
        let read = changes.frame.clone();
        let mut response = BindResponse::default();
        let mut responses = Responses::default();
        let mut receipts = Receipts::new_zeroed();
        let mut hearer = Hearer {
            rewrite: &mut changes,
            refusals: refusals.as_deref_mut(),
            status,
            bind: &mut response,
            responses: &mut responses,
            answers: &mut Answers::new_zeroed(),
            receipts: &mut receipts,
            segment,
        };
        let mut walk = Box::new(Walk::new_zeroed());
        let finding = walk.run(&flow, &read[..], segment, self.settings.prefix_digits, &mut hearer);
        let is_beyond = finding == Finding::BeyondHole;
        if is_beyond {
            walk.refuse(&mut flow);
        } else {
            receipts.commit(&walk, &mut flow);
            flow.responses = flow.responses.wrapping_add(responses.heard);
            self.count_responses(&client, &responses);
            self.count_receipts(&client, &receipts, frame);
            if receipts.cut.length != 0 {
                let mut kept = CutReceipt::new_zeroed();
                let held = kept.keep(&receipts, segment) as usize;
                kept.octets[..held].copy_from_slice(&frame[receipts.cut.offset as usize..][..held]);
                self.connections.cut_receipts.insert(client, kept);
            }
        }
        self.connections.flows.insert(key, flow);
        let is_answered = changes.delta.0 != 0;
        let has_refusals = refusals.is_some();
        if let Some(mut refusals) = refusals {
            refusals.is_deaf = u32::from(!flow.is_synchronised());
            self.connections.refusals.insert(client, refusals);
        }
        if is_beyond && has_refusals {
            return EgressOutcome::SmppBeyondHole;
        }
        self.passed = Some(sealed(changes.frame, changes.delta, headers));
        if response.heard != 0 {
            self.hear_bind(&client, response);
        }
        if ends(&walk, &flow, segment, has(flag::FIN)) {
            self.end_connection(&client);
        }
        if is_answered {
            EgressOutcome::SmppAnswered
        } else if flow.is_synchronised() {
            EgressOutcome::SmppSegment
        } else {
            EgressOutcome::SmppUnsynchronised
        }
    }

    fn count_responses(&mut self, client: &FlowKey, responses: &Responses) {
        let number = self.number_of(client);
        if let Some(account) = self.accounts.get_mut(&number) {
            for (index, count) in account.counters.responses.iter_mut().enumerate() {
                *count += u64::from(responses.of_kind(index));
            }
        }
    }

    fn count_receipts(&mut self, client: &FlowKey, receipts: &Receipts, frame: &[u8]) {
        let number = self.number_of(client);
        let mut read = vec![ReceiptKind::Unread; receipts.missed as usize];
        for place in &receipts.list[..receipts.used as usize] {
            let mut pdu = frame[place.offset as usize..][..place.length as usize].to_vec();
            let mut id = place.id;
            if place.is_rest() {
                let kept = self.connections.cut_receipts.remove(client);
                let Some(kept) = kept.filter(|kept| kept.rest(receipts, *place) != 0) else {
                    read.push(ReceiptKind::Unread);
                    continue;
                };
                let rest = kept.rest(receipts, *place) as usize;
                pdu = [&kept.octets[..kept.held as usize], &pdu[..rest]].concat();
                id = kept.id;
            }
            let mut reading = Box::new(ReceiptReading::new_zeroed());
            let Some(receipt) = reading.read(id, &pdu, self.settings.prefix_digits) else { continue };
            read.push(receipt.kind);
            if receipt.prefix != 0 {
                *self.called.entry((number, receipt_digits(receipt.kind, receipt.prefix))).or_default() += 1;
            }
        }
        if let Some(account) = self.accounts.get_mut(&number) {
            for kind in read {
                account.counters.receipts[kind.index()] += 1;
            }
        }
    }

    /// The account of a connection's bind, or of its client.
    fn number_of(&self, client: &FlowKey) -> u32 {
        let bound = self.connections.binds.get(client).filter(|bind| bind.phase == BindPhase::Bound as u32);
        bound.map_or_else(|| self.resolve(&client.source).0, |bind| bind.account)
    }

    fn hear_bind(&mut self, client: &FlowKey, response: BindResponse) {
        let (number, _) = self.resolve(&client.source);
        let Some(mut bind) = self.connections.binds.get(client).copied() else { return };
        if bind.phase != BindPhase::Requested as u32 || bind.sequence != response.sequence {
            return;
        }
        let number = self.by_system_id(&bind.system_id).unwrap_or(number);
        let Some(account) = self.accounts.get_mut(&number) else { return };
        if response.status != 0 {
            account.counters.binds[BindCount::Rejected.index()] += 1;
            self.connections.binds.remove(client);
            return;
        }
        account.counters.binds[BindCount::Accepted.index()] += 1;
        account.binds_active += 1;
        bind.phase = BindPhase::Bound as u32;
        bind.account = number;
        self.connections.binds.insert(*client, bind);
    }

    pub(crate) fn by_system_id(&self, system_id: &SystemId) -> Option<u32> {
        self.connections.system_ids.get(system_id).copied()
    }

    pub(crate) fn end_connection(&mut self, client: &FlowKey) {
        self.end_bind(client);
        if let Some(refusals) = self.connections.refusals.get_mut(client) {
            refusals.refused = refusals.answered;
        }
    }

    pub(crate) fn end_bind(&mut self, client: &FlowKey) {
        if let Some(bind) = self.connections.binds.remove(client)
            && bind.phase == BindPhase::Bound as u32
            && let Some(account) = self.accounts.get_mut(&bind.account)
        {
            account.binds_active -= 1;
            account.counters.binds[BindCount::Ended.index()] += 1;
        }
    }
}

/// A server's segment that is changed in place.
struct ServerChanges {
    frame: Vec<u8>,
    segment: Segment,
    delta: Delta,
}

impl Rewrite for ServerChanges {
    fn write(&mut self, seq: u32, octets: [u8; 4]) {
        change(&mut self.frame, &mut self.delta, self.segment, seq, octets);
    }
}
