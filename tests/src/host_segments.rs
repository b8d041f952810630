//! SMPP on the host: connections, refusals and binds in plain collections.

use std::collections::HashMap;

use edge_ebpf::abi::{
    AccountState, BindCount, BindPhase, BindState, Class, Command, FlowKey, Limit, RefusalMode, Settings,
    SourceState, SystemId, policy_flag, refusal_of,
};
use edge_ebpf::decide::{Bind, Found, Framed, Opened, Scope};
use edge_ebpf::messages::CutReceipt;
use edge_ebpf::meter::{charge, price_ns};
use edge_ebpf::native::{
    Delta, Judge, Judged, PLACES, Refusals, Refuser, Rewrite, brings_old, fold, judging, overlap, pseudo_sum,
};
use edge_ebpf::stream::{Flow, Segment, Walk};
use edge_ebpf::wire::Headers;
use edge_ebpf::wire::smpp::{Header, PREFIX_ROOM};
use edge_ebpf::wire::transport::flag;
use zerocopy::FromZeros as _;

use crate::host::Journey;
use crate::host_senders::Senders;

/// State of SMPP connections.
#[derive(Debug, Default)]
pub struct Connections {
    pub(crate) flows: HashMap<FlowKey, Flow>,
    /// Messages refused in SMPP's words, by connection.
    pub refusals: HashMap<FlowKey, Box<Refusals>>,
    /// Binds by connection.
    pub binds: HashMap<FlowKey, BindState>,
    /// Beginnings of receipts that the last segment has cut, by connection.
    pub cut_receipts: HashMap<FlowKey, CutReceipt>,
    /// Account numbers by `system_id`.
    pub system_ids: HashMap<SystemId, u32>,
    /// Ports whose connections turned out not to be SMPP, one entry for each.
    pub unframed: Vec<u16>,
}

/// A segment that is framed, but not yet let through.
pub(crate) struct OnTrial {
    key: FlowKey,
    flow: Flow,
    walk: Box<Walk>,
    segment: Segment,
    acknowledged: u32,
    closes: bool,
    judging: u32,
    judged: Judged,
    is_judged: bool,
    /// Messages of senders that the account may not show.
    foreign: u32,
    prices: [Limit; 2],
    changed: Vec<u8>,
    delta: Delta,
}

/// A segment that is changed in place, and its client's buckets.
struct Changes<'a> {
    frame: Vec<u8>,
    segment: Segment,
    delta: Delta,
    account: &'a mut AccountState,
    source: &'a mut SourceState,
    prices: [Limit; 2],
    refusals: Limit,
    senders: Senders<'a>,
    now_ns: u64,
}

impl Rewrite for Changes<'_> {
    fn write(&mut self, seq: u32, octets: [u8; 4]) {
        change(&mut self.frame, &mut self.delta, self.segment, seq, octets);
    }
}

pub(crate) fn change(frame: &mut [u8], delta: &mut Delta, segment: Segment, seq: u32, octets: [u8; 4]) {
    let Some(overlap) = overlap(segment, seq) else { return };
    let (len, skipped) = (overlap.len as usize, overlap.skipped as usize);
    replace(frame, delta, overlap.offset, &octets[skipped..skipped + len]);
}

/// Writes up to four octets, and notes what that does to the checksum.
pub(crate) fn replace(frame: &mut [u8], delta: &mut Delta, offset: usize, octets: &[u8]) {
    let len = octets.len();
    let Some(place) = frame.get_mut(offset..offset + len) else { return };
    let (mut old, mut new) = ([0; 4], [0; 4]);
    old[..len].copy_from_slice(place);
    new[..len].copy_from_slice(octets);
    if old != new {
        delta.add(u32::from_le_bytes(old), u32::from_le_bytes(new), offset % 2 == 1);
        place.copy_from_slice(octets);
    }
}

impl Changes<'_> {
    fn bucket(&mut self, scope: Scope) -> (Limit, &mut u64) {
        match scope {
            Scope::Source => (self.prices[0], &mut self.source.buckets[Class::SmppSubmit.index()]),
            Scope::Account => (self.prices[1], &mut self.account.buckets[Class::SmppSubmit.index()]),
        }
    }
}

fn take(limit: Limit, bucket: &mut u64, now_ns: u64) -> bool {
    if limit == Limit::NONE {
        return true;
    }
    charge(*bucket, limit, 1, now_ns).map(|next| *bucket = next).is_some()
}

