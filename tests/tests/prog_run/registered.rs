//! Sources that have registered, in kernel and on the host.

use std::time::Duration;

use edge_ebpf::abi::{Class, EgressOutcome, Outcome};
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
        let before = Scenario { registered_for_ns, ..before };
        let mut kernel = Lent::take().unwrap();
        kernel.prepare(&before).unwrap();
        Self { kernel, host: Host::prepare(&before, NOW_NS), calls: 0 }
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

    fn is_answered(&mut self, status: u16, method: &str) {
        let answer = response(status, "Whatever", method);
        let frame = Frame::ipv4(SERVER, UNKNOWN_SOURCE).udp(SIP_PORT, SIP_PORT).payload(&answer).bytes();
        assert_eq!(self.kernel.leave(&frame).unwrap(), EgressOutcome::SipResponse);
        self.host.leave(&frame);
    }
}

#[test]
fn who_has_registered_has_the_limits_of_the_registered() {
    let mut story = Story::begin(3_600_000_000_000);
    assert_eq!(story.calls(), Outcome::SipAdmitted);
    assert_eq!(story.calls(), Outcome::SipOverSource);
    story.is_answered(401, "REGISTER");
    story.is_answered(200, "OPTIONS");
    assert_eq!(story.calls(), Outcome::SipOverSource);
    story.is_answered(200, "REGISTER");
    assert_eq!(story.calls(), Outcome::SipAdmitted);
    assert_eq!(story.calls(), Outcome::SipAdmitted);
    assert_eq!(story.calls(), Outcome::SipOverSource);
}

#[test]
fn a_registration_that_is_over_counts_no_more() {
    let mut story = Story::begin(0);
    assert_eq!(story.calls(), Outcome::SipAdmitted);
    story.is_answered(200, "REGISTER");
    assert_eq!(story.calls(), Outcome::SipOverSource);
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
    for (headers, lasts_s) in answers {
        let answer = String::from_utf8(response(200, "OK", "REGISTER")).unwrap();
        let answer = answer.replace("Content-Length", &format!("{headers}\r\nContent-Length"));
        let frame = Frame::ipv4(SERVER, UNKNOWN_SOURCE).udp(SIP_PORT, SIP_PORT).payload(answer.as_bytes());
        story.kernel.leave(&frame.bytes()).unwrap();
        story.host.leave(&frame.bytes());
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
