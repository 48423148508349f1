//! The client against servers that fail. They need no other program.

#[path = "../../../tests/common/proxy.rs"]
mod proxy;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use atrest_http::{Client, Deadline, HttpOptions, Method, Request};
use proxy::{Fate, Proxy};

const SECRET: &str = "the-secret";

fn client() -> Client {
    let http = HttpOptions::new().waits(Duration::from_millis(1), Duration::from_millis(5));
    Client::new(&http.attempt_timeout(Duration::from_secs(20))).unwrap()
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_millis(300))
}

fn later() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

/// A server that answers all alike.
fn server(answer: impl Into<String>) -> Proxy {
    let (proxy, answer) = (Proxy::before(1), answer.into());
    proxy.rule(move |_| Fate::Answer(answer.clone()));
    proxy
}

fn get(proxy: &Proxy) -> Request<'static> {
    let url = format!("http://127.0.0.1:{}/path?token={SECRET}", proxy.port);
    Request::new(Method::Get, url, 1000).header("authorization", SECRET)
}

#[test]
fn transient_answers_are_asked_again_and_doubts_are_told() {
    for (status, more, doubts) in
        [(503, "retry-after: 0\r\n", true), (429, "", false), (500, "", true), (408, "", false)]
    {
        let (proxy, count) = (Proxy::before(1), Arc::new(AtomicUsize::new(0)));
        let counted = count.clone();
        proxy.rule(move |head| {
            assert_eq!((head.method.as_str(), head.header("authorization")), ("GET", Some(SECRET)));
            let first = counted.fetch_add(1, Ordering::SeqCst) < 3;
            let (status, more) = if first { (status, more) } else { (200, "") };
            Fate::Answer(format!("HTTP/1.1 {status} X\r\n{more}content-length: 2\r\nconnection: close\r\n\r\nok"))
        });
        let called = client().call(later(), || Ok(get(&proxy)));
        let answer = called.answer.unwrap();
        assert_eq!((answer.status, answer.body.as_slice(), called.uncertain), (200, &b"ok"[..], doubts), "{status}");
        assert_eq!(count.load(Ordering::SeqCst), 4);
    }
}

