//! A client and a server, a network that loses, reorders, repeats and cuts in between, and the edge in the middle
//! of it: every request is answered once, as what became of it, and every copy of an octet is the same.
#![expect(
    clippy::cast_possible_truncation,
    reason = "lengths and sequence numbers of test streams are small"
)]

mod destinations;
mod half;
mod senders;
mod session;

use self::half::Conditions;
use self::session::{Report, ServerKind, Session};
use crate::stream::tests::peer::Random;

/// How a client cuts its stream.
const CUTS: [std::ops::RangeInclusive<usize>; 6] = [1..=1, 7..=9, 13..=13, 1..=40, 60..=700, 1..=1448];

/// Holds many sessions under the conditions of the way in and the way back.
fn hold(
    seeds: u64,
    window: usize,
    conditions: impl Fn(&mut Random) -> (Conditions, Conditions),
    judge: impl Fn(&Report),
) -> Report {
    let mut sum = Report::default();
    for cut in CUTS {
        for seed in 0..seeds {
            let mut random = Random::new(seed);
            let kind = random.pick(&[ServerKind::Answers, ServerKind::Nacks, ServerKind::Responds]);
            let (up, down) = conditions(&mut random);
            let up = Conditions { step: up.step.min(60 * cut.end()), cut: cut.clone(), ..up };
            let what = format!("cut {cut:?} and {:?}, seed {seed}, {kind:?}", down.cut);
            let report = Session::new(up, down, kind, window).hold(25, &mut random);
            println!("{what}: {report:?}");
            judge(&report);
            sum.add(&report);
        }
    }
    sum
}

fn exact(report: &Report) {
    assert_eq!((report.wrong, report.unmatched), (0, 0));
}

/// The one residual: an answer whose header was cut before it was known to be ours.
fn counted(report: &Report) {
    assert!(report.wrong <= 2 * report.unmatched, "{report:?}");
}

/// Loss, reordering and repetition of up to so many percent.
fn bad(random: &mut Random) -> Conditions {
    Conditions {
        lost_before: random.below(8),
        lost_behind: random.below(8),
        reordered: random.below(20),
        repeated: random.below(8),
        ..Conditions::perfect()
    }
}

#[test]
fn in_order_every_refusal_is_answered_as_one_however_the_answers_are_cut() {
    for cut in CUTS {
        let down = Conditions { cut, ..Conditions::perfect() };
        let report = hold(8, 10, |_| (Conditions::perfect(), down.clone()), counted);
        assert!(report.refused > 300 && report.admitted > 300, "{report:?}");
    }
}

/// On the server's host the edge sees answers in order; what is lost is lost behind it.
#[test]
fn lost_reordered_repeated_and_recut_segments_change_nothing() {
    let down =
        |random: &mut Random| Conditions { lost_before: 0, reordered: 0, cut: 64..=1448, ..bad(random) };
    let report = hold(10, 30, |random| (bad(random), down(random)), exact);
    assert!(report.refused > 500 && report.withheld > 100, "{report:?}");
}

/// On a router answers come out of order too. An answer whose header is cut and whose place in order is not known
/// is the one that may be taken for another.
#[test]
fn on_a_router_few_are_answered_wrongly() {
    let down = |random: &mut Random| Conditions { cut: 64..=1448, ..bad(random) };
    let report = hold(6, 30, |random| (bad(random), down(random)), |_| ());
    assert!(report.wrong * 50 < report.refused, "{report:?}");
}

#[test]
fn where_no_place_is_left_messages_are_held_back_and_none_is_lost() {
    let down = Conditions { cut: 1448..=1448, step: 2000, ..Conditions::perfect() };
    let report =
        hold(1, 3000, |_| (Conditions { step: 20_000, ..Conditions::perfect() }, down.clone()), counted);
    assert!(report.refused > 100 && report.withheld > 10, "{report:?}");
}

/// The bucket is full again each time that a segment comes, and has room for two: those in front.
#[test]
fn a_message_that_lies_across_the_end_of_a_hole_is_not_held_back_for_ever() {
    let mut refused = 0;
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let up =
            Conditions { step: 1500, cut: 700..=700, lost_before: 8, reordered: 20, ..Conditions::perfect() };
        let session = Session::new(up, Conditions::perfect(), ServerKind::Answers, 30);
        refused += session.with_burst(2).hold(60, &mut random).refused;
    }
    assert!(refused > 1000, "{refused}");
}
