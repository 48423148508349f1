//! A proxy between a store and its server, which fails as networks do: at any time, or when a commit of PostgreSQL goes by.

#![allow(dead_code)] // each test program uses its part

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

/// All goes through.
pub const PASS: u8 = 0;
/// Commits go through. Their answers don't, and the connection is reset.
pub const LOSE: u8 = 1;
/// Commits wait until the proxy passes all again.
pub const HOLD: u8 = 2;
/// The connection is reset before a commit goes through.
pub const CUT: u8 = 3;
/// Nothing goes through in either direction until the proxy passes all again, and no connection breaks.
pub const SILENT: u8 = 4;

struct Shared {
    server: AtomicU16,
    mode: AtomicU8,
    held: AtomicUsize,
    open: Mutex<Vec<Weak<TcpStream>>>,
}

#[derive(Clone)]
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    /// A proxy before the server at this port. Its thread ends with the process.
    pub fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            server: AtomicU16::new(server),
            mode: AtomicU8::new(PASS),
            held: AtomicUsize::new(0),
            open: Mutex::default(),
        });
        let proxy = Proxy { port, shared: shared.clone() };
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { continue };
                let server = shared.server.load(Ordering::SeqCst);
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                [&client, &server].iter().for_each(|stream| stream.set_nodelay(true).unwrap());
                let (client, server) = (Arc::new(client), Arc::new(server));
                let mut open = shared.open.lock().unwrap();
                open.retain(|stream| stream.strong_count() > 0);
                open.extend([&client, &server].map(Arc::downgrade));
                drop(open);
                serve(client, server, &shared);
            }
        });
        proxy
    }

    pub fn mode(&self, mode: u8) {
        self.shared.mode.store(mode, Ordering::SeqCst);
    }

    /// New connections go to the server at this port.
    pub fn lead_to(&self, server: u16) {
        self.shared.server.store(server, Ordering::SeqCst);
    }

    /// How many commits were held.
    pub fn held(&self) -> usize {
        self.shared.held.load(Ordering::SeqCst)
    }

    /// Breaks all connections.
    pub fn reset(&self) {
        for stream in self.shared.open.lock().unwrap().drain(..).filter_map(|stream| stream.upgrade()) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn wait_while(&self, mode: u8) {
        while self.mode.load(Ordering::SeqCst) == mode {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn serve(client: Arc<TcpStream>, server: Arc<TcpStream>, shared: &Arc<Shared>) {
    let (from_client, to_server) = (client.clone(), server.clone());
    let (from_server, to_client) = (server, client);
    let mute = Arc::new(AtomicU8::new(0));
    let (shared, answers, muted) = (shared.clone(), shared.clone(), mute.clone());
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(len @ 1..) = (&*from_client).read(&mut buffer) {
            let commits = buffer[..len].windows(8).any(|window| window == b"; COMMIT");
            match shared.mode.load(Ordering::SeqCst) {
                LOSE if commits => mute.store(1, Ordering::SeqCst),
                CUT if commits => break,
                HOLD if commits => {
                    shared.held.fetch_add(1, Ordering::SeqCst);
                    shared.wait_while(HOLD);
                }
                _ => shared.wait_while(SILENT),
            }
            if (&*to_server).write_all(&buffer[..len]).is_err() {
                break;
            }
        }
        let _ = to_server.shutdown(Shutdown::Both);
        let _ = from_client.shutdown(Shutdown::Both);
    });
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(len @ 1..) = (&*from_server).read(&mut buffer) {
            answers.wait_while(SILENT);
            if muted.load(Ordering::SeqCst) == 1 || (&*to_client).write_all(&buffer[..len]).is_err() {
                break;
            }
        }
        let _ = to_client.shutdown(Shutdown::Both);
        let _ = from_server.shutdown(Shutdown::Both);
    });
}
