//! NBD by TLS, with the server of `atrest-host` and with nbdkit.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use atrest::{BlockDevice, Error, MemoryDevice};
use atrest_host::{HazmatPlain, Nbd, Serve, Tls as ServerTls};
use atrest_nbd::{NbdBackend, NbdDevice, NbdOptions, Tls};

use crate::nbdkit;
use crate::peers::peer;
use crate::proxy::Proxy;
use crate::servers::Server;
use crate::storm::{BLOCK, Model, storm};

/// A root of trust with a server's certificate, and a client's; and a stranger's root with both. By OpenSSL.
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
            let leaf = ["-addext", "basicConstraints=critical,CA:FALSE"];
            openssl(&[&["req", "-x509"], &new_key[..], &signed, &leaf, &to].concat());
        }
    }
}

#[test]
fn a_storm_by_tls_and_strangers_outside() {
    if peer("openssl", &["version"]).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    certificates(folder.path());
    let tls = ServerTls::from_pem_files(path("server-cert.pem"), path("server-key.pem"), path("ca-cert.pem")).unwrap();
    let disk = Arc::new(HazmatPlain(MemoryDevice::new(64 * BLOCK)));
    let served = Nbd::tls("127.0.0.1:0", tls).serve(disk, "disk").unwrap();
    let port = served.address().unwrap().port();
    let url = |folder: &Path| format!("nbds://localhost:{port}/disk?tls-certificates={}", folder.display());
    {
        let device = NbdDevice::connect(&url(folder.path())).unwrap();
        let model = Model::new(64);
        let began = std::time::Instant::now();
        storm(&model, &device, 4, 1, || began.elapsed() > Duration::from_millis(300));
        model.check(&device, false, BLOCK).unwrap();
        let large: Vec<u8> = (0..64 * BLOCK as u32).map(|i| (i >> 7) as u8).collect();
        device.write_at(0, &large).unwrap();
        let mut back = vec![0; large.len()];
        device.read_at(0, &mut back).unwrap();
        assert!(back == large);
    }
    let refused = |url: &str, options: &NbdOptions| NbdDevice::connect_with(url, options).unwrap_err();
    let short = NbdOptions::new().deadline(Duration::from_secs(5));
    // Somebody else's server, by the client; somebody else's client, by the server; none; no TLS.
    let error = refused(&url(&path("stranger")), &short);
    assert!(format!("{error:#}").contains("TLS failed"), "{error:#}");
    std::fs::create_dir(path("mixed")).unwrap();
    std::fs::copy(path("ca-cert.pem"), path("mixed/ca-cert.pem")).unwrap();
    assert!(matches!(refused(&url(&path("mixed")), &short), Error::Io { .. }));
    for name in ["client-cert.pem", "client-key.pem"] {
        std::fs::copy(path("stranger").join(name), path("mixed").join(name)).unwrap();
    }
    assert!(matches!(refused(&url(&path("mixed")), &short), Error::Io { .. }));
    let error = refused(&format!("nbd://localhost:{port}/disk"), &short);
    assert!(format!("{error:#}").contains("nbds:"), "{error:#}");
    // A pipe in place of a file would hang whoever connects.
    assert!(std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
    let (pipe, ca, own) = (path("pipe"), path("ca-cert.pem"), path("client-cert.pem"));
    let (key, server) = (path("client-key.pem"), path("server-cert.pem"));
    let (done, waiting) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let client = [(&pipe, &own, &key), (&ca, &pipe, &key), (&ca, &own, &pipe)];
        let client = client.map(|(ca, own, key)| Tls::with_certificate(ca, own, key).unwrap_err().to_string());
        let serving = [(&pipe, &key, &ca), (&server, &pipe, &ca), (&server, &key, &pipe)];
        let serving = serving.map(|(own, key, ca)| ServerTls::from_pem_files(own, key, ca).unwrap_err().to_string());
        done.send([client, serving].concat()).unwrap();
    });
    let told = waiting.recv_timeout(Duration::from_secs(20)).expect("it waits");
    for text in told {
        assert!(text.contains("/pipe can't be used for TLS: ") && text.contains("FIFO"), "{text}");
    }
    // The certificate names somebody else.
    let own = Tls::with_certificate(path("ca-cert.pem"), path("client-cert.pem"), path("client-key.pem")).unwrap();
    let with = short.clone().tls(own.clone());
    assert!(NbdDevice::connect_with(&format!("nbds://localhost:{port}/disk"), &with).is_ok());
    let error = refused(&format!("nbds://127.0.0.1:{port}/disk"), &with);
    assert!(format!("{error:#}").contains("TLS failed"), "{error:#}");
    assert_eq!(format!("{own:?}"), "Tls");
    for (url, options) in [
        (format!("nbds://localhost:{port}/disk"), &short),
        (format!("nbd://localhost:{port}/disk"), &with),
        (format!("nbds://localhost:{port}/disk?tls-certificates=/nowhere"), &short),
    ] {
        assert!(matches!(refused(&url, options), Error::InvalidOption(_)), "{url}");
    }
    let list = NbdBackend::from_url_with(&format!("nbds://localhost:{port}/{{id}}"), &with).unwrap();
    assert!(atrest::managed::DiskBackend::list(&list, "").unwrap().is_empty());
}

