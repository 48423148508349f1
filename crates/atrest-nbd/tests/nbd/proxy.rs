//! A proxy between a device and a server: it records, cuts off, falls silent.

#![allow(dead_code)] // each test uses its part

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A proxy, until it is dropped.
pub struct Proxy {
    shared: Arc<Shared>,
    socket: PathBuf,
}

struct Shared {
    server: PathBuf,
    open: Mutex<Vec<UnixStream>>,
    /// Nothing is passed on.
    silent: AtomicBool,
    /// After so many more bytes of the server, the connection that sent them is cut off. Negative: never.
    left: AtomicIsize,
    ended: AtomicBool,
    record: Mutex<Vec<u8>>,
}

impl Proxy {
    /// Listens at `socket` for a server at `server`.
    pub fn start(socket: &Path, server: &Path) -> Self {
        let shared = Arc::new(Shared {
            server: server.into(),
            open: Mutex::default(),
            silent: AtomicBool::new(false),
            left: AtomicIsize::new(-1),
            ended: AtomicBool::new(false),
            record: Mutex::default(),
        });
        let listener = UnixListener::bind(socket).unwrap();
        let of_thread = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if of_thread.ended.load(SeqCst) {
                    return;
                }
                let client = client.unwrap();
                // A server that isn't there: the client is cut off.
                let Ok(server) = UnixStream::connect(&of_thread.server) else { continue };
                let both = [client.try_clone().unwrap(), server.try_clone().unwrap()];
                of_thread.open.lock().unwrap().extend(both);
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let shared = of_thread.clone();
                std::thread::spawn(move || shared.pass_on(from, to, false));
                let shared = of_thread.clone();
                std::thread::spawn(move || shared.pass_on(server, client, true));
            }
        });
        Proxy { shared, socket: socket.into() }
    }

    /// Cuts all connections off.
    pub fn cut(&self) {
        for stream in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub fn silent(&self, silent: bool) {
        self.shared.silent.store(silent, SeqCst);
    }

    /// Cuts a connection off after so many more bytes of the server.
    pub fn cut_after(&self, bytes: usize) {
        self.shared.left.store(bytes as isize, SeqCst);
    }

    /// The bytes that went by, in both directions.
    pub fn record(&self) -> Vec<u8> {
        self.shared.record.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, SeqCst);
        let _ = UnixStream::connect(&self.socket);
        self.cut();
    }
}

impl Shared {
    fn pass_on(&self, mut from: UnixStream, mut to: UnixStream, of_server: bool) {
        let mut bytes = vec![0; 64 << 10];
        while let Ok(len @ 1..) = from.read(&mut bytes) {
            while self.silent.load(SeqCst) && !self.ended.load(SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
            let mut now = len;
            if of_server && self.left.load(SeqCst) >= 0 {
                let left = self.left.fetch_sub(len as isize, SeqCst);
                if (0..len as isize).contains(&left) {
                    now = left as usize;
                }
            }
            self.record.lock().unwrap().extend(&bytes[..now]);
            if to.write_all(&bytes[..now]).is_err() || now < len {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}
