//! Servers that are away, broken or hostile.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use atrest::{Error, KeyVault};
use atrest_kms::{HttpOptions, TransitAuth, TransitVault};

use crate::conformance::{self, dek};
use crate::proxy::{Fate, Proxy};
use crate::server::{Bao, ROOT, address, options};
use crate::stored::Stored;

/// Far above what the calls take.
const LIMIT: Duration = Duration::from_secs(120);

/// A vault behind a proxy, and one that soon gives up.
fn behind(proxy: &Proxy) -> (TransitVault, TransitVault) {
    let options = options(&address(proxy.port), TransitAuth::token(ROOT));
    let vault = |options| TransitVault::new(&options).unwrap();
    (vault(options.clone()), vault(options.http(quick()).deadline(Duration::from_millis(400))))
}

/// A silent server is asked again after 150 ms.
fn quick() -> HttpOptions {
    let http = HttpOptions::new().attempt_timeout(Duration::from_millis(150));
    http.waits(Duration::from_millis(50), Duration::from_millis(50))
}

fn answer(status: &str, body: &str) -> Fate {
    Fate::Answer(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()))
}

#[test]
fn a_server_that_was_killed_is_away() {
    let Some(mut bao) = Bao::start() else { return };
    let vault = options(&bao.address(), TransitAuth::token(ROOT)).deadline(Duration::from_secs(2));
    let vault = TransitVault::new(&vault).unwrap();
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    bao.kill();
    conformance::is_away(&vault, &wrapped, LIMIT);
}

#[test]
fn a_sealed_server_is_away() {
    let Some(bao) = Bao::start() else { return };
    let vault = options(&bao.address(), TransitAuth::token(ROOT)).deadline(Duration::from_secs(2));
    let vault = TransitVault::new(&vault).unwrap();
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    bao.post("sys/seal", "{}");
    conformance::is_away(&vault, &wrapped, LIMIT);
    // The deadline is long enough for an answer on a busy machine.
    let vault = options(&bao.address(), TransitAuth::token(ROOT)).deadline(Duration::from_secs(15));
    let error = TransitVault::new(&vault).unwrap().unwrap(&wrapped).unwrap_err().to_string();
    assert!(error.contains("sealed"), "{error}");
}

#[test]
fn answers_that_say_nothing_of_the_key_are_outages() {
    let Some(bao) = Bao::start() else { return };
    let proxy = Proxy::before(bao.port);
    let (patient, vault) = behind(&proxy);
    let wrapped = patient.wrap("disks", &dek()).unwrap();
    let huge = format!("{{\"errors\":[\"{}\"]}}", "x".repeat(2 << 20));
    let long_head = format!("HTTP/1.1 403 Forbidden\r\nx: {}\r\n\r\n", "x".repeat(1 << 20));
    for fate in [
        Fate::Reset,
        Fate::ResetAfter,
        Fate::Silence,
        Fate::SilenceAfter,
        Fate::Cut(1),
        Fate::Cut(150),
        Fate::Answer(String::new()),
        Fate::Answer("not HTTP\r\n\r\n".into()),
        Fate::Answer(long_head),
        Fate::Answer("HTTP/1.1 200 OK\r\ncontent-length: 9999999999999\r\n\r\n{".into()),
        answer("200 OK", ""),
        answer("200 OK", "{}"),
        answer("200 OK", "{\"data\":null}"),
        answer("200 OK", "<html>please log in</html>"),
        answer("200 OK", &huge),
        answer("200 OK", &"[".repeat(100_000)),
        // Whatever stands between answers so too.
        answer("403 Forbidden", "<html>permission denied</html>"),
        answer("403 Forbidden", "{\"errors\":[\"blocked by the firewall\"]}"),
        answer("404 Not Found", "<html>no such page</html>"),
        answer("404 Not Found", "{\"errors\":[\"no such page\"]}"),
        answer("400 Bad Request", "bad"),
        answer("418 I'm a teapot", "{\"errors\":[\"permission denied\"]}"),
        answer("429 Too Many Requests", "{\"errors\":[\"request path is rate limited\"]}"),
        answer("500 Internal Server Error", "{\"errors\":[\"internal error\"]}"),
        answer("503 Service Unavailable", "{\"errors\":[\"Vault is sealed\"]}"),
        Fate::Answer(format!(
            "HTTP/1.1 307 Temporary Redirect\r\nlocation: {}/v1/transit/keys/disks\r\ncontent-length: 0\r\n\r\n",
            bao.address()
        )),
    ] {
        let told = format!("{fate:?}").chars().take(80).collect::<String>();
        proxy.rule(move |_| fate.clone());
        println!("{told}");
        conformance::is_away(&vault, &wrapped, LIMIT);
    }
    proxy.rule(|_| Fate::Forward);
    assert!(patient.unwrap(&wrapped).unwrap().is_some());
}

/// A server that sends a byte now and then, for ever: first of a head, then of a body.
#[test]
fn a_server_that_trickles_is_left() {
    let Some(bao) = Bao::start() else { return };
    let wrapped = {
        let vault = options(&bao.address(), TransitAuth::token(ROOT)).id("vault:tested");
        TransitVault::new(&vault).unwrap().wrap("disks", &dek()).unwrap()
    };
    for start in ["HTTP/1.1 200 OK\r\nx: ", "HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n{\"data\":\""] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            // Until the process ends.
            for client in listener.incoming().flatten() {
                std::thread::spawn(move || trickle(client, start));
            }
        });
        let options = options(&address(port), TransitAuth::token(ROOT)).id("vault:tested");
        let vault = TransitVault::new(&options.http(quick()).deadline(Duration::from_millis(400))).unwrap();
        conformance::is_away(&vault, &wrapped, LIMIT);
    }
}

