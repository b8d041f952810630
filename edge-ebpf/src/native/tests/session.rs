//! A client and a server with the edge between them.

use std::collections::BTreeMap;

use zerocopy::FromZeros as _;

use super::half::{Conditions, Frame, Half};
use crate::decide::Scope;
use crate::native::{Answerer, Judge, Judged, PLACES, Refusals, Refuser, Rewrite, brings_old, judging};
use crate::stream::tests::peer::{Random, messages};
use crate::stream::{Finding, Flow, Segment, Walk};
use crate::wire::smpp::{ENQUIRE_LINK_RESP, Header, RESPONSE, id};

const STATUS: u32 = 0x58;
const DIGITS: u32 = 4;

/// How a server answers an `enquire_link` with a vendor's parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerKind {
    Answers,
    Nacks,
    /// With the response of the message, in sixteen octets and with an error.
    Responds,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Report {
    pub(super) admitted: u64,
    pub(super) refused: u64,
    pub(super) withheld: u64,
    pub(super) unmatched: u64,
    pub(super) wrong: u64,
}

impl Report {
    pub(super) fn add(&mut self, other: &Self) {
        self.admitted += other.admitted;
        self.refused += other.refused;
        self.withheld += other.withheld;
        self.unmatched += other.unmatched;
        self.wrong += other.wrong;
    }
}

pub(super) struct Session {
    conditions: Conditions,
    /// Of the way back.
    answers: Conditions,
    kind: ServerKind,
    window: usize,
    up: Half,
    down: Half,
    edge: Edge,
    report: Report,
    /// By `sequence_number`: the request's `command_id`, and whether the server got it as a message.
    requests: BTreeMap<u32, (u32, Option<bool>)>,
    /// Messages that the server got, each destination one.
    delivered: u64,
    served: usize,
    answered: usize,
}

struct Edge {
    up: Flow,
    down: Flow,
    walk: Walk,
    refusals: Box<Refusals>,
    /// Messages of each segment that are within the limit, the first ones; `None` where the dice say which.
    burst: Option<u32>,
}

struct Dice<'a> {
    frame: Frame,
    random: &'a mut Random,
    /// What the bucket has for this segment; `None` where the dice say.
    room: Option<u32>,
}

impl Rewrite for Dice<'_> {
    fn write(&mut self, seq: u32, octets: [u8; 4]) {
        self.frame.write(seq, octets);
    }
}

impl Judge for Dice<'_> {
    fn charge(&mut self, scope: Scope) -> bool {
        match (scope, &mut self.room) {
            (Scope::Source, _) => true,
            (Scope::Account, None) => self.random.percent(50),
            (Scope::Account, Some(room)) => {
                let has_room = *room > 0;
                *room = room.saturating_sub(1);
                has_room
            }
        }
    }

    fn refund(&mut self, _scope: Scope) {}

    fn owe(&mut self, _scope: Scope, _messages: u32) {}

    fn may_refuse(&mut self) -> bool {
        true
    }
}

impl Session {
    pub(super) fn new(conditions: Conditions, answers: Conditions, kind: ServerKind, window: usize) -> Self {
        let (up, down) = (0xffff_fe00, 0xffff_ff00);
        let mut edge = Edge {
            up: Flow::new_zeroed(),
            down: Flow::new_zeroed(),
            walk: Walk::new_zeroed(),
            refusals: Box::new(Refusals::new_zeroed()),
            burst: None,
        };
        edge.up.syn(up);
        edge.down.syn(down);
        edge.down.strict = 1;
        Self {
            conditions,
            answers,
            kind,
            window,
            up: Half::new(up),
            down: Half::new(down),
            edge,
            report: Report::default(),
            requests: BTreeMap::new(),
            delivered: 0,
            served: 0,
            answered: 0,
        }
    }

    /// The bucket is full whenever a segment comes, and has room for so many.
    pub(super) fn with_burst(mut self, burst: u32) -> Self {
        self.edge.burst = Some(burst);
        self
    }

    /// Sends as many requests as the window allows, until `count` or a window of them are answered.
    pub(super) fn hold(mut self, count: usize, random: &mut Random) -> Report {
        let count = count.max(self.window);
        let first = random.below(0x7fff_0000) as u32 + 1;
        for _ in 0..5000 {
            while self.requests.len() < count && self.requests.len() - self.answered < self.window {
                let sequence = first + self.requests.len() as u32;
                let command = random.pick(&[
                    id::SUBMIT_SM,
                    id::SUBMIT_SM,
                    id::SUBMIT_SM,
                    id::SUBMIT_MULTI,
                    id::DATA_SM,
                    id::ENQUIRE_LINK,
                ]);
                let body = if command == id::ENQUIRE_LINK { 0 } else { random.between(0, 120) };
                self.requests.insert(sequence, (command, None));
                self.up.sent.extend(pdu(command, 0, sequence, &random.bytes(body)));
            }
            let acknowledgement = self.down.acknowledgement();
            let (edge, report) = (&mut self.edge, &mut self.report);
            let mut dice = Random::new(random.next());
            self.up.transmit(&self.conditions, random, |segment, octets| {
                edge.pass_up(segment, octets, acknowledgement, &mut dice, report)
            });
            self.serve();
            let edge = &mut self.edge;
            self.down.transmit(&self.answers, random, |segment, octets| edge.pass_down(segment, octets));
            self.take_answers();
            if self.answered == count {
                self.report.unmatched = u64::from(self.edge.refusals.unmatched);
                // What the edge counted as admitted is what the server got.
                assert_eq!(self.report.admitted, self.delivered);
                return self.report;
            }
        }
        panic!("{} of {count} requests were answered, {:?}", self.answered, self.report);
    }

