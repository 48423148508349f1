//! [`StoreCheck`]: what is told of a store.

/// What a look at a whole store found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreCheck {
    /// How many changes were ever made to it. A store with fewer than it once had was put back to an earlier state: keep the
    /// number elsewhere to tell. 0 if that can't be read.
    pub changes: u64,
    /// How many sets it has; of a store that doesn't open, of how many a record can be read.
    pub sets: u64,
    /// How many disks, snapshots, and copies of images' disks it has, likewise.
    pub resources: u64,
    /// What is wrong, for a person: each damaged or missing record that can be named. Empty if the store is sound.
    pub defects: Vec<String>,
}

impl StoreCheck {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.defects.is_empty()
    }
}