#[test]
fn other_answers_are_not_asked_again() {
    for status in [200, 302, 400, 403, 404, 409, 412, 416, 501] {
        let proxy = server(format!(
            "HTTP/1.1 {status} X\r\nlocation: http://127.0.0.1:1/\r\nX-One: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        ));
        let called = client().call(later(), || Ok(get(&proxy)));
        let answer = called.answer.unwrap();
        assert_eq!((answer.status, answer.header("x-one"), called.uncertain), (status, Some("a"), false));
        assert_eq!(proxy.requests(), 1);
    }
}

#[test]
fn a_server_that_asks_for_too_long_a_wait_is_left_at_once() {
    let proxy = server("HTTP/1.1 503 X\r\nretry-after: 3000\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    assert_eq!(client().call(later(), || Ok(get(&proxy))).answer.unwrap().status, 503);
    assert_eq!(proxy.requests(), 1);
}

#[test]
fn silence_ends_at_the_deadline_as_unknown() {
    let proxy = Proxy::before(1);
    proxy.rule(|_| Fate::Silence);
    let failure = client().send(soon(), &get(&proxy)).err().unwrap();
    assert!(failure.may_have_happened());
    assert_eq!(io::Error::from(failure).kind(), io::ErrorKind::TimedOut);
    let called = client().call(soon(), || Ok(get(&proxy)));
    assert!(called.answer.err().unwrap().may_have_happened());
    // One that is silent before it accepts is unknown too, or there is no connection in time.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://127.0.0.1:{}/", silent.local_addr().unwrap().port());
    let failure = client().send(soon(), &Request::new(Method::Get, url, 10)).err().unwrap();
    assert_eq!(io::Error::from(failure).kind(), io::ErrorKind::TimedOut);
    // After the deadline nothing is sent.
    let failure = client().send(Deadline::after(Duration::ZERO), &get(&proxy)).err().unwrap();
    assert!(!failure.may_have_happened());
}

#[test]
fn a_reset_is_unknown_and_a_refusal_is_not() {
    let proxy = Proxy::before(1);
    proxy.rule(|_| Fate::Reset);
    assert!(client().send(later(), &get(&proxy)).err().unwrap().may_have_happened());
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{free}/");
    let failure = client().send(later(), &Request::new(Method::Get, url, 10)).err().unwrap();
    assert!(!failure.may_have_happened(), "{failure}");
    let failing = client().call(later(), || Err(io::Error::new(io::ErrorKind::PermissionDenied, "no token")));
    assert_eq!(io::Error::from(failing.answer.err().unwrap()).kind(), io::ErrorKind::PermissionDenied);
}

#[test]
fn answers_have_bounds() {
    let head = "HTTP/1.1 200 X\r\nconnection: close\r\n";
    let long = "x".repeat(1001);
    for (what, answer) in [
        ("a long body", format!("{head}content-length: 1001\r\n\r\n{long}")),
        ("a long body of unknown length", format!("{head}\r\n{long}")),
        ("a long body in chunks", format!("{head}transfer-encoding: chunked\r\n\r\n3e9\r\n{long}\r\n0\r\n\r\n")),
        ("a length that can't be", format!("{head}content-length: 18446744073709551615\r\n\r\n")),
        ("a length that is none", format!("{head}content-length: -1\r\n\r\n")),
        ("a long head", format!("{head}x: {}\r\n\r\n", "x".repeat(1 << 17))),
        ("many headers", format!("{head}{}\r\n", "x: y\r\n".repeat(100_000))),
        ("half a body", format!("{head}content-length: 10\r\n\r\nhalf")),
        ("half a head", "HTTP/1.1 200 X\r\ncontent-".into()),
        ("nothing", String::new()),
        ("something else", "SSH-2.0-OpenSSH_9.2\r\n\r\n".into()),
    ] {
        let proxy = server(answer);
        let answer = client().send(later(), &get(&proxy));
        let failure = answer.err().unwrap_or_else(|| panic!("{what} was taken"));
        assert!(failure.may_have_happened(), "{what}");
        let text = format!("{failure} {failure:?}");
        assert!(!text.contains(SECRET) && text.contains("/path"), "{text}");
    }
    let whole = server(format!("{head}content-length: 1000\r\n\r\n{}", "x".repeat(1000)));
    assert_eq!(client().send(later(), &get(&whole)).unwrap().body.len(), 1000);
}

#[test]
fn a_head_has_no_body_and_a_put_has_one() {
    let proxy = Proxy::before(1);
    proxy.record();
    let answer = "HTTP/1.1 200 X\r\ncontent-length: 12345678\r\nconnection: close\r\n\r\n";
    proxy.rule(move |_| Fate::Answer(answer.into()));
    let url = || format!("http://127.0.0.1:{}/a%20b", proxy.port);
    let answer = client().send(later(), &Request::new(Method::Head, url(), 10)).unwrap();
    assert_eq!((answer.header("content-length"), answer.body.len()), (Some("12345678"), 0));
    proxy.rule(|_| Fate::Answer("HTTP/1.1 201 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".into()));
    let put = Request::new(Method::Put, url(), 10).header("x-one", "1").body(b"body");
    assert_eq!(client().send(later(), &put).unwrap().status, 201);
    let sent = String::from_utf8(proxy.recorded()).unwrap().to_ascii_lowercase();
    assert!(sent.contains("put /a%20b http/1.1\r\n") && sent.contains("content-length: 4\r\n"), "{sent}");
    assert!(sent.ends_with("\r\n\r\nbody") && !sent.contains("content-type"), "{sent}");
    let bad = Request::new(Method::Get, url(), 10).header("x", "a\r\nb: c");
    assert!(!client().send(later(), &bad).err().unwrap().may_have_happened());
}
