use std::time::Duration;

use jiff::SignedDuration;

use super::super::queue::{FollowUp, MAX_PENDING, MAX_UNSAVED, Next, Queue};
use super::super::send::Answer;
use super::*;
use crate::store::{Delivery, DeliveryState};

const DAY: Duration = Duration::from_hours(24);

fn delivery(number: usize, alert_id: &str, phase: Phase, created: i64) -> Delivery {
    Delivery {
        id: format!("msg_{number:06}"),
        endpoint: "noc".to_owned(),
        alert_id: alert_id.to_owned(),
        phase,
        body: Vec::new(),
        state: DeliveryState::Pending,
        attempts: 0,
        at: at(created),
        last_error: None,
        created_at: at(created),
    }
}

fn queue(deliveries: Vec<Delivery>) -> Queue {
    let mut queue = Queue::default();
    queue.admit(deliveries, at(0));
    queue
}

fn down() -> Answer {
    Answer::Failed { status: None, error: "connection refused".to_owned(), retry_after: None }
}

fn settle(queue: &mut Queue, number: usize, answer: &Answer, wait_secs: u64, now: i64) {
    let follow_up = FollowUp { wait: Duration::from_secs(wait_secs), give_up_after: DAY };
    queue.settle("noc", &format!("msg_{number:06}"), answer, follow_up, at(now));
}

/// The number of the delivery to send, or the second to wait for.
fn next(queue: &mut Queue, now: i64) -> Result<usize, Option<i64>> {
    match queue.next("noc", DAY, at(now)) {
        Next::Send(delivery) => Ok(delivery.id.trim_start_matches("msg_").parse().unwrap()),
        Next::WaitUntil(until) => Err(Some(until.duration_since(epoch()).as_secs())),
        Next::Idle => Err(None),
    }
}

#[test]
fn an_endpoint_in_trouble_keeps_its_order() {
    let mut queue = queue(vec![delivery(1, "a", Phase::Opened, 0), delivery(2, "b", Phase::Opened, 0)]);
    assert_eq!(next(&mut queue, 0), Ok(1));
    settle(&mut queue, 1, &down(), 5, 0);
    assert_eq!(next(&mut queue, 0), Err(Some(5)), "the second waits behind the first");
    assert_eq!(next(&mut queue, 5), Ok(1));
    settle(&mut queue, 1, &Answer::Delivered(200), 5, 5);
    assert_eq!(next(&mut queue, 5), Ok(2));
    settle(&mut queue, 2, &Answer::Delivered(200), 5, 5);
    assert_eq!(next(&mut queue, 5), Err(None));
}

#[test]
fn a_message_that_is_refused_steps_aside_with_its_own_alert_only() {
    let mut queue = queue(vec![
        delivery(1, "a", Phase::Opened, 0),
        delivery(2, "a", Phase::Resolved, 0),
        delivery(3, "b", Phase::Opened, 0),
    ]);
    settle(&mut queue, 1, &Answer::Refused(422), 30, 0);
    assert_eq!(next(&mut queue, 0), Ok(3));
    settle(&mut queue, 3, &Answer::Delivered(200), 30, 0);
    assert_eq!(next(&mut queue, 0), Err(Some(30)), "the alert's resolution waits for its opening");
    assert_eq!(next(&mut queue, 30), Ok(1));
}

#[test]
fn a_new_message_has_an_endpoint_in_trouble_tried_soon_but_no_sooner_than_it_asked() {
    let mut queue = queue(vec![delivery(1, "a", Phase::Opened, 0)]);
    settle(&mut queue, 1, &down(), 7_200, 0);
    queue.admit(vec![delivery(2, "b", Phase::Opened, 10)], at(10));
    assert_eq!(next(&mut queue, 10), Err(Some(30)));
    let busy = Answer::Failed {
        status: Some(503),
        error: "answered 503".to_owned(),
        retry_after: Some(Duration::from_mins(10)),
    };
    settle(&mut queue, 1, &busy, 5, 30);
    queue.admit(vec![delivery(3, "c", Phase::Opened, 100)], at(100));
    assert_eq!(next(&mut queue, 100), Err(Some(630)));
}

#[test]
fn what_is_out_of_time_is_tried_a_last_time_and_given_up() {
    let mut queue = queue(vec![delivery(1, "a", Phase::Opened, 0), delivery(2, "b", Phase::Opened, 0)]);
    settle(&mut queue, 1, &down(), 4 * 3_600, 23 * 3_600);
    assert_eq!(next(&mut queue, 23 * 3_600), Err(Some(24 * 3_600)));
    assert_eq!(next(&mut queue, 24 * 3_600), Ok(1));
    settle(&mut queue, 1, &down(), 4 * 3_600, 24 * 3_600);
    assert_eq!(next(&mut queue, 24 * 3_600 + 1), Err(None), "the other is as old, and nothing gets through");
    let status = queue.status().remove("noc").unwrap();
    assert_eq!((status.given_up, status.pending, status.failed_attempts), (2, 0, 2));
    let saved = queue.take_unsaved();
    assert_eq!(saved.deliveries["msg_000001"].state, DeliveryState::Failed);
    assert_eq!(saved.deliveries["msg_000001"].last_error.as_deref(), Some("connection refused"));
    assert_eq!(saved.deliveries["msg_000002"].last_error.as_deref(), Some("never tried"));
}