impl Judge for Changes<'_> {
    fn charge(&mut self, scope: Scope) -> bool {
        let now_ns = self.now_ns;
        let (limit, bucket) = self.bucket(scope);
        take(limit, bucket, now_ns)
    }

    fn refund(&mut self, scope: Scope) {
        let (limit, bucket) = self.bucket(scope);
        *bucket = bucket.wrapping_sub(price_ns(limit, 1));
    }

    fn owe(&mut self, scope: Scope, messages: u32) {
        let (limit, bucket) = self.bucket(scope);
        *bucket = bucket.wrapping_add(price_ns(limit, messages));
    }

    fn may_refuse(&mut self) -> bool {
        take(self.refusals, &mut self.source.refusals_ns, self.now_ns)
    }

    fn is_foreign(&mut self, octets: &[u8; PREFIX_ROOM], seen: u32) -> bool {
        self.senders.is_foreign(octets, seen)
    }

    fn read(&mut self, _start: u32, header: Header, octets: &[u8; PREFIX_ROOM]) {
        self.senders.note(octets, header.length);
    }
}

impl Journey<'_> {
    pub(crate) fn open(&mut self, headers: &Headers) -> Opened {
        let transport = &headers.transport;
        let (key, _) = names(headers);
        let has = |bits: u8| transport.flags & bits != 0;
        let length = transport.end.saturating_sub(transport.payload);
        if !has(flag::SYN | flag::RST | flag::FIN) && length == 0 {
            return Opened::Carried;
        }
        let connections = &mut self.host.connections;
        if has(flag::RST) {
            if connections.flows.get(&key).is_some_and(|flow| flow.ends_at(transport.sequence)) {
                self.host.end_connection(&key);
                self.host.connections.refusals.remove(&key);
                self.host.connections.flows.remove(&key);
            }
            return Opened::Carried;
        }
        let mut flow = connections.flows.get(&key).copied().unwrap_or_else(midstream);
        if has(flag::SYN) && flow.syn(transport.sequence) {
            self.host.end_connection(&key);
            self.host.connections.refusals.remove(&key);
        }
        if let Some(bind) = self.host.connections.binds.get(&key) {
            let bound = bind.phase == BindPhase::Bound as u32;
            flow.account =
                if bound { self.host.by_system_id(&bind.system_id).unwrap_or_default() } else { 0 };
        }
        let seq = transport.sequence.wrapping_add(u32::from(has(flag::SYN)));
        self.segment = Some(OnTrial {
            key,
            flow,
            walk: Box::new(Walk::new_zeroed()),
            segment: Segment { seq, payload: narrow(transport.payload), len: narrow(length) },
            acknowledged: transport.acknowledgement,
            closes: has(flag::FIN),
            judging: 0,
            judged: Judged::default(),
            is_judged: false,
            foreign: 0,
            prices: [Limit::NONE; 2],
            changed: self.frame.to_vec(),
            delta: Delta::default(),
        });
        Opened::Open
    }

    pub(crate) fn bound_account(&self) -> u32 {
        self.segment.as_ref().map_or(0, |segment| segment.flow.account)
    }

    pub(crate) fn refusal_mode(&self) -> RefusalMode {
        let port =
            self.segment.as_ref().map_or(0, |segment| u16::from_be_bytes(segment.key.destination_port));
        refusal_of(self.host.ports.refusals[usize::from(port)]).0
    }

    pub(crate) fn frame_segment(&mut self, how: u32, prices: [Limit; 2], now_ns: u64) -> Framed {
        let Some(mut on) = self.segment.take() else {
            return Framed { found: Found::Carried, submits: 0, binds: 0 };
        };
        let Settings { prefix_digits: digits, refusals: refusal_limit, .. } = self.host.settings;
        let (source_key, number) = self.place();
        let flags = self.host.policies.get(&number).map_or(0, |policy| policy.flags);
        let mut senders = Senders::of(number, flags, &self.host.sender_ids);
        let how = judging::with_senders(how, flags, on.flow.lenient != 0);
        on.judging = how;
        let mut refusals = self.host.connections.refusals.remove(&on.key);
        if how & judging::NATIVE == 0 && refusals.is_none() {
            on.walk.run(&on.flow, self.frame, on.segment, digits, &mut senders);
            on.foreign = senders.foreign;
            let framed = Framed::by(&on.walk, false);
            self.segment = Some(on);
            return framed;
        }
        on.is_judged = true;
        on.prices = prices;
        let mut source = self.host.sources.get(&source_key).copied().unwrap_or_else(SourceState::new_zeroed);
        let mut account = self.host.accounts.get(&number).copied().unwrap_or_else(AccountState::new_zeroed);
        for is_second in [false, true] {
            let before = (source, account);
            let mut changes = Changes {
                frame: self.frame.to_vec(),
                segment: on.segment,
                delta: Delta::default(),
                account: &mut account,
                source: &mut source,
                prices,
                refusals: refusal_limit,
                senders,
                now_ns,
            };
            if let Some(refusals) = refusals.as_deref().filter(|_| on.segment.len != 0) {
                if brings_old(&on.flow, on.segment) {
                    for index in 0..=PLACES {
                        refusals.disguise_again(index, &mut changes);
                    }
                } else {
                    refusals.disguise_current(&on.flow, &mut changes);
                }
            }
            on.judged.begin(&on.flow);
            let read = changes.frame.clone();
            let mut refuser = Refuser {
                judge: &mut changes,
                refusals: refusals.as_deref_mut(),
                judged: &mut on.judged,
                acknowledged: on.acknowledged,
                judging: how,
            };
            on.walk.run(&on.flow, &read[..], on.segment, digits, &mut refuser);
            (on.changed, on.delta, on.foreign) = (changes.frame, changes.delta, changes.senders.foreign);
            let reverse = turned(&on.key);
            let hears = self.host.connections.flows.get(&reverse).is_some_and(Flow::is_synchronised);
            if is_second || on.judged.wants_refusals == 0 {
                break;
            }
            if !hears {
                on.flow.lenient = 1;
                break;
            }
            (source, account) = before;
            refusals = Some(Box::new(Refusals::new_zeroed()));
            if let Some(answers) = self.host.connections.flows.get_mut(&reverse) {
                answers.strict = 1;
            }
        }
        if let Some(refusals) = refusals {
            self.host.connections.refusals.insert(on.key, refusals);
        }
        self.host.sources.insert(source_key, source);
        self.host.accounts.insert(number, account);
        let framed = Framed::by(&on.walk, true);
        self.segment = Some(on);
        framed
    }

    pub(crate) fn judged_singly(&self) -> Judged {
        self.segment.as_ref().map_or_else(Judged::default, |on| on.judged)
    }

    pub(crate) fn ask(&mut self, is_suspended: bool) -> Bind {
        let Some(on) = &self.segment else { return Bind::Within };
        if on.walk.tally.bind_command == 0 {
            return Bind::Within;
        }
        if is_suspended {
            return Bind::Suspended;
        }
        let (_, number) = self.place();
        let number = self.host.by_system_id(&on.walk.tally.bind_system_id()).unwrap_or(number);
        let policy = self.host.policies.get(&number).copied();
        let Some((policy, account)) = policy.zip(self.host.accounts.get_mut(&number)) else {
            return Bind::Within;
        };
        if policy.flags & policy_flag::SUSPENDED != 0 {
            account.counters.binds[BindCount::Suspended.index()] += 1;
            Bind::Suspended
        } else if policy.binds_max != 0 && account.binds_active >= u64::from(policy.binds_max) {
            account.counters.binds[BindCount::Refused.index()] += 1;
            Bind::Over
        } else {
            Bind::Within
        }
    }

    pub(crate) fn keep(&mut self, now_ns: u64) {
        let Some(on) = self.segment.take() else { return };
        let OnTrial { key, mut flow, walk, judged, .. } = on;
        if walk.unframes() {
            self.host.connections.unframed.push(u16::from_be_bytes(key.destination_port));
        }
        let (_, number) = self.place();
        if on.is_judged {
            judged.leave(&mut flow);
            self.host.passed = Some(sealed(on.changed, on.delta, &self.host.headers));
            if let Some(refusals) = self.host.connections.refusals.get_mut(&key) {
                refusals.refused = refusals.refused.wrapping_add(judged.refused);
            }
        }
        let account = self.host.accounts.entry(number).or_insert_with(AccountState::new_zeroed);
        account.counters.smpp_refused += u64::from(judged.refused);
        account.counters.foreign_senders += u64::from(on.foreign);
        for command in Command::ALL {
            account.counters.smpp[command.index()] += u64::from(walk.tally.command(*command));
        }
        if walk.tally.bind_command != 0 {
            self.host.end_bind(&key);
            let system_id = walk.tally.bind_system_id();
            let bind = BindState {
                phase: BindPhase::Requested as u32,
                account: self.host.by_system_id(&system_id).unwrap_or(number),
                command: walk.tally.bind_command,
                sequence: walk.tally.bind_sequence,
                system_id,
                requested_ns: now_ns,
                bound_ns: 0,
                server_link_ns: 0,
                client_link_ns: 0,
            };
            self.host.connections.binds.insert(key, bind);
        }
        walk.commit(&mut flow);
        if ends(&walk, &flow, on.segment, on.closes) {
            self.host.end_connection(&key);
        }
        self.host.connections.flows.insert(key, flow);
        for called in walk.tally.called() {
            *self.host.called.entry((number, called.prefix)).or_default() += u64::from(called.count);
        }
    }

    pub(crate) fn give_up(&mut self) {
        let Some(on) = self.segment.take() else { return };
        let OnTrial { key, mut flow, walk, judged, .. } = on;
        let (source, number) = self.place();
        if on.is_judged && on.judging & judging::EXEMPT == 0 {
            let class = Class::SmppSubmit.index();
            if let Some(source) = self.host.sources.get_mut(&source) {
                let refusals = price_ns(self.host.settings.refusals, judged.refused);
                source.refusals_ns = source.refusals_ns.wrapping_sub(refusals);
                source.buckets[class] =
                    source.buckets[class].wrapping_sub(price_ns(on.prices[0], judged.admitted));
            }
            if let Some(account) = self.host.accounts.get_mut(&number) {
                account.buckets[class] =
                    account.buckets[class].wrapping_sub(price_ns(on.prices[1], judged.admitted));
            }
        }
        if let Some(refusals) = self.host.connections.refusals.get_mut(&key).filter(|_| judged.refused != 0) {
            for index in 0..=PLACES {
                refusals.undo(index, flow.main.end);
            }
        }
        walk.refuse(&mut flow);
        self.host.connections.flows.insert(key, flow);
    }
}

