//! Checksums of what goes and of what comes. The fake computes them by itself.

use atrest::{Error, KeyVault};
use atrest_http::HttpOptions;
use atrest_kms::GcpKms;

use crate::conformance::{self, dek};
use crate::fake::once;
use crate::server::{Fake, options};

const FAULTS: [&str; 6] = [
    "sent",
    "answered",
    "no ciphertextCrc32c",
    "no verifiedPlaintextCrc32c",
    "no verifiedAdditionalAuthenticatedDataCrc32c",
    "unverified",
];

#[test]
fn what_is_garbled_once_is_done_again() {
    let Some(fake) = Fake::start() else { return };
    let vault = fake.vault();
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    for fault in FAULTS {
        fake.tell(&format!(r#"{{"op":"state","garble":"{fault}","left":1}}"#));
        let again = vault.wrap("disks", &dek()).unwrap();
        fake.tell(r#"{"op":"state","garble":""}"#);
        assert_eq!(vault.unwrap(&again).unwrap().unwrap().expose(), conformance::DEK, "{fault}");
    }
    for fault in ["sent", "answered", "no plaintextCrc32c"] {
        fake.tell(&format!(r#"{{"op":"state","garble":"{fault}","left":1}}"#));
        assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap().expose(), conformance::DEK, "{fault}");
    }
}

/// It is no fault of the wrapped bytes.
#[test]
fn what_is_still_garbled_at_the_deadline_is_an_outage_and_told() {
    let Some(fake) = Fake::start() else { return };
    let wrapped = fake.vault().wrap("disks", &dek()).unwrap();
    let vault = GcpKms::new(&options(fake.port).http(once(HttpOptions::new()))).unwrap();
    for fault in FAULTS {
        fake.tell(&format!(r#"{{"op":"state","garble":"{fault}","left":1000000}}"#));
        let error = vault.wrap("disks", &dek()).unwrap_err();
        assert!(matches!(error, Error::Vault(_)) && error.to_string().contains("checksum"), "{fault}: {error}");
    }
    for fault in ["sent", "answered", "no plaintextCrc32c"] {
        fake.tell(&format!(r#"{{"op":"state","garble":"{fault}","left":1000000}}"#));
        let error = vault.unwrap(&wrapped).unwrap_err();
        assert!(matches!(error, Error::Vault(_)) && error.to_string().contains("checksum"), "{fault}: {error}");
    }
}
