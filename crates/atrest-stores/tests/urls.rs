//! URLs that are places for disks, and others.

use atrest::Error;
use atrest_stores::{backend, schemes};

#[test]
fn a_folder_is_a_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    let id = "6f6f6f6f-0000-4000-8000-000000000001";
    let first = backend(&format!("file:{path}")).unwrap();
    drop(first.create("north", id, 1 << 20).unwrap());
    for url in [format!("file:{path}"), format!("file://{path}"), format!("file:{path}?direct")] {
        let again = backend(&url).unwrap();
        assert_eq!(again.list("north").unwrap(), [id], "{url}");
    }
    first.remove("north", id).unwrap();
    assert!(first.list("north").unwrap().is_empty());
}

#[test]
fn what_is_no_place_is_refused_and_not_repeated() {
    for url in ["", "file", "/srv/disks", "ftp://host/x", "file://host/srv", "file:/tmp?secret", "http:x", "FILE:/tmp"]
    {
        let error = backend(url).err().unwrap();
        assert!(matches!(error, Error::InvalidOption(_)), "{url}: {error}");
        assert!(!error.to_string().contains("secret"));
    }
    assert!(matches!(backend("file:/no/such/folder"), Err(Error::NotFound { .. })));
    assert!(schemes().any(|scheme| scheme == "file:"));
    // A scheme of another build is told by its feature.
    for scheme in ["nbd", "nbds", "rbd", "azblob", "s3"] {
        if !schemes().any(|known| known == format!("{scheme}:")) {
            let error = backend(&format!("{scheme}:secret")).err().unwrap().to_string();
            assert!(error.contains("feature") && !error.contains("secret"), "{error}");
        }
    }
}

/// Nothing is asked of a place before a disk is.
#[test]
fn places_of_this_build_take_their_urls() {
    for (scheme, url) in [
        ("nbd:", "nbd://localhost/{id}"),
        ("nbd+unix:", "nbd+unix:///{id}?socket=/run/nbd"),
        ("rbd:", "rbd:disks/tenant-7?user=disks"),
    ] {
        if schemes().any(|known| known == scheme) {
            backend(url).unwrap_or_else(|e| panic!("{url}: {e}"));
        }
    }
}
