//! Bytes that versions of keys have encrypted or decrypted, to find out whether they still decrypt.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use atrest::key::KeyId;

use crate::sealed::Sealed;

/// The most versions for which bytes are kept.
const MOST: usize = 1024;

/// Bytes of one version, and the name under which it decrypts them: the name is their additional data.
#[derive(Debug, Clone)]
pub(crate) struct Proof {
    pub(crate) kek: KeyId,
    pub(crate) sealed: Sealed,
}

/// The bytes, by the identifiers of the objects. The writer of a header chooses the name of a key, and an object without names is a version
/// of each.
#[derive(Debug, Default)]
pub(crate) struct Proofs(Mutex<BTreeMap<String, Proof>>);

impl Proofs {
    pub(crate) fn of(&self, uid: &str) -> Option<Proof> {
        self.all().get(uid).cloned()
    }

    /// Keeps the latest. If there is no room, another one makes place, and no more than one.
    pub(crate) fn keep(&self, uid: &str, proof: Proof) {
        let mut all = self.all();
        if all.len() >= MOST && !all.contains_key(uid) {
            all.pop_first();
        }
        all.insert(uid.into(), proof);
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Proof>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_store_loses_one_at_most() {
        let proofs = Proofs::default();
        let keep = |uid: &str| {
            let kek = KeyId::new("kmip://h:1", "disks", uid).unwrap();
            proofs.keep(uid, Proof { kek, sealed: Sealed::new(&[1; 12], &[2; 16], &[3; 64]).unwrap() });
        };
        let uid = |i: usize| format!("uid-{i:05}");
        let kept = || (0..2 * MOST).filter(|i| proofs.of(&uid(*i)).is_some()).count();
        (0..MOST).for_each(|i| keep(&uid(i)));
        assert_eq!(kept(), MOST);
        // One that is there takes no room.
        (0..MOST).for_each(|i| keep(&uid(i)));
        assert_eq!(kept(), MOST);
        // The new one is there, whatever went.
        for i in MOST..2 * MOST {
            keep(&uid(i));
            assert!(proofs.of(&uid(i)).is_some());
            assert_eq!(kept(), MOST);
        }
    }
}
