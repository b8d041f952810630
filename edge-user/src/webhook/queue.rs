//! What waits to be sent, and what waits to be written down: pure, so that every rule can be tested without
//! network, disk or clock.
//!
//! Order is kept within an endpoint: while it is in trouble, everything waits behind its oldest message. A
//! message that the endpoint itself refuses (4xx) steps aside, with the later steps of its own alert, so that it
//! cannot stop the others. A new message to an endpoint in trouble has it tried again soon.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::EndpointStatus;
use super::send::Answer;
use crate::alert::{Alert, Phase};
use crate::store::{Delivery, DeliveryState};

/// Deliveries that may wait for one endpoint.
pub(super) const MAX_PENDING: usize = 5_000;
/// Changes that are kept in memory while the database cannot be written.
pub(super) const MAX_UNSAVED: usize = 1_000;
/// An endpoint in trouble is not tried more often than this because of new messages.
const SPACING: Duration = Duration::from_secs(30);

/// All deliveries that are pending, by endpoint, and all changes that the database does not have yet.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lanes: BTreeMap<String, Lane>,
    unsaved: Batch,
}

/// Alerts and deliveries to be written in one transaction.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    pub(super) alerts: BTreeMap<String, Alert>,
    pub(super) deliveries: BTreeMap<String, Delivery>,
}

/// What an endpoint's worker is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Send(Delivery),
    WaitUntil(Timestamp),
    Idle,
}

/// How a failure is followed up.
#[derive(Clone, Copy, Debug)]
pub(super) struct FollowUp {
    /// By the table, jitter included.
    pub(super) wait: Duration,
    pub(super) give_up_after: Duration,
}

#[derive(Debug, Default)]
struct Lane {
    waiting: BTreeMap<String, Waiting>,
    /// The last attempt failed.
    in_trouble: bool,
    status: EndpointStatus,
}

#[derive(Debug)]
struct Waiting {
    delivery: Delivery,
    /// The last answer was 4xx.
    refused: bool,
    tried_at: Option<Timestamp>,
    /// The endpoint asked not to be tried before.
    hold_until: Option<Timestamp>,
}

impl Queue {
    /// Notes what is to be written down; nothing is sent for it yet.
    pub(super) fn stage(&mut self, alerts: &[Alert], deliveries: &[Delivery]) {
        self.unsaved.alerts.extend(alerts.iter().map(|alert| (alert.id.clone(), alert.clone())));
        for delivery in deliveries {
            self.unsaved.note(delivery.clone());
        }
    }

    /// Lets pending deliveries be sent.
    pub(super) fn admit(&mut self, deliveries: Vec<Delivery>, now: Timestamp) {
        for delivery in deliveries {
            let lane = self.lanes.entry(delivery.endpoint.clone()).or_default();
            lane.hurry(now);
            let waiting = Waiting { delivery, refused: false, tried_at: None, hold_until: None };
            lane.waiting.insert(waiting.delivery.id.clone(), waiting);
            while lane.waiting.len() > MAX_PENDING {
                let Some(dropped) = lane.drop_one() else { break };
                lane.status.dropped += 1;
                self.unsaved.note(fail(dropped, "dropped: too many were waiting", now));
            }
        }
    }

    /// Takes up what waited before a restart. What was made in the future was made before the clock was set back: it is
    /// due now, or it would wait for as long as that.
    pub(super) fn take_up(&mut self, mut deliveries: Vec<Delivery>, now: Timestamp) {
        for delivery in deliveries.iter_mut().filter(|delivery| delivery.created_at > now) {
            (delivery.created_at, delivery.at) = (now, now);
            self.unsaved.note(delivery.clone());
        }
        self.admit(deliveries, now);
    }

    /// The clock was set: what waits is due and out of time after as long as it would have been.
    pub(super) fn shift(&mut self, by: SignedDuration) {
        let end = if by.is_negative() { Timestamp::MIN } else { Timestamp::MAX };
        let shifted = |at: Timestamp| at.checked_add(by).unwrap_or(end);
        for waiting in self.lanes.values_mut().flat_map(|lane| lane.waiting.values_mut()) {
            let delivery = &mut waiting.delivery;
            (delivery.at, delivery.created_at) = (shifted(delivery.at), shifted(delivery.created_at));
            waiting.tried_at = waiting.tried_at.map(shifted);
            waiting.hold_until = waiting.hold_until.map(shifted);
            self.unsaved.note(delivery.clone());
        }
    }

