//! Sources that have registered, in kernel and on the host.

use std::time::Duration;

use edge_ebpf::abi::{Class, EgressOutcome, Outcome, SourceState};
use edge_tests::fixtures::world::{ACME_SOURCE, SERVER, SIP_PORT, Scenario, UNKNOWN_SOURCE, at_once, mapped};
use edge_tests::host::Host;
use edge_tests::lent::Lent;
use edge_tests::packet::Frame;
use edge_tests::sip::{Request, response};
use nix::time::{ClockId, clock_gettime};

const NOW_NS: u64 = 1_000_000_000_000;

struct Story {
    kernel: Lent,
    host: Host,
    calls: u32,
}

impl Story {
    /// A stranger may make one call, who has registered three.
    fn begin(registered_for_ns: u64) -> Self {
        let before = Scenario::open()
            .unknown_limit(Class::SipInvite, at_once(1))
            .registered_limit(Class::SipInvite, at_once(3));
        Self::after(&Scenario { registered_for_ns, ..before })
    }

    fn after(before: &Scenario) -> Self {
        let mut kernel = Lent::take().unwrap();
        kernel.prepare(before).unwrap();
        Self { kernel, host: Host::prepare(before, NOW_NS), calls: 0 }
    }

    fn calls(&mut self) -> Outcome {
        self.calls += 1;
        let name = format!("z9hG4bK{}", self.calls);
        let invite = Request::new("INVITE").call_id(&name).branch(&name).bytes();
        let frame = Frame::ipv4(UNKNOWN_SOURCE, SERVER).udp(SIP_PORT, SIP_PORT).payload(&invite).bytes();
        let outcome = self.kernel.send(&frame).unwrap().outcome;
        assert_eq!(outcome, self.host.send(&frame), "kernel and host");
        outcome
    }

    /// A request that the answers of [`response`] are to, but for the method and the number.
    fn asks(&mut self, method: &str, cseq: u32) {
        self.asks_from(UNKNOWN_SOURCE, method, cseq);
    }

    fn asks_from(&mut self, source: [u8; 4], method: &str, cseq: u32) {
        let name = format!("z9hG4bK{method}{cseq}");
        let request = Request::new(method).call_id(CALL_ID).branch(&name).cseq(cseq).bytes();
        let frame = Frame::ipv4(source, SERVER).udp(SIP_PORT, SIP_PORT).payload(&request).bytes();
        assert_eq!(self.kernel.send(&frame).unwrap().outcome, self.host.send(&frame), "kernel and host");
    }

    fn is_answered(&mut self, status: u16, method: &str, cseq: u32) {
        self.leaves_to(UNKNOWN_SOURCE, &answer(status, method, cseq));
    }

    fn leaves_to(&mut self, source: [u8; 4], answer: &str) {
        let frame = Frame::ipv4(SERVER, source).udp(SIP_PORT, SIP_PORT).payload(answer.as_bytes()).bytes();
        assert_eq!(self.kernel.leave(&frame).unwrap(), EgressOutcome::SipResponse);
        self.host.leave(&frame);
    }

    /// Failures and registrations of a source.
    fn counts(&self, source: [u8; 4]) -> (u64, u64) {
        let on_host = self.host.sources[&mapped(source)];
        let in_kernel = self.kernel.source(mapped(source)).unwrap();
        let of = |source: SourceState| (source.failures, source.registrations);
        assert_eq!(of(in_kernel), of(on_host), "kernel and host");
        of(in_kernel)
    }
}

const CALL_ID: &str = "70710@198.51.100.10";

fn answer(status: u16, method: &str, cseq: u32) -> String {
    let answer = String::from_utf8(response(status, "Whatever", method)).unwrap();
    assert!(answer.contains(CALL_ID) && answer.contains("CSeq: 1 "), "{answer}");
    answer.replace("CSeq: 1 ", &format!("CSeq: {cseq} "))
}

