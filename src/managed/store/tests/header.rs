//! One damaged bit in the header of a file, which has the numbers of its last two commits.

use crate::Result;
use crate::managed::store::{Action, Change, FileStore, Record, Store};

fn put(n: usize) -> Change {
    Change { key: format!("x/{n:03}"), expected: None, action: Action::Put(vec![n as u8; 100]) }
}

fn opened(path: &std::path::Path) -> Result<Vec<Record>> {
    let store = FileStore::open(path)?;
    let found = store.list("", None, 1000)?;
    // A change may touch the damaged place.
    store.commit(&[put(900)])?;
    let mut then = store.list("", None, 1000)?;
    then.retain(|record| record.key != "x/900");
    assert_eq!(found, then);
    Ok(found)
}

/// If the number of the last commit reads as a smaller one, the one before it is no newer.
#[test]
fn no_bit_of_the_header_brings_the_commit_before_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    // Numbers that end in other bits, and commits in either slot.
    for count in [20, 23] {
        let store = FileStore::open(&path).unwrap();
        (0..count).for_each(|n| drop(store.commit(&[put(n)]).unwrap()));
        let truth = store.list("", None, 1000).unwrap();
        let killed = std::fs::read(&path).unwrap();
        drop(store);
        let closed = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut errors = 0;
        for image in [killed, closed] {
            assert_eq!(truth.len(), count);
            // The low bytes of the numbers of the two commits.
            for bit in (8 * 168..8 * 171).chain(8 * 296..8 * 299) {
                let copy = folder.path().join("copy");
                let mut bytes = image.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                std::fs::write(&copy, &bytes).unwrap();
                match opened(&copy) {
                    Ok(found) => {
                        assert!(found == truth, "bit {} of byte {}: {} records", bit % 8, bit / 8, found.len())
                    }
                    Err(_) => errors += 1,
                }
                std::fs::remove_file(&copy).unwrap();
            }
        }
        assert!(errors > 10, "{errors}");
    }
}
