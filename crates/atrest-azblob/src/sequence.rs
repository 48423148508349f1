//! The sequence number of a page blob, as a fence against writes that come late.
//!
//! Each write carries the number and is done only while the blob has that number. After a write with an unknown outcome the
//! number is raised before anything else is written: requests of it that are still under way are refused from then on.

use std::sync::{Mutex, PoisonError};

/// The number that the blob has as far as is known, and for which numbers a write's outcome is unknown.
#[derive(Debug)]
pub(crate) struct Sequence {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    number: u64,
    /// The highest number of a write whose outcome is unknown.
    doubt: Option<u64>,
}

/// The largest number that the service takes ("Set Blob Properties").
const LARGEST: u64 = i64::MAX as u64;

impl Sequence {
    pub fn new(number: u64) -> Self {
        Sequence { state: Mutex::new(State { number, doubt: None }) }
    }

    /// The number for the next write. `Err` is the number that the blob has to be raised to first.
    pub fn current(&self) -> Result<u64, u64> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.doubt {
            Some(doubt) if doubt >= state.number => Err(doubt.saturating_add(1).min(LARGEST)),
            _ => Ok(state.number),
        }
    }

    /// A write with this number may be done late, or the blob has another number.
    pub fn doubt(&self, number: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.doubt = state.doubt.max(Some(number));
    }

    /// Something that came with the current number may be done late.
    pub fn doubt_current(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.doubt = Some(state.number);
    }

    /// The blob has this number now. False if it wasn't raised, as the service had to.
    pub fn raised(&self, number: u64) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.number = state.number.max(number);
        state.doubt.is_none_or(|doubt| doubt < state.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubt_is_settled_by_a_higher_number_only() {
        let sequence = Sequence::new(7);
        assert_eq!(sequence.current(), Ok(7));
        sequence.doubt(7);
        assert_eq!(sequence.current(), Err(8));
        assert!(!sequence.raised(7));
        assert!(sequence.raised(8));
        assert_eq!(sequence.current(), Ok(8));
        // A late report about an old number is settled already.
        sequence.doubt(7);
        assert_eq!(sequence.current(), Ok(8));
        sequence.doubt(LARGEST);
        assert_eq!(sequence.current(), Err(LARGEST));
        assert!(!sequence.raised(LARGEST));
    }
}