fn trickle(mut client: TcpStream, start: &str) {
    let mut sent = client.write_all(start.as_bytes());
    while sent.is_ok() {
        std::thread::sleep(Duration::from_millis(10));
        sent = client.write_all(b"x");
    }
}

/// The server is killed while it has a call, comes back sealed, and is unsealed.
#[test]
fn a_server_that_is_killed_in_a_call_and_restarted_is_away_until_it_is_unsealed() {
    let Some(program) = crate::peers::peer("bao", &["version"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(mut server) = Stored::start(&program, folder.path()) else { panic!("bao doesn't start") };
    let (key, root) = server.init();
    server.unseal(&key);
    server.post(&root, "sys/mounts/transit", r#"{"type":"transit"}"#);
    server.post(&root, "transit/keys/disks", "{}");
    let proxy = Proxy::before(server.port);
    let vault = |deadline| {
        let options = options(&address(proxy.port), TransitAuth::token(&root)).id("vault:tested");
        TransitVault::new(&options.deadline(deadline)).unwrap()
    };
    let (patient, hasty) = (vault(Duration::from_secs(300)), vault(Duration::from_millis(400)));
    let wrapped = patient.wrap("disks", &dek()).unwrap();
    let found = std::thread::scope(|scope| {
        let before = proxy.requests();
        // It is asked, and no answer comes back before it dies.
        proxy.first(1, Fate::SilenceAfter, |_| true);
        let call = scope.spawn(|| patient.unwrap(&wrapped).unwrap().unwrap());
        while proxy.requests() == before {
            std::thread::sleep(Duration::from_millis(1));
        }
        server.kill();
        conformance::is_away(&hasty, &wrapped, LIMIT);
        server.restart(&program);
        conformance::is_away(&hasty, &wrapped, LIMIT);
        server.unseal(&key);
        call.join().unwrap()
    });
    assert_eq!(found.expose(), conformance::DEK);
}

#[test]
fn redirects_are_not_followed_and_told() {
    let Some(bao) = Bao::start() else { return };
    let proxy = Proxy::before(bao.port);
    let (patient, vault) = behind(&proxy);
    let wrapped = patient.wrap("disks", &dek()).unwrap();
    proxy.rule(|_| Fate::Answer("HTTP/1.1 307 T\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".into()));
    let error = vault.unwrap(&wrapped).unwrap_err();
    assert!(error.to_string().contains("name the active server"), "{error}");
}

#[test]
fn answers_that_pass_are_waited_out() {
    let Some(bao) = Bao::start() else { return };
    let proxy = Proxy::before(bao.port);
    let (vault, _) = behind(&proxy);
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    for fate in [
        Fate::Reset,
        Fate::ResetAfter,
        Fate::Silence,
        Fate::Cut(60),
        answer("503 Service Unavailable", "{}"),
        Fate::Answer("HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n".into()),
    ] {
        let before = proxy.requests();
        proxy.first(1, fate, |_| true);
        assert!(vault.unwrap(&wrapped).unwrap().is_some());
        assert!(proxy.requests() - before >= 2);
    }
}

#[test]
fn a_retry_after_beyond_the_deadline_ends_the_call_at_once() {
    let Some(bao) = Bao::start() else { return };
    let proxy = Proxy::before(bao.port);
    let (patient, _) = behind(&proxy);
    let wrapped = patient.wrap("disks", &dek()).unwrap();
    let before = proxy.requests();
    proxy.rule(|_| {
        Fate::Answer("HTTP/1.1 429 Too Many Requests\r\nretry-after: 3600\r\ncontent-length: 0\r\n\r\n".into())
    });
    assert!(matches!(patient.unwrap(&wrapped), Err(Error::Vault(_))));
    assert_eq!(proxy.requests() - before, 1);
}

#[test]
fn a_hostile_server_gets_no_wrong_name_or_key_believed() {
    let Some(bao) = Bao::start() else { return };
    let proxy = Proxy::before(bao.port);
    let (vault, _) = behind(&proxy);
    let short = options(&address(proxy.port), TransitAuth::token(ROOT)).deadline(Duration::from_secs(2));
    let quick_vault = TransitVault::new(&short).unwrap();
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    for plaintext in ["?", "AAA", "AA==A"] {
        let body = format!("{{\"data\":{{\"plaintext\":\"{plaintext}\"}}}}");
        proxy.rule(move |_| answer("200 OK", &body));
        let found = vault.unwrap(&wrapped);
        assert!(matches!(found, Err(Error::Vault(_))), "{plaintext}");
    }
    for ciphertext in ["", "vault:v1:", "vault:v0:AAAA", "vault:v01:AAAA", "vault:v-1:AAAA", "vault:v1:A", "x"] {
        let body = format!("{{\"data\":{{\"ciphertext\":\"{ciphertext}\"}}}}");
        proxy.rule(move |head| match head.target.contains("/encrypt/") {
            true => answer("200 OK", &body),
            false => Fate::Forward,
        });
        assert!(matches!(vault.wrap("disks", &dek()), Err(Error::Vault(_))), "{ciphertext}");
    }
    // It repeats what it was told.
    let secret = atrest_http::base64(conformance::DEK);
    for status in ["400 Bad Request", "500 Internal Server Error"] {
        for text in [ROOT, &secret] {
            let body = format!("{{\"errors\":[\"bad {text}\"]}}");
            proxy.rule(move |head| match head.target.contains("/encrypt/") {
                true => answer(status, &body),
                false => Fate::Forward,
            });
            let error = quick_vault.wrap("disks", &dek()).unwrap_err();
            assert!(matches!(error, Error::Vault(_)) && !conformance::shown(&error).contains(text), "{error}");
        }
    }
}
