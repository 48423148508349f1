//! Lists of records, a page at a time: memory doesn't grow with the list.

use std::vec::IntoIter;

use super::shared::{MAX_PAGE, Record, Store};
use crate::Result;

/// All records whose keys begin with `prefix`, in order. Each page is of a later moment than the one before.
pub(super) fn pages<'s>(store: &'s dyn Store, prefix: &'s str) -> Pages<'s> {
    Pages { store, prefix, page: Vec::new().into_iter(), last: None, ended: false }
}

pub(super) struct Pages<'s> {
    store: &'s dyn Store,
    prefix: &'s str,
    page: IntoIter<Record>,
    last: Option<String>,
    ended: bool,
}

impl Iterator for Pages<'_> {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(record) = self.page.next() {
            return Some(Ok(record));
        }
        if self.ended {
            return None;
        }
        let page = match self.store.list(self.prefix, self.last.as_deref(), MAX_PAGE) {
            Ok(page) => page,
            Err(e) => {
                self.ended = true;
                return Some(Err(e));
            }
        };
        self.ended = page.len() < MAX_PAGE;
        self.last = page.last().map(|record| record.key.clone()).or(self.last.take());
        self.page = page.into_iter();
        self.page.next().map(Ok)
    }
}
