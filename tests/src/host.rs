//! The same pipeline on the host: plain collections in the place of maps, the caller's clock.

use std::collections::{BTreeMap, HashMap};

use edge_ebpf::abi::{
    AccountState, Allowance, Class, EgressOutcome, FullMap, Limit, Method, Mode, Outcome, Policy, Ports,
    REPEAT_SETS_DEFAULT, RefusalMode, RepeatSet, Service, Settings, SourceKey, SourceState, Standing,
    StandingKind,
};
use edge_ebpf::decide::{
    Bind, Opened, Origin, Refusal, Route, Scope, Settled, Slot, World, answered, enter, is_foreign,
    judge_datagram, judge_portless, judge_tls, open_segment, route, settle_segment,
};
use edge_ebpf::meter::{charge, owe, price_ns};
use edge_ebpf::native::Judged;
use edge_ebpf::outbound;
use edge_ebpf::repeat;
use edge_ebpf::stream::sip::{Spot, Tally};
use edge_ebpf::wire::sip::{Reading, Reply, Saying, Scratch};
use edge_ebpf::wire::{self, Headers, sip, transport};
use zerocopy::FromZeros as _;

use crate::fixtures::world::{ACME, Prefix, Scenario, acme_prefixes};
use crate::host_awaited::source_key;
use crate::host_calls::{Caller, Calls};
use crate::host_leaving::Leaving;
use crate::host_segments::{Connections, OnTrial};
use crate::host_streams::{StreamOnTrial, Streams};

/// The key of its hashes, of which tags and delays of answers are made.
pub const HASH_KEY: [u64; 2] = [1, 2];

/// State of the packet path, as the maps hold it.
#[derive(Debug)]
pub struct Host {
    /// Packets by outcome.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Buckets and counters by account number.
    pub accounts: BTreeMap<u32, AccountState>,
    /// Admitted messages by account and called prefix.
    pub called: BTreeMap<(u32, u32), u64>,
    /// What is known of sources.
    pub sources: HashMap<SourceKey, SourceState>,
    pub(crate) ports: Box<Ports>,
    pub(crate) settings: Settings,
    pub(crate) policies: BTreeMap<u32, Policy>,
    /// Leading digits of the caller IDs that `acme` may show.
    caller_ids: Vec<&'static str>,
    /// Sender IDs that `acme` may show.
    pub(crate) sender_ids: Vec<&'static str>,
    standings: Vec<(Prefix, StandingKind)>,
    /// SMPP connections.
    pub connections: Connections,
    /// SIP connections over TCP.
    pub(crate) streams: Streams,
    /// The last segment that passed, in either direction, as it passed.
    pub passed: Option<Vec<u8>>,
    pub(crate) headers: Headers,
    repeats: HashMap<u32, RepeatSet>,
    /// Calls that hold slots.
    pub calls: Calls,
    /// The last answer that was made.
    pub answer: Option<Vec<u8>>,
    pub(crate) now_ns: u64,
}

impl Host {
    /// The state before a packet; what came earlier is run at the same instant.
    #[must_use]
    pub fn prepare(before: &Scenario, now_ns: u64) -> Self {
        let mut host = Self {
            outcomes: BTreeMap::new(),
            accounts: [(0, AccountState::new_zeroed()), (ACME, AccountState::new_zeroed())].into(),
            called: BTreeMap::new(),
            sources: HashMap::new(),
            ports: Box::new(before.ports()),
            settings: before.settings(1, HASH_KEY),
            policies: [(0, before.unknown), (ACME, before.acme)].into(),
            caller_ids: before.caller_ids.clone(),
            sender_ids: before.sender_ids.clone(),
            standings: before.standings.clone(),
            connections: Connections::default(),
            streams: Streams::default(),
            passed: None,
            headers: Headers::EMPTY,
            repeats: HashMap::new(),
            calls: Calls::default(),
            answer: None,
            now_ns,
        };
        host.connections.system_ids.clone_from(&before.system_ids);
        for frame in &before.earlier {
            if before.is_outward(frame) {
                host.leave(frame);
            } else {
                host.send(frame);
            }
        }
        host
    }

