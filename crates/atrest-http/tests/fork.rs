//! A forked child leaves its parent's connections alone, and makes a client of its own.
#![cfg(target_os = "linux")]

#[path = "../../../tests/common/fork.rs"]
mod fork;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use atrest_http::{Client, Deadline, HttpOptions, Method, Request};
use fork::{failed_of, forked, in_child, so};

/// A server that keeps its connections, and counts them and the requests.
struct Server {
    port: u16,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Server {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (connections, requests) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let server = Server { port, connections: connections.clone(), requests: requests.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                connections.fetch_add(1, Ordering::SeqCst);
                let (stream, requests) = (stream.unwrap(), requests.clone());
                std::thread::spawn(move || serve(stream, &requests));
            }
        });
        server
    }

    fn request(&self) -> Request<'static> {
        Request::new(Method::Get, format!("http://127.0.0.1:{}/", self.port), 1000)
    }

    fn counts(&self) -> (usize, usize) {
        (self.connections.load(Ordering::SeqCst), self.requests.load(Ordering::SeqCst))
    }
}

fn serve(stream: TcpStream, requests: &AtomicUsize) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    while let Some(Ok(line)) = lines.next() {
        if line.is_empty() {
            requests.fetch_add(1, Ordering::SeqCst);
            // Its client may be gone.
            let _ = (&stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    }
}

fn later() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

#[test]
fn a_child_sends_nothing_by_its_parents_connections() {
    let server = Server::new();
    let client = Client::new(&HttpOptions::new()).unwrap();
    assert_eq!(client.send(later(), &server.request()).unwrap().body, b"ok");
    assert_eq!(server.counts(), (1, 1));

    let ended = in_child(|| {
        so!(!client.owner().is_current());
        let failure = client.send(later(), &server.request()).err();
        so!(failure
            .is_some_and(|e| !e.may_have_happened() && e.is_final() && forked(Err::<(), _>(std::io::Error::from(e)))));
        let called = client.call(later(), || Ok(server.request()));
        so!(!called.uncertain && forked(called.answer.map_err(std::io::Error::from)));
        drop(client);
        // What was read by another client's connection is its own.
        let own = Client::new(&HttpOptions::new()).unwrap();
        so!(own.send(later(), &server.request()).is_ok_and(|answer| answer.body == b"ok"));
        Ok(())
    });
    assert_eq!(ended, 0, "the child");
    assert_eq!(server.counts(), (2, 2));
}

#[test]
fn the_parents_connection_goes_on_after_the_child() {
    let server = Server::new();
    let client = Client::new(&HttpOptions::new()).unwrap();
    client.send(later(), &server.request()).unwrap();
    let ended = in_child(|| {
        so!(client.send(later(), &server.request()).is_err());
        drop(client.call(later(), || Ok(server.request())));
        Ok(())
    });
    assert_eq!(ended, 0, "the child");
    assert_eq!(client.send(later(), &server.request()).unwrap().body, b"ok");
    // By the same connection, which the child's end didn't end.
    assert_eq!(server.counts(), (1, 2));
}

#[test]
fn no_child_hangs_in_what_a_thread_of_its_parent_held() {
    let server = Server::new();
    let client = Client::new(&HttpOptions::new()).unwrap();
    let busy = || drop(client.send(later(), &server.request()).unwrap());
    let failed = failed_of(100, &[&busy, &busy, &busy, &busy], || {
        so!(forked(client.send(later(), &server.request()).map_err(std::io::Error::from)));
        Ok(())
    });
    assert_eq!(failed, 0, "of 100 children");
}