#[test]
fn who_has_registered_has_the_limits_of_the_registered() {
    let mut story = Story::begin(3_600_000_000_000);
    assert_eq!(story.calls(), Outcome::SipAdmitted);
    assert_eq!(story.calls(), Outcome::SipOverSource);
    story.asks("REGISTER", 1);
    story.is_answered(401, "REGISTER", 1);
    story.asks("OPTIONS", 2);
    story.is_answered(200, "OPTIONS", 2);
    assert_eq!(story.calls(), Outcome::SipOverSource);
    story.asks("REGISTER", 2);
    story.is_answered(200, "REGISTER", 2);
    assert_eq!(story.calls(), Outcome::SipAdmitted);
    assert_eq!(story.calls(), Outcome::SipAdmitted);
    assert_eq!(story.calls(), Outcome::SipOverSource);
}

#[test]
fn a_registration_that_is_over_counts_no_more() {
    let mut story = Story::begin(0);
    assert_eq!(story.calls(), Outcome::SipAdmitted);
    story.asks("REGISTER", 1);
    story.is_answered(200, "REGISTER", 1);
    assert_eq!(story.calls(), Outcome::SipOverSource);
}

/// Anybody has a proxy send any answer to anybody.
#[test]
fn an_answer_is_believed_once_and_only_to_the_request_that_came() {
    let mut story = Story::begin(3_600_000_000_000);
    story.calls();
    let mut expected = (0, 0);
    let other = [192, 0, 2, 8];
    story.asks_from(other, "REGISTER", 1);
    // Nothing, or something else, was asked.
    for (asked, cseq, answered, number) in [
        (None, 1, "REGISTER", 1),
        (Some("OPTIONS"), 1, "REGISTER", 1),
        (Some("REGISTER"), 2, "REGISTER", 1),
        (Some("REGISTER"), 3, "OPTIONS", 3),
        (Some("MESSAGE"), 4, "INVITE", 5),
    ] {
        if let Some(method) = asked {
            story.asks(method, cseq);
        }
        for status in [200, 401, 403, 404, 407] {
            story.is_answered(status, answered, number);
            assert_eq!(story.counts(UNKNOWN_SOURCE), expected, "{status} to {answered}, after {asked:?}");
        }
    }
    assert_eq!(story.calls(), Outcome::SipOverSource);
    // Each of these counts, however often it is sent.
    for (asked, cseq, status, by) in [
        ("REGISTER", 6, 401, (1, 0)),
        ("REGISTER", 7, 200, (0, 1)),
        ("REGISTER", 8, 403, (1, 0)),
        ("OPTIONS", 9, 404, (1, 0)),
        ("MESSAGE", 10, 407, (1, 0)),
        ("INVITE", 11, 407, (1, 0)),
    ] {
        if asked == "INVITE" {
            // The server has accepted a REGISTER meanwhile.
            assert_eq!(story.calls(), Outcome::SipAdmitted);
        }
        story.asks(asked, cseq);
        expected = (expected.0 + by.0, expected.1 + by.1);
        for _ in 0..3 {
            story.is_answered(100, asked, cseq);
            story.is_answered(status, asked, cseq);
        }
        assert_eq!(story.counts(UNKNOWN_SOURCE), expected, "{status} to {asked}");
    }
    // A final answer of any kind is the one that was waited for.
    story.asks("REGISTER", 20);
    story.is_answered(423, "REGISTER", 20);
    story.is_answered(200, "REGISTER", 20);
    assert_eq!(story.counts(UNKNOWN_SOURCE), expected);
    story.leaves_to(other, &answer(200, "REGISTER", 1));
    assert_eq!(story.counts(other), (0, 1));
}

#[test]
fn a_refused_request_waits_for_no_answer_and_an_old_one_neither() {
    let before = Scenario::open().unknown_limit(Class::SipRegister, at_once(1));
    let mut story = Story::after(&Scenario { repeat_window_ns: 0, ..before });
    story.asks("REGISTER", 1);
    story.is_answered(200, "REGISTER", 1);
    assert_eq!(story.counts(UNKNOWN_SOURCE), (0, 0), "too late");
    let mut story = Story::after(&Scenario::open().unknown_limit(Class::SipRegister, at_once(1)));
    story.asks("REGISTER", 1);
    story.asks("REGISTER", 2);
    for cseq in [1, 2] {
        story.is_answered(200, "REGISTER", cseq);
    }
    assert_eq!(story.counts(UNKNOWN_SOURCE), (0, 1), "one of two has passed");
}

