//! Called prefixes: the kernel writes one half of the map while the daemon reads and clears the other.

use std::collections::BTreeMap;
use std::time::Duration;

use aya::maps::{Array, MapData};
use edge_ebpf::abi::{
    PREFIX_PAGES, PREFIX_SETS_PER_PAGE, PREFIX_WAYS, PrefixCount, PrefixPage, PrefixSet, map,
    prefix_key_parts,
};

use super::error::DataplaneError;
use super::load::Maps;
use super::settings::SettingsMap;
use crate::detect::PrefixTurn;

const EMPTY: PrefixPage = PrefixPage {
    sets: [PrefixSet { ways: [PrefixCount { key: 0, count: 0 }; PREFIX_WAYS] }; PREFIX_SETS_PER_PAGE],
};

/// The map of called prefixes.
pub struct Prefixes {
    settings: SettingsMap,
    pages: Array<MapData, PrefixPage>,
}

/// The half that came to rest with [`Prefixes::flip`].
#[must_use = "a half that is not drained is counted twice with the turn after next"]
#[derive(Debug)]
pub struct RestingHalf {
    first_page: u32,
}

impl Prefixes {
    pub(super) fn new(maps: &mut Maps, settings: SettingsMap) -> Result<Self, DataplaneError> {
        Ok(Self { settings, pages: maps.typed(map::PREFIXES)? })
    }

    /// Has the kernel write the other half. A program that is running keeps to the half that it has read:
    /// wait a few milliseconds before [`Self::drain`].
    pub fn flip(&self) -> Result<RestingHalf, DataplaneError> {
        let settings = self.settings.change(|settings| {
            settings.prefix_epoch = settings.prefix_epoch.wrapping_add(1);
        })?;
        let resting = settings.prefix_epoch.wrapping_sub(1) & 1;
        Ok(RestingHalf { first_page: resting * PREFIX_PAGES })
    }

    /// Reads and clears a half. `length` is how long the kernel wrote it; `names` gives accounts by number: what
    /// belongs to none of them is left out.
    pub fn drain(
        &mut self,
        half: &RestingHalf,
        length: Duration,
        names: &BTreeMap<u32, String>,
    ) -> Result<PrefixTurn, DataplaneError> {
        let mut turn = PrefixTurn { length, ..PrefixTurn::default() };
        for index in half.first_page..half.first_page + PREFIX_PAGES {
            let page = self
                .pages
                .get(&index, 0)
                .map_err(|error| DataplaneError::map("read", map::PREFIXES, &error))?;
            if page == EMPTY {
                continue;
            }
            collect(&page, names, &mut turn);
            self.pages
                .set(index, EMPTY, 0)
                .map_err(|error| DataplaneError::map("clear", map::PREFIXES, &error))?;
        }
        Ok(turn)
    }
}

fn collect(page: &PrefixPage, names: &BTreeMap<u32, String>, turn: &mut PrefixTurn) {
    let used = page.sets.iter().flat_map(|set| set.ways).filter(|way| way.key != 0);
    for PrefixCount { key, count } in used {
        let (account, digits, receipt) = prefix_key_parts(key);
        // The 1 before the digits keeps leading zeros.
        let digits = digits.to_string();
        let (Some(name), Some(digits)) = (names.get(&account), digits.strip_prefix('1')) else { continue };
        let digits = digits.to_owned();
        if let Some(kind) = receipt {
            let receipts = turn.receipts.entry(name.clone()).or_default();
            receipts.entry(digits).or_default()[kind.index()] += count;
        } else {
            let counts = turn.counts.entry(name.clone()).or_default();
            *counts.entry(digits).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use edge_ebpf::abi::{ReceiptKind, prefix_key, receipt_digits};

    use super::*;

    #[test]
    fn prefixes_come_back_with_their_account_and_their_leading_zeros() {
        let mut page = EMPTY;
        page.sets[3].ways[0] = PrefixCount { key: prefix_key(2, 1_044), count: 5 };
        page.sets[3].ways[1] = PrefixCount { key: prefix_key(2, 144), count: 7 };
        let failed = receipt_digits(ReceiptKind::Failed, 144);
        page.sets[3].ways[2] = PrefixCount { key: prefix_key(2, failed), count: 3 };
        page.sets[63].ways[3] = PrefixCount { key: prefix_key(9, 144), count: 11 };
        let names = BTreeMap::from([(2, "acme".to_owned())]);
        let mut turn = PrefixTurn::default();
        collect(&page, &names, &mut turn);
        let acme = BTreeMap::from([("044".to_owned(), 5), ("44".to_owned(), 7)]);
        assert_eq!(turn.counts, BTreeMap::from([("acme".to_owned(), acme)]));
        let receipts = BTreeMap::from([("44".to_owned(), [0, 3, 0, 0, 0, 0, 0, 0])]);
        assert_eq!(turn.receipts, BTreeMap::from([("acme".to_owned(), receipts)]));
    }
}
