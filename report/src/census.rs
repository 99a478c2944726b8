//! How often each title comes in a log that holds more reports than are kept.

use std::collections::HashMap;

use serde::Serialize;

use crate::log::KernelTime;

/// All reports of one title.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TitleCount {
    /// See [`crate::Report::title`].
    pub title: String,
    /// How many reports have it.
    pub reports: usize,
    /// When the first of them was printed.
    pub first: Option<KernelTime>,
    /// When the last of them was printed.
    pub last: Option<KernelTime>,
}

/// The counts while the reports go by.
#[derive(Default)]
pub(crate) struct Census {
    /// In the order of their first reports.
    counts: Vec<TitleCount>,
    /// Where in `counts` a title is.
    places: HashMap<String, usize>,
    /// Reports that were named.
    pub(crate) reports: usize,
    /// Headers that were not looked into, and reports whose title is one too many.
    pub(crate) unnamed: usize,
}

/// More titles than this no machine has; a log that shows them is no log.
const TITLES_MAX: usize = 4096;
/// Naming a report takes some ten microseconds: so many take a second or two.
const NAMED_MAX: usize = 1 << 17;

impl Census {
    /// Is there room for one more report? If not, it is counted as unnamed.
    pub(crate) fn has_room(&mut self) -> bool {
        let room = self.reports < NAMED_MAX;
        self.unnamed += usize::from(!room);
        room
    }

    /// Counts a report; true when it is the first of its title.
    pub(crate) fn count(&mut self, title: &str, at: Option<KernelTime>) -> bool {
        self.reports += 1;
        if let Some(place) = self.places.get(title) {
            let known = &mut self.counts[*place];
            known.reports += 1;
            known.last = at;
            return false;
        }
        if self.counts.len() >= TITLES_MAX {
            self.unnamed += 1;
            return false;
        }
        self.places.insert(title.to_owned(), self.counts.len());
        self.counts.push(TitleCount { title: title.to_owned(), reports: 1, first: at, last: at });
        true
    }

    pub(crate) fn into_counts(self) -> Vec<TitleCount> {
        self.counts
    }
}