    /// What each port carries, and how it refuses, is another now.
    pub fn set_ports(&mut self, ports: Ports) {
        *self.ports = ports;
    }

    /// Moves the clock.
    pub const fn set_now_ns(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }

    /// Judges one packet.
    pub fn send(&mut self, frame: &[u8]) -> Outcome {
        let outcome = if is_foreign(frame, |port| self.ports.services[usize::from(port)]) {
            Outcome::NotOurs
        } else {
            let mut headers = Headers::EMPTY;
            let parsed = wire::parse(frame, &mut headers);
            let mut journey =
                Journey { host: self, frame, at: None, segment: None, stream: None, parsed: None };
            match route(parsed, &headers, |port| journey.host.ports.services[usize::from(port)]) {
                Route::Ends(outcome) => outcome,
                Route::Portless => judge_portless(&mut journey, &headers),
                Route::Service(service) => journey.judge(&headers, service),
            }
        };
        *self.outcomes.entry(outcome).or_default() += 1;
        outcome
    }

    /// Hears one packet on its way out.
    pub fn leave(&mut self, frame: &[u8]) -> EgressOutcome {
        if outbound::is_foreign(frame, |port| self.ports.services[usize::from(port)]) {
            return EgressOutcome::NotOurs;
        }
        let mut headers = Headers::EMPTY;
        let parsed = wire::parse(frame, &mut headers);
        match outbound::judge(&mut Leaving { host: self, frame, granted_s: None }, parsed, &headers) {
            EgressOutcome::SmppSegment => self.hear_segment(frame, &headers),
            EgressOutcome::SipStream => {
                self.hear_stream(frame, &headers);
                EgressOutcome::SipStream
            }
            other => other,
        }
    }

    pub(crate) fn repeat_set(&mut self, fingerprint: u64) -> &mut RepeatSet {
        let index = repeat::set_of(fingerprint, REPEAT_SETS_DEFAULT);
        self.repeats.entry(index).or_insert_with(RepeatSet::new_zeroed)
    }

    pub(crate) fn resolve(&self, source: &SourceKey) -> (u32, Standing) {
        // Both members are for `acme`, so the longest prefix need not be sought.
        let account = acme_prefixes().iter().find(|prefix| prefix.contains(source)).map_or(0, |_| ACME);
        let longest = self.standings.iter().filter(|(prefix, _)| prefix.contains(source));
        let kind =
            longest.max_by_key(|(prefix, _)| prefix.bits).map_or(StandingKind::Metered, |(_, kind)| *kind);
        (account, Standing { kind: kind as u32, reserved: 0, until_ns: u64::MAX })
    }
}

/// One packet on its way: what its judgement sees of the state.
pub(crate) struct Journey<'a> {
    pub(crate) host: &'a mut Host,
    pub(crate) frame: &'a [u8],
    at: Option<(SourceKey, u32)>,
    pub(crate) segment: Option<OnTrial>,
    pub(crate) stream: Option<StreamOnTrial>,
    parsed: Option<Box<Scratch>>,
}