/// The frame with the checksum of what it has become. Left alone where the field holds the pseudo-header's sum.
pub(crate) fn sealed(mut frame: Vec<u8>, delta: Delta, headers: &Headers) -> Vec<u8> {
    let ip = &headers.ip;
    let at = ip.offset + 16;
    let Some(field) = frame.get(at..at + 2).map(|field| u16::from_le_bytes([field[0], field[1]])) else {
        return frame;
    };
    let pseudo = pseudo_sum(&ip.source, &ip.destination, ip.is_ipv6, narrow(ip.end - ip.offset));
    if delta.0 == 0 {
        return frame;
    }
    if field == pseudo {
        let words = frame[ip.offset..ip.end.min(frame.len())].chunks(2);
        let sum: u64 =
            words.map(|pair| u64::from(pair[0]) | u64::from(*pair.get(1).unwrap_or(&0)) << 8).sum();
        if fold(sum + u64::from(pseudo)) != fold(0xffff + delta.0) {
            return frame;
        }
    }
    frame[at..at + 2].copy_from_slice(&delta.applied_to(field).to_le_bytes());
    frame
}

pub(crate) fn ends(walk: &Walk, flow: &Flow, segment: Segment, closes: bool) -> bool {
    let is_last = closes && flow.is_synchronised() && flow.main.end == segment.seq.wrapping_add(segment.len);
    is_last || walk.tally.command(Command::UnbindResp) != 0
}

pub(crate) fn midstream() -> Flow {
    let mut flow = Flow::new_zeroed();
    flow.begin_midstream();
    flow
}

pub(crate) fn names(headers: &Headers) -> (FlowKey, FlowKey) {
    let key = FlowKey {
        source: headers.ip.source,
        destination: headers.ip.destination,
        source_port: headers.transport.source_port,
        destination_port: headers.transport.destination_port,
    };
    (key, turned(&key))
}

fn turned(key: &FlowKey) -> FlowKey {
    FlowKey {
        source: key.destination,
        destination: key.source,
        source_port: key.destination_port,
        destination_port: key.source_port,
    }
}

pub(crate) fn narrow(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