/// Nothing is said in the clear to a server that has no TLS, nor to one whose answer somebody changes to say so.
#[test]
fn tls_is_never_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, behind) = (folder.path().join("s"), folder.path().join("behind"));
    let disk = Arc::new(HazmatPlain(MemoryDevice::new(64 * BLOCK)));
    let _served = Nbd::unix(&behind).serve(disk, "a-secret-name").unwrap();
    let proxy = Proxy::start(&socket, &behind);
    if peer("openssl", &["version"]).is_none() {
        return;
    }
    certificates(folder.path());
    let tls = Tls::from_folder(folder.path()).unwrap();
    let url = format!("nbds+unix:///a-secret-name?socket={}", socket.display());
    let error = NbdDevice::connect_with(&url, &NbdOptions::new().tls(tls)).unwrap_err();
    assert!(format!("{error:#}").contains("doesn't talk by TLS"), "{error:#}");
    let record = proxy.record();
    assert!(record.windows(8).any(|window| window == b"IHAVEOPT"));
    assert!(!record.windows(13).any(|window| window == b"a-secret-name"));
}

#[test]
fn nbdkit_by_tls_is_killed_and_comes_back() {
    if !nbdkit() || peer("openssl", &["version"]).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let (socket, file) = (folder.path().join("s"), folder.path().join("disk"));
    let file = crate::servers::zeros(file, 64 * BLOCK as u64);
    let certificates = format!("--tls-certificates={}", folder.path().display());
    let arguments = ["--tls=require", &certificates, "--tls-verify-peer", "file", crate::servers::text(&file)];
    let mut server = Server::nbdkit(&socket, &arguments);
    let url = format!("nbds+unix:///?socket={}&tls-certificates={}", socket.display(), folder.path().display());
    let device = NbdDevice::connect(&url).unwrap();
    let model = Model::new(64);
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| storm(&model, &device, 4, 1, || over.load(std::sync::atomic::Ordering::SeqCst)));
        for _ in 0..2 {
            std::thread::sleep(Duration::from_millis(100));
            server.kill();
            server = Server::nbdkit(&socket, &arguments);
        }
        std::thread::sleep(Duration::from_millis(300));
        over.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    model.check(&device, false, 512).unwrap();
    assert_eq!(model.failed.load(std::sync::atomic::Ordering::SeqCst), 0);
}

/// Long requests by one connection of TLS, both ways at once, to a server that is stopped in between: what was encrypted and not
/// sent goes first when it goes on.
#[test]
fn long_requests_by_tls_beside_each_other() {
    if !nbdkit() || peer("openssl", &["version"]).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let socket = folder.path().join("s");
    let certificates = format!("--tls-certificates={}", folder.path().display());
    let server = Server::nbdkit(&socket, &["--tls=require", &certificates, "memory", "64M"]);
    let url = format!("nbds+unix:///?socket={}&tls-certificates={}", socket.display(), folder.path().display());
    let options = NbdOptions::new().connections(1).deadline(Duration::from_millis(400));
    let device = crate::servers::connect(&url, &options);
    for round in 0..3u8 {
        std::thread::scope(|scope| {
            for thread in 0..6u8 {
                let device = &device;
                scope.spawn(move || {
                    let content = vec![round * 16 + thread + 1; 4 << 20];
                    let _ = device.write_at(u64::from(thread) << 22, &content);
                    let _ = device.read_at(u64::from(thread) << 22, &mut vec![0; 4 << 20]);
                });
            }
            server.stop();
            std::thread::sleep(Duration::from_millis(600));
            server.go_on();
        });
        let began = std::time::Instant::now();
        for thread in 0..6u8 {
            let content = vec![round * 16 + thread + 100; 4 << 20];
            while let Err(e) = device.write_at(u64::from(thread) << 22, &content) {
                assert!(began.elapsed() < Duration::from_secs(40), "{e}");
            }
            let mut back = vec![0; 4 << 20];
            while let Err(e) = device.read_at(u64::from(thread) << 22, &mut back) {
                assert!(began.elapsed() < Duration::from_secs(40), "{e}");
            }
            assert!(back == content);
        }
    }
}
