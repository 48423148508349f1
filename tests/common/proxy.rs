//! A proxy between a store's client and its HTTP server: it records what goes by, and fails as networks do.
//!
//! Each request gets a connection of its own to the server. What happens to a request is decided by a function that sees its head.

#![allow(dead_code)] // each test program uses its part

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The head of a request.
pub struct Head {
    pub method: String,
    /// The path and the query.
    pub target: String,
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// A header's value, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// What happens to a request.
#[derive(Clone, Debug)]
pub enum Fate {
    /// The server gets it, and its answer goes back.
    Forward,
    /// The connection is reset, and the server never hears of it.
    Reset,
    /// The server does it. The connection is reset instead of an answer.
    ResetAfter,
    /// The server never hears of it, and nothing comes back.
    Silence,
    /// The server does it, and nothing comes back.
    SilenceAfter,
    /// The server does it. Only so many bytes of the answer come back.
    Cut(usize),
    /// Nothing comes back. The server gets it when [`Proxy::release`] is called.
    Late,
    /// The server never hears of it. This comes back.
    Answer(String),
}

type Rule = Box<dyn FnMut(&Head) -> Fate + Send>;

struct Shared {
    server: Mutex<u16>,
    rule: Mutex<Rule>,
    recording: AtomicBool,
    alone: AtomicBool,
    server_use: Mutex<()>,
    recorded: Mutex<Vec<u8>>,
    late: Mutex<Vec<Vec<u8>>>,
    requests: AtomicUsize,
    over: AtomicBool,
}

pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    /// A proxy before the server at this port. It forwards all until it is told otherwise.
    pub fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            server: Mutex::new(server),
            rule: Mutex::new(Box::new(|_| Fate::Forward)),
            recording: AtomicBool::new(false),
            alone: AtomicBool::new(false),
            server_use: Mutex::default(),
            recorded: Mutex::default(),
            late: Mutex::default(),
            requests: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        });
        let proxy = Proxy { port, shared: shared.clone() };
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if shared.over.load(Ordering::SeqCst) {
                    return;
                }
                let shared = shared.clone();
                // A client that goes away is none of the proxy's troubles.
                let Ok(client) = client else { continue };
                std::thread::spawn(move || drop(shared.serve(client)));
            }
        });
        proxy
    }

    /// Decides from now on what happens to requests.
    pub fn rule(&self, rule: impl FnMut(&Head) -> Fate + Send + 'static) {
        *self.shared.rule.lock().unwrap() = Box::new(rule);
    }

    /// The first so many requests that match have this fate, all others go through.
    pub fn first(&self, count: usize, fate: Fate, matches: impl Fn(&Head) -> bool + Send + 'static) {
        let mut left = count;
        self.rule(move |head| {
            if left > 0 && matches(head) {
                left -= 1;
                return fate.clone();
            }
            Fate::Forward
        });
    }

    /// Keeps all bytes of requests and answers from now on.
    pub fn record(&self) {
        self.shared.recording.store(true, Ordering::SeqCst);
    }

    /// Gives the server one request at a time, for a server that checks a condition and acts upon it in two steps.
    pub fn one_at_a_time(&self) {
        self.shared.alone.store(true, Ordering::SeqCst);
    }

    /// All that was recorded.
    pub fn recorded(&self) -> Vec<u8> {
        self.shared.recorded.lock().unwrap().clone()
    }

    /// How many requests came.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// How many requests wait to be delivered late.
    pub fn waiting(&self) -> usize {
        self.shared.late.lock().unwrap().len()
    }

    /// Delivers what waits, and returns the answers' statuses.
    pub fn release(&self) -> Vec<u16> {
        let late = std::mem::take(&mut *self.shared.late.lock().unwrap());
        late.iter()
            .map(|request| {
                let answer = self.shared.ask(request).unwrap();
                let status = String::from_utf8_lossy(&answer[..12.min(answer.len())]).into_owned();
                status.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
            })
            .collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    /// Serves one request, after which the connection is closed.
    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let Some((head, request)) = request(&mut client)? else { return Ok(()) };
        self.requests.fetch_add(1, Ordering::SeqCst);
        self.keep(&request);
        let fate = (self.rule.lock().unwrap())(&head);
        match fate {
            Fate::Reset => return reset(&client),
            Fate::Silence => return wait(&mut client),
            Fate::Late => {
                self.late.lock().unwrap().push(request);
                return wait(&mut client);
            }
            Fate::Answer(answer) => {
                client.write_all(answer.as_bytes())?;
                return client.shutdown(Shutdown::Write);
            }
            Fate::Forward | Fate::ResetAfter | Fate::SilenceAfter | Fate::Cut(_) => {}
        }
        // A server that is away is a reset.
        let Ok(answer) = self.ask(&request) else { return reset(&client) };
        self.keep(&answer);
        match fate {
            Fate::ResetAfter => reset(&client),
            Fate::SilenceAfter => wait(&mut client),
            Fate::Cut(len) => client.write_all(&answer[..len.min(answer.len())]),
            _ if answer.is_empty() => reset(&client),
            _ => client.write_all(&answer),
        }
    }

    /// Sends a request to the server, and returns the whole answer.
    fn ask(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        let _alone = self.alone.load(Ordering::SeqCst).then(|| self.server_use.lock().unwrap());
        let port = *self.server.lock().unwrap();
        let mut server = TcpStream::connect(("127.0.0.1", port))?;
        server.set_nodelay(true)?;
        // A test that hangs says nothing.
        server.set_read_timeout(Some(Duration::from_secs(60)))?;
        server.write_all(request)?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer)?;
        Ok(answer)
    }

    fn keep(&self, bytes: &[u8]) {
        if self.recording.load(Ordering::SeqCst) {
            self.recorded.lock().unwrap().extend(bytes);
        }
    }
}

/// Reads a request. It gets a header that makes the server close the connection after its answer, which shows its end.
fn request(client: &mut TcpStream) -> io::Result<Option<(Head, Vec<u8>)>> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 16384]);
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        match client.read(&mut buffer)? {
            0 => return Ok(None),
            len => bytes.extend(&buffer[..len]),
        }
    };
    let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = text.split("\r\n");
    let mut first = lines.next().unwrap().split(' ').map(str::to_owned);
    let (method, target) = (first.next().unwrap(), first.next().unwrap());
    let header = |line: &str| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_ascii_lowercase(), value.trim().to_owned())
    };
    let head = Head { method, target, headers: lines.map(header).collect() };
    let len = head.header("content-length").map_or(0, |len| len.parse().unwrap());
    let mut body = bytes.split_off(end + 4);
    while body.len() < len {
        match client.read(&mut buffer)? {
            0 => return Ok(None),
            len => body.extend(&buffer[..len]),
        }
    }
    bytes.truncate(end + 2);
    bytes.extend(b"connection: close\r\n\r\n");
    bytes.extend(body);
    Ok(Some((head, bytes)))
}

fn reset(client: &TcpStream) -> io::Result<()> {
    rustix::net::sockopt::set_socket_linger(client, Some(Duration::ZERO))?;
    Ok(())
}

/// Waits until the client has enough.
fn wait(client: &mut TcpStream) -> io::Result<()> {
    while client.read(&mut [0; 4096])? > 0 {}
    Ok(())
}
