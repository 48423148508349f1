//! A shared or exclusive lock, with a deadline for each wait.

use std::sync::{Condvar, Mutex, PoisonError};

use crate::Deadline;

/// A lock that many may share, or one may hold alone. Each wait ends at a deadline.
#[derive(Debug, Default)]
pub struct Gate {
    /// How many share it, and whether one has it alone or waits for that.
    state: Mutex<(usize, bool)>,
    changed: Condvar,
}

/// A share of a [`Gate`], or all of it, until it is dropped.
pub struct Inside<'g>(&'g Gate, bool);

impl Gate {
    /// Shares the gate; `None` if the deadline is over first.
    pub fn share(&self, deadline: Deadline) -> Option<Inside<'_>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.1 {
            let left = deadline.left()?;
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.0 += 1;
        Some(Inside(self, false))
    }

    /// Has the gate alone; `None` if the deadline is over first. Those that come later wait.
    pub fn alone(&self, deadline: Deadline) -> Option<Inside<'_>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.1 {
            let left = deadline.left()?;
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.1 = true;
        // From here on the drop lets the others in again.
        let inside = Inside(self, true);
        while state.0 > 0 {
            let Some(left) = deadline.left() else {
                drop(state);
                return None;
            };
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        Some(inside)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        if self.1 {
            state.1 = false
        } else {
            state.0 -= 1
        }
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn one_alone_keeps_out_all_others_and_is_let_in_after_them() {
        let (gate, over, soon) =
            (Gate::default(), Deadline::after(Duration::ZERO), Deadline::after(Duration::from_secs(60)));
        let (one, two) = (gate.share(over).unwrap(), gate.share(over).unwrap());
        assert!(gate.alone(over).is_none());
        drop((one, two));
        let alone = gate.alone(soon).unwrap();
        assert!(gate.share(over).is_none() && gate.alone(over).is_none());
        drop(alone);
        assert!(gate.share(over).is_some());
    }
}