#[test]
fn an_endpoint_that_is_gone_is_left_alone_until_a_reload() {
    let mut queue = queue(vec![delivery(1, "a", Phase::Opened, 0)]);
    settle(&mut queue, 1, &Answer::Gone, 5, 0);
    assert_eq!(next(&mut queue, 100_000), Err(None));
    let status = queue.status().remove("noc").unwrap();
    assert!(status.disabled.unwrap().contains("410"));
    assert_eq!(status.pending, 1);
    queue.reset(&["noc".to_owned()].into(), at(100));
    assert_eq!(next(&mut queue, 100), Ok(1));
}

#[test]
fn deliveries_to_an_endpoint_that_is_not_configured_are_given_up() {
    let mut queue = queue(vec![delivery(1, "a", Phase::Opened, 0)]);
    queue.reset(&["other".to_owned()].into(), at(1));
    assert_eq!(next(&mut queue, 1), Err(None));
    let failed = &queue.take_unsaved().deliveries["msg_000001"];
    assert_eq!(failed.state, DeliveryState::Failed);
    assert!(failed.last_error.as_ref().unwrap().contains("not configured"));
}

#[test]
fn what_waits_is_bounded_updates_are_dropped_first_and_counted() {
    let phase = |number| match number % 3 {
        0 => Phase::Opened,
        1 => Phase::Updated,
        _ => Phase::Resolved,
    };
    let many = (0..MAX_PENDING + 10).map(|number| delivery(number, &number.to_string(), phase(number), 0));
    let mut queue = queue(many.collect());
    let status = queue.status().remove("noc").unwrap();
    assert_eq!((status.pending, status.dropped), (5_000, 10));
    let dropped = queue.take_unsaved().deliveries;
    assert_eq!(dropped.len(), 10);
    assert!(dropped.values().all(|delivery| delivery.phase == Phase::Updated));
    assert!(dropped.values().all(|delivery| delivery.state == DeliveryState::Failed));
}

#[test]
fn what_is_not_saved_is_bounded_and_a_newer_state_is_never_replaced_by_an_older_one() {
    let mut queue = queue(vec![delivery(1, "a", Phase::Opened, 0)]);
    queue.stage(&[alert("a", Phase::Opened)], &[delivery(1, "a", Phase::Opened, 0)]);
    let failed_to_save = queue.take_unsaved();
    settle(&mut queue, 1, &Answer::Delivered(200), 5, 1);
    queue.put_back(failed_to_save);
    let batch = queue.take_unsaved();
    assert_eq!(batch.deliveries["msg_000001"].state, DeliveryState::Delivered);
    assert_eq!(batch.alerts.len(), 1);

    let many: Vec<_> = (0..2 * MAX_UNSAVED).map(|number| delivery(number, "a", Phase::Opened, 0)).collect();
    queue.stage(&[alert("a", Phase::Opened)], &many);
    let batch = queue.take_unsaved();
    assert_eq!(batch.deliveries.len(), many.len(), "while the database is well, all of it is written");
    queue.put_back(batch);
    assert_eq!(queue.unsaved(), MAX_UNSAVED);
    assert_eq!(queue.take_unsaved().alerts.len(), 1);
}

#[test]
fn a_clock_that_is_set_hurries_nothing_and_keeps_nothing_waiting() {
    let day = i64::try_from(DAY.as_secs()).unwrap();
    for by in [-day, -30 * day, 30 * day] {
        let mut queue = queue(vec![delivery(1, "a", Phase::Opened, 0)]);
        settle(&mut queue, 1, &down(), 600, 0);
        queue.take_unsaved();
        queue.shift(SignedDuration::from_secs(by));
        assert_eq!(next(&mut queue, by + 1), Err(Some(by + 600)), "set by {by} s");
        queue.admit(vec![delivery(2, "b", Phase::Opened, by + 1)], at(by + 1));
        assert_eq!(next(&mut queue, by + 29), Err(Some(by + 30)), "tried soon for the new one");
        assert_eq!(next(&mut queue, by + 30), Ok(1));
        assert_eq!(next(&mut queue, by + day + 1), Ok(2), "the first is out of time a day after it was made");
        let saved = queue.take_unsaved().deliveries;
        assert_eq!(saved["msg_000001"].created_at, at(by), "the next start knows too");
    }
}

#[test]
fn what_was_made_in_the_future_before_a_restart_is_due_now() {
    let mut queue = Queue::default();
    let waiting = Delivery { at: at(90_000), ..delivery(1, "a", Phase::Opened, 86_400) };
    queue.take_up(vec![waiting, Delivery { at: at(600), ..delivery(2, "b", Phase::Opened, -60) }], at(0));
    assert_eq!(next(&mut queue, 0), Ok(1));
    settle(&mut queue, 1, &Answer::Delivered(200), 5, 0);
    assert_eq!(next(&mut queue, 0), Err(Some(600)), "the other waits as long as it was to");
}