    /// What the worker of an endpoint is to do now.
    pub(super) fn next(&mut self, endpoint: &str, give_up_after: Duration, now: Timestamp) -> Next {
        let Some(lane) = self.lanes.get_mut(endpoint) else { return Next::Idle };
        if lane.status.disabled.is_some() {
            return Next::Idle;
        }
        for late in lane.too_late(give_up_after, now) {
            lane.status.given_up += 1;
            let error = late.last_error.clone().unwrap_or_else(|| "never tried".to_owned());
            self.unsaved.note(fail(late, &error, now));
        }
        lane.next(now)
    }

    /// Takes in what came of an attempt.
    pub(super) fn settle(
        &mut self,
        endpoint: &str,
        id: &str,
        answer: &Answer,
        follow_up: FollowUp,
        now: Timestamp,
    ) {
        let Some(lane) = self.lanes.get_mut(endpoint) else { return };
        lane.in_trouble = !matches!(answer, Answer::Delivered(_) | Answer::Refused(_));
        match answer {
            Answer::Delivered(_) => lane.status.delivered += 1,
            _ => lane.status.failed_attempts += 1,
        }
        // Not there: dropped while it was on its way.
        let Some(mut waiting) = lane.waiting.remove(id) else { return };
        waiting.delivery.attempts = waiting.delivery.attempts.saturating_add(1);
        if matches!(answer, Answer::Delivered(_)) {
            self.unsaved.note(Delivery { state: DeliveryState::Delivered, at: now, ..waiting.delivery });
            return;
        }
        waiting.delivery.last_error = Some(answer.error());
        waiting.tried_at = Some(now);
        waiting.refused = matches!(answer, Answer::Refused(_));
        if let Answer::Gone = answer {
            lane.status.disabled = Some(answer.error());
        }
        let deadline = later(waiting.delivery.created_at, follow_up.give_up_after);
        if deadline <= now && !matches!(answer, Answer::Gone) {
            lane.status.given_up += 1;
            self.unsaved.note(fail(waiting.delivery, &answer.error(), now));
            return;
        }
        waiting.hold_until = match answer {
            Answer::Failed { retry_after: Some(wait), .. } => Some(later(now, *wait)),
            _ => None,
        };
        let due = later(now, follow_up.wait).max(waiting.hold_until.unwrap_or(now));
        // The last attempt comes when its time is over, not after.
        waiting.delivery.at = due.min(deadline.max(now));
        self.unsaved.note(waiting.delivery.clone());
        lane.waiting.insert(id.to_owned(), waiting);
    }

    /// How often a delivery was tried.
    pub(super) fn attempts(&self, endpoint: &str, id: &str) -> u32 {
        let waiting = self.lanes.get(endpoint).and_then(|lane| lane.waiting.get(id));
        waiting.map_or(0, |waiting| waiting.delivery.attempts)
    }

    /// Endpoints that answered 410 are tried again; deliveries to endpoints that are not named are given up.
    pub(super) fn reset(&mut self, endpoints: &BTreeSet<String>, now: Timestamp) {
        for (name, lane) in &mut self.lanes {
            lane.status.disabled = None;
            if !endpoints.contains(name) {
                for (_, waiting) in std::mem::take(&mut lane.waiting) {
                    self.unsaved.note(fail(waiting.delivery, "the endpoint is not configured any more", now));
                }
            }
        }
        self.lanes.retain(|name, _| endpoints.contains(name));
        for name in endpoints {
            self.lanes.entry(name.clone()).or_default();
        }
    }

    /// What the database does not have yet; to be given back if it does not take it.
    pub(super) fn take_unsaved(&mut self) -> Batch {
        std::mem::take(&mut self.unsaved)
    }

    /// Gives back what could not be written. What has changed since then is newer and stays. Only here is it bounded: while
    /// the database is well, all of it is written.
    pub(super) fn put_back(&mut self, batch: Batch) {
        for (id, alert) in batch.alerts {
            self.unsaved.alerts.entry(id).or_insert(alert);
        }
        for (id, delivery) in batch.deliveries {
            self.unsaved.deliveries.entry(id).or_insert(delivery);
        }
        self.unsaved.bound();
    }