#[test]
fn of_a_customer_an_answer_to_a_register_must_be_awaited_and_no_other() {
    let mut story = Story::begin(3_600_000_000_000);
    story.asks_from(ACME_SOURCE, "OPTIONS", 1);
    story.leaves_to(ACME_SOURCE, &answer(404, "INVITE", 5));
    story.leaves_to(ACME_SOURCE, &answer(401, "REGISTER", 5));
    assert_eq!(story.counts(ACME_SOURCE), (1, 0));
    story.asks_from(ACME_SOURCE, "REGISTER", 6);
    story.leaves_to(ACME_SOURCE, &answer(200, "REGISTER", 6));
    assert_eq!(story.counts(ACME_SOURCE), (1, 1));
}

/// What a registrar says goes before the setting; a binding that is given up takes nothing from others behind the address.
#[test]
fn a_registration_counts_for_as_long_as_was_granted() {
    let mut story = Story::begin(3_600_000_000_000);
    story.calls();
    let source = mapped(UNKNOWN_SOURCE);
    let began = monotonic();
    let answers = [
        ("Contact: <sip:1@203.0.113.7>;expires=0", 0),
        ("Contact: <sip:1@203.0.113.7;expires=9>;expires=60", 60),
        ("Contact: <sip:1@203.0.113.7>;expires=0\r\nExpires: 600", 60),
        ("m: <sip:1@203.0.113.7>;expires=90, \"B;expires=9\" <sip:2@203.0.113.7>;expires=300", 300),
        ("Contact: <sip:1@203.0.113.7>;expires=120", 300),
        ("Contact: <sip:1@203.0.113.7>\r\nExpires: 600", 600),
        ("Date: Thu, 01 Jan 1970 00:00:00 GMT", 3600),
        ("Contact: <sip:1@203.0.113.7>;expires=4294967295", 86_400),
    ];
    for (cseq, (headers, lasts_s)) in (1..).zip(answers) {
        story.asks("REGISTER", cseq);
        let answer = answer(200, "REGISTER", cseq);
        let answer = answer.replace("Content-Length", &format!("{headers}\r\nContent-Length"));
        story.leaves_to(UNKNOWN_SOURCE, &answer);
        let lasts = Duration::from_secs(lasts_s);
        let expected = if lasts.is_zero() { 0 } else { NOW_NS + u64::try_from(lasts.as_nanos()).unwrap() };
        assert_eq!(story.host.sources[&source].registered_until_ns, expected, "{headers}");
        let until = Duration::from_nanos(story.kernel.source(source).unwrap().registered_until_ns);
        let is_as_long = (began + lasts..=monotonic() + lasts).contains(&until);
        assert!(if lasts.is_zero() { until.is_zero() } else { is_as_long }, "in the kernel: {headers}");
    }
}

fn monotonic() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap().into()
}

#[test]
fn a_stranger_that_names_a_known_scanner_is_told_of_and_nobody_else() {
    let mut story = Story::begin(3_600_000_000_000);
    // In the place of a line before all that a decision needs, or of one behind.
    let mut told = |source: [u8; 4], agent: &str, line: &str| {
        let text = String::from_utf8(Request::new("OPTIONS").bytes()).unwrap();
        assert!(text.contains(line), "{text}");
        let text = text.replace(line, &format!("User-Agent: {agent}"));
        let frame = Frame::ipv4(source, SERVER).udp(SIP_PORT, SIP_PORT).payload(text.as_bytes()).bytes();
        story.kernel.send(&frame).unwrap();
        story.host.send(&frame);
        let on_host = story.host.sources[&mapped(source)].agent_told_ns != 0;
        assert_eq!(
            story.kernel.source(mapped(source)).unwrap().agent_told_ns != 0,
            on_host,
            "kernel and host"
        );
        on_host
    };
    let [a, b, c, d] = UNKNOWN_SOURCE;
    for (source, line) in [(UNKNOWN_SOURCE, "Max-Forwards: 70"), ([a, b, c, d + 1], "Content-Length: 0")] {
        assert!(!told(source, "Asterisk PBX", line));
        assert!(!told(ACME_SOURCE, "friendly-scanner", line));
        assert!(told(source, "friendly-scanner", line), "{line}");
    }
}
