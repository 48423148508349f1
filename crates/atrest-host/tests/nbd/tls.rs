//! NBD by TLS: the tools of libnbd and QEMU with a certificate, and clients without one.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use atrest_host::{Nbd, Serve, Tls};

use crate::disk::{SIZE, TestDisk};
use crate::peers;

/// A root of trust with a server's certificate, and a client's; and a stranger's root with a client's. By OpenSSL.
fn certificates(folder: &Path) {
    let openssl = |args: &[&str]| {
        let done = std::process::Command::new("openssl").args(args).current_dir(folder).output().unwrap();
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    std::fs::create_dir(folder.join("stranger")).unwrap();
    for root in ["", "stranger/"] {
        let (ca, ca_key) = (format!("{root}ca-cert.pem"), format!("{root}ca-key.pem"));
        openssl(&[&["req", "-x509"], &new_key[..], &["-subj", "/CN=root", "-keyout", &ca_key, "-out", &ca]].concat());
        for name in ["server", "client"] {
            let (key, cert) = (format!("{root}{name}-key.pem"), format!("{root}{name}-cert.pem"));
            let signed = ["-CA", &ca, "-CAkey", &ca_key, "-addext", "subjectAltName=DNS:localhost"];
            let to = ["-subj", "/CN=localhost", "-keyout", &key, "-out", &cert];
            openssl(
                &[&["req", "-x509"], &new_key[..], &signed, &["-addext", "basicConstraints=critical,CA:FALSE"], &to]
                    .concat(),
            );
        }
    }
}

#[test]
fn a_client_with_a_certificate_has_the_disk_and_others_learn_nothing() {
    let Some(_) = peers::peer("openssl", &["version"]) else { return };
    let Some(_) = peers::peer("nbdinfo", &["--version"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    certificates(folder.path());
    let disk = Arc::new(TestDisk::new());
    let tls = Tls::from_pem_files(path("server-cert.pem"), path("server-key.pem"), path("ca-cert.pem")).unwrap();
    let served = Nbd::tls("127.0.0.1:0", tls).serve(disk.clone(), "a-disk").unwrap();
    let port = served.address().unwrap().port();
    let uri = |folder: &Path| format!("nbds://localhost:{port}/a-disk?tls-certificates={}", folder.display());
    let info = peers::run("nbdinfo", &[&uri(folder.path())]);
    assert!(info.contains("with TLS") && info.contains(&format!("export-size: {SIZE}")), "{info}");
    let (from, to) = (path("from"), path("to"));
    let data = crate::disk::pattern(SIZE, 3);
    std::fs::write(&from, &data).unwrap();
    peers::run("nbdcopy", &[peers::text(&from), &uri(folder.path())]);
    assert!(disk.content(0, SIZE) == data);
    peers::run("nbdcopy", &[&uri(folder.path()), peers::text(&to)]);
    assert!(std::fs::read(&to).unwrap() == data);
    if peers::peer("qemu-img", &["--version"]).is_some() {
        let creds = format!("tls-creds-x509,id=t,endpoint=client,dir={}", folder.path().display());
        let image =
            format!("driver=nbd,server.type=inet,server.host=localhost,server.port={port},tls-creds=t,export=a-disk");
        let file = format!("driver=file,filename={}", from.display());
        peers::run("qemu-img", &["compare", "--object", &creds, "--image-opts", &image, &file]);
    }

    // Somebody else's certificate, none at all, and no TLS.
    let refused = |uri: &str| !peers::run_any("nbdinfo", &[uri]).status.success();
    assert!(refused(&uri(&path("stranger"))));
    std::fs::create_dir(path("none")).unwrap();
    std::fs::copy(path("ca-cert.pem"), path("none/ca-cert.pem")).unwrap();
    assert!(refused(&uri(&path("none"))));
    assert!(refused(&format!("nbd://localhost:{port}/a-disk")));
    let mut plain = TcpStream::connect(("127.0.0.1", port)).unwrap();
    plain.read_exact(&mut [0; 18]).unwrap();
    // LIST, before TLS: the answer is that TLS is required, and names nothing.
    plain.write_all(&[&[0, 0, 0, 1][..], b"IHAVEOPT", &[0, 0, 0, 3, 0, 0, 0, 0]].concat()).unwrap();
    let mut reply = [0; 20];
    plain.read_exact(&mut reply).unwrap();
    assert_eq!(reply[12..16], 0x8000_0005u32.to_be_bytes());
    // A malformed TLS handshake doesn't make the server wait for ever.
    let mut broken = TcpStream::connect(("127.0.0.1", port)).unwrap();
    broken.write_all(&[&[0, 0, 0, 1][..], b"IHAVEOPT", &[0, 0, 0, 5, 0, 0, 0, 0], &[0xff; 64]].concat()).unwrap();
    let mut rest = Vec::new();
    let _ = broken.read_to_end(&mut rest);
    assert!(!rest.windows(6).any(|window| window == b"a-disk"));
}

#[test]
fn files_that_are_not_what_they_should_be_are_told_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text");
    std::fs::write(&file, "hello").unwrap();
    let error = Tls::from_pem_files(&file, &file, &file).unwrap_err();
    assert!(error.to_string().contains(peers::text(&file)), "{error}");
    let missing = folder.path().join("missing");
    assert!(Tls::from_pem_files(&missing, &missing, &missing).unwrap_err().to_string().contains("missing"));
}