    pub(super) fn unsaved(&self) -> usize {
        self.unsaved.len()
    }

    pub(super) fn status(&self) -> BTreeMap<String, EndpointStatus> {
        let status = |lane: &Lane| EndpointStatus {
            pending: u64::try_from(lane.waiting.len()).unwrap_or(u64::MAX),
            ..lane.status.clone()
        };
        self.lanes.iter().map(|(name, lane)| (name.clone(), status(lane))).collect()
    }
}

impl Lane {
    fn next(&self, now: Timestamp) -> Next {
        let mut aside: BTreeSet<&str> = BTreeSet::new();
        let mut wait_until: Option<Timestamp> = None;
        for waiting in self.waiting.values() {
            let delivery = &waiting.delivery;
            if aside.contains(delivery.alert_id.as_str()) {
                continue;
            }
            if delivery.at <= now {
                return Next::Send(delivery.clone());
            }
            wait_until = Some(wait_until.map_or(delivery.at, |until| until.min(delivery.at)));
            if !waiting.refused {
                break;
            }
            aside.insert(&delivery.alert_id);
        }
        wait_until.map_or(Next::Idle, Next::WaitUntil)
    }

    /// The message that all others wait behind is tried soon, unless the endpoint asked for more time.
    fn hurry(&mut self, now: Timestamp) {
        if let Some(head) = self.waiting.values_mut().find(|waiting| !waiting.refused) {
            let spaced = head.tried_at.map_or(now, |at| later(at, SPACING).max(now));
            let soon = spaced.max(head.hold_until.unwrap_or(now));
            head.delivery.at = head.delivery.at.min(soon);
        }
    }

    /// While nothing gets through, what is out of time is given up without being tried, so that what is fresh
    /// does not wait behind it.
    fn too_late(&mut self, give_up_after: Duration, now: Timestamp) -> Vec<Delivery> {
        if !self.in_trouble {
            return Vec::new();
        }
        let late = |waiting: &Waiting| later(waiting.delivery.created_at, give_up_after) < now;
        let ids: Vec<String> =
            self.waiting.iter().filter(|(_, waiting)| late(waiting)).map(|(id, _)| id.clone()).collect();
        ids.iter().filter_map(|id| self.waiting.remove(id)).map(|waiting| waiting.delivery).collect()
    }

    /// The oldest update, else the oldest resolution, else the oldest.
    fn drop_one(&mut self) -> Option<Delivery> {
        let oldest = |phase: Phase| self.waiting.iter().find(|(_, w)| w.delivery.phase == phase);
        let chosen = oldest(Phase::Updated)
            .or_else(|| oldest(Phase::Resolved))
            .or_else(|| self.waiting.iter().next())
            .map(|(id, _)| id.clone())?;
        self.waiting.remove(&chosen).map(|waiting| waiting.delivery)
    }
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.alerts.len() + self.deliveries.len()
    }

    fn note(&mut self, delivery: Delivery) {
        self.deliveries.insert(delivery.id.clone(), delivery);
    }

    /// Forgets the oldest; what is pending is still sent, but would not survive a crash.
    fn bound(&mut self) {
        while self.len() > MAX_UNSAVED {
            let settled = |(_, delivery): &(&String, &Delivery)| delivery.state != DeliveryState::Pending;
            let chosen = self.deliveries.iter().find(settled).or_else(|| self.deliveries.iter().next());
            if let Some(id) = chosen.map(|(id, _)| id.clone()) {
                self.deliveries.remove(&id);
            } else {
                self.alerts.pop_first();
            }
        }
    }
}

fn fail(delivery: Delivery, error: &str, now: Timestamp) -> Delivery {
    Delivery { state: DeliveryState::Failed, at: now, last_error: Some(error.to_owned()), ..delivery }
}

/// Saturates at the end of time, some seven thousand years from now.
fn later(at: Timestamp, wait: Duration) -> Timestamp {
    at.checked_add(wait).unwrap_or(Timestamp::MAX)
}
