//! A sliding window over turns of the prefix map, measured by how long the kernel wrote each of them, so that a
//! clock that is set changes nothing.

use std::collections::VecDeque;
use std::time::Duration;

use super::prefix::Counts;

/// Turns are put together to so many slots; the window is exact to one of them.
const SLOTS: u32 = 12;
/// A turn without a length would never leave the window.
const SHORTEST_TURN: Duration = Duration::from_millis(1);

#[derive(Debug, Default)]
pub(super) struct Window {
    slots: VecDeque<Slot>,
}

#[derive(Debug)]
struct Slot {
    counts: Counts,
    length: Duration,
    suspected: bool,
}

impl Window {
    /// Adds a turn, and answers with what left the window for it and was never suspected.
    pub(super) fn add(
        &mut self,
        counts: Counts,
        length: Duration,
        window: Duration,
        suspected: bool,
    ) -> Vec<Counts> {
        let length = length.max(SHORTEST_TURN);
        match self.slots.back_mut() {
            Some(slot) if slot.length + length <= window / SLOTS => {
                slot.counts.add(&counts);
                slot.length += length;
                slot.suspected |= suspected;
            }
            _ => self.slots.push_back(Slot { counts, length, suspected }),
        }
        let mut past = Vec::new();
        while self.slots.front().is_some_and(|oldest| self.length() >= window + oldest.length) {
            past.extend(self.slots.pop_front().filter(|slot| !slot.suspected).map(|slot| slot.counts));
        }
        past
    }

    /// What is in the window now is not to be learnt from.
    pub(super) fn suspect(&mut self) {
        for slot in &mut self.slots {
            slot.suspected = true;
        }
    }

    /// Everything within the window.
    pub(super) fn counts(&self) -> Counts {
        self.slots.iter().fold(Counts::default(), |mut sum, slot| {
            sum.add(&slot.counts);
            sum
        })
    }

    /// How much time it holds.
    pub(super) fn length(&self) -> Duration {
        self.slots.iter().map(|slot| slot.length).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.iter().all(|slot| slot.counts.total() == 0)
    }
}