impl Journey<'_> {
    /// The way of each service.
    fn judge(&mut self, headers: &Headers, service: Service) -> Outcome {
        let (origin, now_ns) = match enter(self, headers, service) {
            Ok(entered) => entered,
            Err(outcome) => return outcome,
        };
        match service {
            Service::SipUdp => match judge_datagram(self, origin, headers, now_ns) {
                Settled::Ends(outcome) => outcome,
                Settled::Answer { refusal, fingerprint } => {
                    let (outcome, judged) = answered(refusal, fingerprint, self.answer(headers, refusal));
                    if let Some(fingerprint) = judged {
                        self.remember(fingerprint, now_ns);
                    }
                    outcome
                }
            },
            Service::SipTcp => self.judge_stream(headers, origin, now_ns),
            Service::SipTls | Service::SmppTls => judge_tls(self, origin, headers, now_ns),
            Service::SmppTcp => match open_segment(self, origin, headers, now_ns) {
                Err(outcome) => outcome,
                Ok((origin, judging)) => {
                    let prices =
                        [Scope::Source, Scope::Account].map(|scope| self.limit(scope, Class::SmppSubmit));
                    let framed = self.frame_segment(judging, prices, now_ns);
                    settle_segment(self, origin, framed, now_ns)
                }
            },
        }
    }

    /// Makes the answer, if there is one.
    fn answer(&mut self, headers: &Headers, refusal: Refusal) -> bool {
        // The kernel answers plain headers only: no options, no extensions, up to two tags.
        let ip_bytes = if headers.ip.is_ipv6 { 40 } else { 20 };
        let link = headers.ip.offset.wrapping_sub(ip_bytes);
        let is_plain = [14, 18, 22].contains(&link)
            && self.frame.get(link - 2..link)
                == Some(if headers.ip.is_ipv6 { &[0x86, 0xdd] } else { &[8, 0] })
            && (headers.ip.is_ipv6 || self.frame.get(link) == Some(&0x45))
            && (!headers.ip.is_ipv6 || self.frame.get(link + 6) == Some(&17));
        let Some(parsed) = self.parsed.as_mut().filter(|_| is_plain) else { return false };
        let saying = Saying {
            code: refusal.code(),
            source: &headers.ip.source,
            source_port: u16::from_be_bytes(headers.transport.source_port),
            is_ipv6: headers.ip.is_ipv6,
        };
        let reply = Reply::to(parsed, &saying, self.host.settings.retry_after_s);
        self.host.answer = reply.as_ref().map(|reply| reply.message().to_vec());
        reply.is_some()
    }

    /// Source and account; `enter` comes before it is asked.
    pub(crate) fn place(&self) -> (SourceKey, u32) {
        self.at.unwrap_or(([0; 16], 0))
    }

    fn account(&mut self) -> &mut AccountState {
        let (_, account) = self.place();
        self.host.accounts.entry(account).or_insert_with(AccountState::new_zeroed)
    }

    fn source(&mut self) -> &mut SourceState {
        let (source, _) = self.place();
        self.host.sources.entry(source).or_insert_with(SourceState::new_zeroed)
    }

    fn bucket(&mut self, scope: Scope, class: Class) -> &mut u64 {
        match scope {
            Scope::Source => &mut self.source().buckets[class.index()],
            Scope::Account => &mut self.account().buckets[class.index()],
        }
    }

    /// What the account in force says.
    fn origin(&self, standing: StandingKind) -> Origin {
        let enforced =
            [self.host.settings.mode, self.policy().mode].iter().all(|mode| *mode == Mode::Enforce as u32);
        Origin { standing, observe: !enforced, flags: self.policy().flags }
    }

    fn policy(&self) -> Policy {
        self.host.policies.get(&self.place().1).copied().unwrap_or(Policy::OPEN)
    }
}

