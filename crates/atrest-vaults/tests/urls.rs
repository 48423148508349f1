//! Vaults by URL: files, as people write them, and what no build takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use atrest::vault::{FileVault, KdfCost, Unlock};
use atrest::{Error, Secret};
use atrest_vaults::{VaultOptions, open, open_with, schemes};

fn refused(url: &str) -> String {
    match open(url) {
        Err(Error::InvalidOption(text)) => text,
        Err(e) => panic!("{url}: {e:?}"),
        Ok(_) => panic!("{url} opens"),
    }
}

#[test]
fn a_vault_file_opens_by_a_key_file_or_a_passphrase_of_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    FileVault::generate_key_file(at("key")).unwrap();
    let by_file = FileVault::create(at("a.vault"), Unlock::KeyFile(at("key").as_ref())).unwrap();
    let cost = KdfCost::new(64, 1, 1);
    let by_word = FileVault::create_with_cost(at("b.vault"), Unlock::Passphrase(b"correct horse"), cost).unwrap();
    for vault in [&by_file, &by_word] {
        vault.create_key("disks").unwrap();
    }
    for slashes in ["", "//"] {
        let vault = open(&format!("file:{slashes}{}?key-file={}", at("a.vault"), at("key"))).unwrap();
        assert_eq!(vault.id(), atrest::KeyVault::id(&by_file));
    }
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let options = VaultOptions::new().secrets(move |name| {
        assert_eq!(name, "ATREST_PASSPHRASE");
        count.fetch_add(1, SeqCst);
        Ok(Some(Secret::copy_from(b"correct horse")))
    });
    let vault = open_with(&format!("file:{}", at("b.vault")), &options).unwrap();
    assert!(vault.wrap("disks", &Secret::copy_from(&[7; 64])).is_ok());
    assert_eq!((asked.load(SeqCst), format!("{options:?}").contains("horse")), (1, false));
    // Not from the environment of the process, and not from the URL.
    assert!(refused(&format!("file:{}", at("b.vault"))).contains("ATREST_PASSPHRASE"));
    for query in ["passphrase=correct%20horse", "key-file=", "key-file=a&key-file=b", ""] {
        let text = refused(&format!("file:{}?{query}", at("b.vault")));
        assert!(text.contains("key-file") && !text.contains("horse"), "{text}");
    }
    assert!(refused("file://elsewhere/etc/disks.vault").contains("another host"));
    assert!(matches!(open(&format!("file:{}?key-file={}", at("none"), at("key"))), Err(Error::NotFound { .. })));
    let wrong = VaultOptions::new().secrets(|_| Ok(Some(Secret::copy_from(b"wrong horse"))));
    assert!(matches!(open_with(&format!("file:{}", at("b.vault")), &wrong), Err(Error::WrongVaultPassphrase)));
    let failing = VaultOptions::new().secrets(|_| Err(std::io::ErrorKind::PermissionDenied.into()));
    assert!(matches!(open_with(&format!("file:{}", at("b.vault")), &failing), Err(Error::InvalidOption(_))));
}

#[test]
fn what_is_no_vault_is_refused_without_being_repeated() {
    for url in ["", "s3://secret", "secret", "http://user:secret@host", "VAULT+HTTPS://secret/m"] {
        let text = refused(url);
        assert!(text.contains("file:") && !text.contains("secret"), "{text}");
    }
    let here: Vec<_> = schemes().collect();
    for (scheme, url) in [
        ("vault+https:", "vault+https://h.example/transit?auth=kubernetes&role=r"),
        ("awskms:", "awskms://eu-central-1"),
        ("azurekv:", "azurekv://contoso.vault.azure.net?auth=managed"),
        ("gcpkms:", "gcpkms://projects/p/locations/l/keyRings/r?auth=machine"),
        ("kmip:", "kmip://kms.example?ca=/a&cert=/b&key=/c"),
        ("pkcs11:", "pkcs11:token=disks?module-path=/no/such/library.so"),
        ("tpm:", "tpm:host-1?keys=/etc/keys"),
    ] {
        match (here.iter().any(|known| known == scheme), open(url)) {
            (false, Err(Error::InvalidOption(text))) => assert!(text.contains("which is the feature"), "{text}"),
            (true, Ok(vault)) => assert!(url.starts_with(vault.id()) || vault.id().starts_with("https://"), "{url}"),
            // Files that aren't there.
            (true, Err(e)) => assert!(!format!("{e:#}").contains("feature") && url.contains("=/"), "{url}: {e:#}"),
            (false, other) => panic!("{url}: {:?}", other.map(|vault| vault.id().to_owned())),
        }
    }
}

/// A secret of the program goes where one of the environment would.
#[cfg(feature = "transit")]
#[test]
fn a_secret_of_the_program_reaches_the_service() {
    use std::io::{Read, Write};
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("vault+http://127.0.0.1:{}/transit", server.local_addr().unwrap().port());
    let serving = std::thread::spawn(move || {
        let (mut client, _) = server.accept().unwrap();
        let (mut request, mut piece) = (Vec::new(), [0; 4096]);
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            let len = client.read(&mut piece).unwrap();
            request.extend_from_slice(&piece[..len]);
        }
        client.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").unwrap();
        String::from_utf8_lossy(&request).to_lowercase()
    });
    let options = VaultOptions::new()
        .deadline(std::time::Duration::from_secs(5))
        .secrets(|name| Ok((name == "VAULT_TOKEN").then(|| Secret::copy_from(b"the token of the program"))));
    let vault = open_with(&url, &options).unwrap();
    let error = vault.wrap("disks", &Secret::copy_from(&[7; 64])).unwrap_err();
    assert!(!format!("{error:#} {error:?}").contains("the token of the program"));
    assert!(serving.join().unwrap().contains("x-vault-token: the token of the program"));
}