    fn serve(&mut self) {
        let stream = self.up.contiguous();
        while let Some((header, body)) = next(&stream, &mut self.served) {
            let request = self.requests.get_mut(&header.sequence).unwrap();
            assert_eq!(request.1, None, "served twice");
            assert_eq!(header.status, 0);
            let is_disguised = header.id != request.0;
            let answer = if is_disguised {
                assert_eq!(header.id, id::ENQUIRE_LINK);
                assert_is_one_parameter(body);
                let answer = match self.kind {
                    ServerKind::Answers => ENQUIRE_LINK_RESP,
                    ServerKind::Nacks => id::GENERIC_NACK,
                    ServerKind::Responds => request.0 | RESPONSE,
                };
                pdu(answer, 0xc1, header.sequence, b"")
            } else if header.id == id::ENQUIRE_LINK {
                pdu(ENQUIRE_LINK_RESP, 0, header.sequence, b"")
            } else {
                pdu(header.id | RESPONSE, 0, header.sequence, b"message id\0")
            };
            let is_message = !is_disguised && header.id != id::ENQUIRE_LINK;
            if is_message {
                self.delivered += messages(&stream[self.served - header.length as usize..self.served]);
            }
            request.1 = Some(is_message);
            self.down.sent.extend(answer);
        }
    }

    fn take_answers(&mut self) {
        let stream = self.down.contiguous();
        while let Some((header, _)) = next(&stream, &mut self.answered_bytes()) {
            let (command, got) = self.requests[&header.sequence];
            let is_right = header.id == command | RESPONSE
                && match (command, got) {
                    (id::ENQUIRE_LINK, _) | (_, Some(true)) => header.status == 0,
                    (_, Some(false)) => header.status == STATUS,
                    (_, None) => false,
                };
            self.report.wrong += u64::from(!is_right);
            self.answered += 1;
        }
    }

    /// Octets of the answers taken so far.
    fn answered_bytes(&self) -> usize {
        let mut at = 0;
        for _ in 0..self.answered {
            at += Header::parse(self.down.sent[at..at + 16].try_into().unwrap()).length as usize;
        }
        at
    }
}

impl Edge {
    fn pass_up(
        &mut self,
        segment: Segment,
        octets: &[u8],
        acknowledged: u32,
        random: &mut Random,
        report: &mut Report,
    ) -> Option<Vec<u8>> {
        let mut dice = Dice { frame: Frame { segment, octets: octets.to_vec() }, random, room: self.burst };
        let committed = self.up.main.end;
        if brings_old(&self.up, segment) {
            for index in 0..=PLACES {
                self.refusals.disguise_again(index, &mut dice);
            }
        } else {
            self.refusals.disguise_current(&self.up, &mut dice);
        }
        let mut judged = Judged::default();
        let mut refuser = Refuser {
            judge: &mut dice,
            refusals: Some(&mut self.refusals),
            judged: &mut judged,
            acknowledged,
            judging: judging::NATIVE,
        };
        match self.walk.run(&self.up, octets, segment, DIGITS, &mut refuser) {
            // Lost: a text looked like a PDU beyond a hole.
            Finding::Repeated | Finding::Framed | Finding::Lost => {}
            finding @ (Finding::BeyondHole | Finding::Withheld) => {
                report.withheld += u64::from(finding == Finding::Withheld);
                self.walk.refuse(&mut self.up);
                for index in 0..=PLACES {
                    self.refusals.undo(index, committed);
                }
                return None;
            }
            finding => panic!("{finding}"),
        }
        self.walk.commit(&mut self.up);
        report.admitted += u64::from(judged.admitted);
        report.refused += u64::from(judged.refused);
        Some(dice.frame.octets)
    }

    fn pass_down(&mut self, segment: Segment, octets: &[u8]) -> Option<Vec<u8>> {
        let mut frame = Frame { segment, octets: octets.to_vec() };
        if brings_old(&self.down, segment) {
            for index in 0..PLACES {
                self.refusals.respond_again(index, STATUS, &mut frame);
            }
        } else {
            self.refusals.respond_current(&self.down, STATUS, &mut frame);
        }
        let mut answerer = Answerer { rewrite: &mut frame, refusals: &mut self.refusals, status: STATUS };
        match self.walk.run(&self.down, octets, segment, DIGITS, &mut answerer) {
            Finding::BeyondHole => {
                self.walk.refuse(&mut self.down);
                return None;
            }
            _ => self.walk.commit(&mut self.down),
        }
        Some(frame.octets)
    }
}

fn assert_is_one_parameter(body: &[u8]) {
    if body.len() >= 4 {
        assert_eq!(body[..2], [0x14, 0]);
        assert_eq!(usize::from(u16::from_be_bytes([body[2], body[3]])), body.len() - 4);
    }
}

/// The next whole PDU, and its body.
fn next<'s>(stream: &'s [u8], at: &mut usize) -> Option<(Header, &'s [u8])> {
    let header = Header::parse(stream.get(*at..*at + 16)?.try_into().unwrap());
    let body = stream.get(*at + 16..*at + header.length as usize)?;
    *at += header.length as usize;
    Some((header, body))
}

fn pdu(command: u32, status: u32, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut pdu = Vec::new();
    for word in [16 + body.len() as u32, command, status, sequence] {
        pdu.extend(word.to_be_bytes());
    }
    pdu.extend(body);
    pdu
}
