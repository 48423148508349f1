//! Checks that the cases find their defects, by stores with one defect each.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::super::memory::MemoryStore;
use super::super::shared::{Action, Change, Outcome, Record, Revision, Store};
use super::{cases, run_case};
use crate::{Error, Result};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Defect {
    None,
    IgnoresChecks,
    ChecksBeforeItWrites,
    ForgetsRevisions,
    HalfACommit,
    OrdersByLetters,
    TakesAfterItself,
    StopsShort,
    ReadsOneByOne,
    CutsAtNul,
    OldReads,
    TakesAll,
    ErrorsForConflicts,
    PrefixByWildcard,
}

/// A store over a sound one.
#[derive(Clone)]
struct Broken {
    sound: MemoryStore,
    defect: Defect,
    old: Arc<Mutex<Vec<Record>>>,
}

impl Store for Broken {
    fn get(&self, keys: &[&str]) -> Result<Vec<Option<Record>>> {
        match self.defect {
            Defect::ReadsOneByOne => keys
                .iter()
                .map(|key| {
                    std::thread::sleep(Duration::from_micros(50));
                    Ok(self.sound.get(&[key])?.remove(0))
                })
                .collect(),
            Defect::OldReads if keys.len() == 1 => {
                let old = self.old.lock().unwrap().iter().find(|record| record.key == keys[0]).cloned();
                old.map_or_else(|| self.sound.get(keys), |old| Ok(vec![Some(old)]))
            }
            _ => self.sound.get(keys),
        }
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Record>> {
        let mut page = self.sound.list(prefix, after, limit)?;
        match self.defect {
            Defect::OrdersByLetters => page.sort_by_key(|record| record.key.to_lowercase()),
            Defect::StopsShort if page.len() > 100 => page.truncate(100),
            Defect::PrefixByWildcard => page.retain(|record| !record.key.ends_with("a_b")),
            Defect::TakesAfterItself => {
                let found = self.sound.get(&after.into_iter().collect::<Vec<_>>())?;
                page.splice(0..0, found.into_iter().flatten());
                page.truncate(limit);
            }
            _ => {}
        }
        Ok(page)
    }

    fn commit(&self, changes: &[Change]) -> Result<Outcome> {
        let mut changes = changes.to_vec();
        match self.defect {
            Defect::IgnoresChecks => changes.retain(|change| change.action != Action::Check),
            Defect::ChecksBeforeItWrites => {
                let checks: Vec<Change> = changes.extract_if(.., |change| change.action == Action::Check).collect();
                if self.sound.commit(&checks)? == Outcome::Conflict {
                    return Ok(Outcome::Conflict);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            Defect::HalfACommit if changes.len() > 1 => {
                let (first, rest) = changes.split_at(changes.len() / 2);
                let Outcome::Committed(mut put) = self.sound.commit(first)? else { return Ok(Outcome::Conflict) };
                let Outcome::Committed(more) = self.sound.commit(rest)? else { return Ok(Outcome::Conflict) };
                put.extend(more);
                return Ok(Outcome::Committed(put));
            }
            Defect::CutsAtNul => changes.iter_mut().for_each(|change| {
                if let Action::Put(value) = &mut change.action {
                    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
                    value.truncate(end);
                }
            }),
            Defect::OldReads => {
                let keys: Vec<&str> = changes.iter().map(|change| change.key.as_str()).collect();
                *self.old.lock().unwrap() = self.sound.get(&keys)?.into_iter().flatten().collect();
            }
            Defect::TakesAll => {
                let keys: Vec<&str> = changes.iter().map(|change| change.key.as_str()).collect();
                let now = self.sound.get(&keys[..keys.len().min(64)])?;
                let revision = |at: usize| now.get(at).and_then(|record| record.as_ref()).map(|record| record.revision);
                (0..changes.len()).for_each(|at| changes[at].expected = revision(at));
                changes.retain(|change| change.expected.is_some() || change.action != Action::Remove);
            }
            _ => {}
        }
        let outcome = self.sound.commit(&changes)?;
        match (self.defect, outcome) {
            (Defect::ForgetsRevisions, Outcome::Committed(put)) => {
                Ok(Outcome::Committed(put.into_iter().map(|put| Revision(put.0 % 7)).collect()))
            }
            (Defect::ErrorsForConflicts, Outcome::Conflict) => {
                let source = std::io::ErrorKind::Other.into();
                Err(Error::Io { what: "a commit".into(), source })
            }
            (_, outcome) => Ok(outcome),
        }
    }

    fn deadline(&self) -> Duration {
        self.sound.deadline()
    }
}

#[test]
fn each_defect_is_found_by_the_case_for_it() {
    use Defect as D;
    let found_by = |defect| {
        let failed = |name: &&str| {
            let server = Broken { sound: MemoryStore::new(), defect, old: Arc::default() };
            catch_unwind(AssertUnwindSafe(|| run_case(name, || server.clone()))).is_err()
        };
        cases().filter(failed).collect::<Vec<_>>()
    };
    assert_eq!(found_by(D::None), [""; 0]);
    for (defect, case) in [
        (D::IgnoresChecks, "conditions"),
        (D::ChecksBeforeItWrites, "write_skew"),
        (D::ChecksBeforeItWrites, "fences"),
        (D::ForgetsRevisions, "revisions"),
        (D::HalfACommit, "atomicity"),
        (D::OrdersByLetters, "order"),
        (D::TakesAfterItself, "pages"),
        (D::StopsShort, "pages"),
        (D::ReadsOneByOne, "bank"),
        (D::CutsAtNul, "values"),
        (D::OldReads, "two_clients"),
        (D::TakesAll, "conditions"),
        (D::ErrorsForConflicts, "conditions"),
        (D::PrefixByWildcard, "keys"),
    ] {
        let found = found_by(defect);
        assert!(found.contains(&case), "{defect:?} isn't found by {case:?}, only by {found:?}");
    }
}