impl World for Journey<'_> {
    fn now_ns(&self) -> u64 {
        self.host.now_ns
    }

    fn enter(&mut self, source: &SourceKey, remember: bool, now_ns: u64) -> Option<Origin> {
        let key = aggregated(source, &self.host.settings);
        if !remember && !self.host.sources.contains_key(&key) {
            return None;
        }
        let (account, standing) = self.host.resolve(&key);
        self.at = Some((key, account));
        let state = self.source();
        state.account = account;
        state.standing = standing;
        state.seen_ns = now_ns;
        let kind = usize::try_from(standing.kind).ok().and_then(StandingKind::from_index);
        Some(self.origin(kind.unwrap_or(StandingKind::Metered)))
    }

    fn limit(&self, scope: Scope, class: Class) -> Limit {
        match scope {
            Scope::Source => {
                let (source, _) = self.place();
                let until_ns = self.host.sources.get(&source).map_or(0, |source| source.registered_until_ns);
                let policy = self.policy();
                let limits = if until_ns > self.host.now_ns { policy.registered } else { policy.source };
                limits[class.index()]
            }
            Scope::Account => self.policy().account[class.index()],
        }
    }

    fn charge(&mut self, scope: Scope, class: Class, limit: Limit, cost: u32, now_ns: u64) -> bool {
        let bucket = self.bucket(scope, class);
        match charge(*bucket, limit, cost, now_ns) {
            Some(next) => {
                *bucket = next;
                true
            }
            None => false,
        }
    }

    fn refund(&mut self, scope: Scope, class: Class, limit: Limit, cost: u32) {
        let bucket = self.bucket(scope, class);
        *bucket = bucket.wrapping_sub(price_ns(limit, cost));
    }

    fn owe(&mut self, scope: Scope, class: Class, limit: Limit, cost: u32, now_ns: u64) {
        let bucket = self.bucket(scope, class);
        *bucket = owe(*bucket, limit, cost, now_ns);
    }

    fn stream_refusal(&mut self, _now_ns: u64) -> RefusalMode {
        self.stream_mode()
    }

    fn judge_requests(&mut self, tally: &mut Tally, now_ns: u64) {
        self.judge_spots(tally, now_ns);
    }

    fn refuse_request(&mut self, spot: Spot, _now_ns: u64) -> bool {
        self.refuse_at(spot)
    }

    fn count_methods(&mut self, method: usize, messages: u32) {
        self.account().counters.sip[method] += u64::from(messages);
    }

    fn count(&mut self, class: Class, allowance: Allowance, messages: u32) {
        self.account().counters.messages[class.index()][allowance.index()] += u64::from(messages);
        let source = self.source();
        if class.is_of_messages() {
            source.messages[allowance.index()] += u64::from(messages);
        } else {
            source.packets_dropped += u64::from(allowance == Allowance::Refused);
        }
    }

    fn count_method(&mut self, method: Method) {
        self.account().counters.sip[method.index()] += 1;
    }

    fn count_called(&mut self, called: u32) {
        let (_, account) = self.place();
        *self.host.called.entry((account, called)).or_default() += 1;
    }

    fn earlier(&mut self, fingerprint: u64, now_ns: u64) -> Option<u64> {
        let window_ns = self.host.settings.repeat_window_ns;
        repeat::find(self.host.repeat_set(fingerprint), fingerprint, window_ns, now_ns)
    }

    fn remember(&mut self, fingerprint: u64, now_ns: u64) {
        if !self.parsed.as_ref().is_some_and(|parsed| parsed.has_cookie()) {
            return;
        }
        repeat::remember(self.host.repeat_set(fingerprint), fingerprint, now_ns);
    }

    fn await_answer(&mut self, method: Method, _now_ns: u64) {
        let (source, account) = self.place();
        if let Some(parsed) = &self.parsed {
            self.host.await_answer(&source, account, parsed, method);
        }
    }

    fn attend(&mut self, now_ns: u64) -> bool {
        let limit = self.host.settings.answers;
        let source = self.source();
        match charge(source.answers_ns, limit, 1, now_ns) {
            Some(next) => {
                source.answers_ns = if limit == Limit::NONE { 0 } else { next };
                true
            }
            None => false,
        }
    }

    fn resets(&self) -> bool {
        self.host.settings.resets != 0
    }

    fn answers(&self, class: Class) -> bool {
        self.policy().answered & 1 << class.index() != 0
    }

    fn look_at_agent(&mut self, now_ns: u64) {
        let (_, account) = self.place();
        let is_scanner = self.parsed.as_mut().is_some_and(|parsed| {
            parsed.find_agent();
            parsed.scanner() != 0
        });
        let source = self.source();
        if account == 0 && is_scanner && source.registered_until_ns <= now_ns && source.agent_told_ns == 0 {
            source.agent_told_ns = now_ns;
        }
    }

    fn has_foreign_caller(&mut self) -> bool {
        let (_, account) = self.place();
        let Some(parsed) = self.parsed.as_mut() else { return false };
        let own = &self.host.caller_ids;
        parsed.has_foreign_caller(|number| {
            account == ACME && own.iter().any(|digits| number.starts_with(digits.as_bytes()))
        })
    }

    fn tell_caller(&mut self, _is_read: bool, _now_ns: u64) {
        self.account().counters.foreign_callers += 1;
    }

    fn open_call(&mut self, may_refuse: bool, now_ns: u64) -> Slot {
        let Some(mut parsed) = self.parsed.take() else { return Slot::Kept };
        let (source, account) = self.place();
        let calls_max = u64::from(self.policy().calls_max);
        let caller = Caller { account, source, calls_max, may_refuse, now_ns };
        let state = self.host.accounts.entry(account).or_insert_with(AccountState::new_zeroed);
        let slot = self.host.calls.open(state, &mut parsed, caller);
        self.parsed = Some(parsed);
        slot
    }

    fn record_refused(&mut self, refusal: Refusal, _now_ns: u64) {
        self.host.calls.refused.push(refusal);
    }

    fn tell_refused(&mut self, _class: Class, _messages: u32, _now_ns: u64) {}

    fn tell_full(&mut self, _map: FullMap, _now_ns: u64) {}

    fn read_sip(&mut self, transport: &transport::Header) -> sip::Message {
        let end = transport.end.min(transport.payload + sip::PAYLOAD_BYTES_MAX as usize);
        let Some(payload) = self.frame.get(transport.payload..end) else {
            return sip::Message::MALFORMED;
        };
        // The fingerprint is keyed with the source too: nobody travels on another's admission.
        let (source, _) = self.place();
        let source_key = source_key(&source, &self.host.settings);
        let Settings { hash_key: [hash_key, _], prefix_digits, .. } = self.host.settings;
        let answers = self.policy().answered != 0;
        let reading = Reading { hash_key, source_key, prefix_digits, hears: false, answers };
        let parsed = sip::read(payload, reading);
        let message = parsed.message();
        self.parsed = Some(Box::new(parsed));
        message
    }

    fn open_segment(&mut self, headers: &Headers, _now_ns: u64) -> Opened {
        self.host.headers = *headers;
        self.open(headers)
    }

    fn bound(&mut self, origin: Origin) -> Origin {
        let number = self.bound_account();
        if number == 0 || !self.host.policies.contains_key(&number) {
            return origin;
        }
        let (source, _) = self.place();
        self.at = Some((source, number));
        Origin { standing: origin.standing, ..self.origin(origin.standing) }
    }

    fn refusal(&mut self, _now_ns: u64) -> RefusalMode {
        self.refusal_mode()
    }

    fn ask_bind(&mut self, is_suspended: bool) -> Bind {
        self.ask(is_suspended)
    }

    fn keep_segment(&mut self) {
        let now_ns = self.host.now_ns;
        self.keep(now_ns);
    }

    fn judged(&self) -> Judged {
        self.judged_singly()
    }

    fn drop_segment(&mut self) {
        self.give_up();
    }
}

/// The source that an address belongs to.
pub(crate) fn aggregated(address: &SourceKey, settings: &Settings) -> SourceKey {
    let is_ipv4 = address.starts_with(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
    if is_ipv4 {
        return *address;
    }
    let bits = u128::from_be_bytes(*address) & u128::from_be_bytes(settings.ipv6_mask);
    bits.to_be_bytes()
}
