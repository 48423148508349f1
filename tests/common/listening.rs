//! Servers of other projects, as processes that listen at a port of this machine.

#![allow(dead_code)] // each test program uses its part

#[path = "ports.rs"]
pub mod ports;

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Starts a server on a port that nobody has. `make` is its command for a port.
pub fn start(make: impl Fn(u16) -> Command) -> (u16, Child) {
    // Between here and its start somebody else may take the port: then another is taken.
    for _ in 0..10 {
        let port = ports::free_port();
        if let Some(child) = listening(&mut make(port), port) {
            return (port, child);
        }
    }
    panic!("{:?} doesn't start", make(0));
}

/// Starts a server without its input and output, and waits until it listens; `None` if it ends.
pub fn listening(command: &mut Command, port: u16) -> Option<Child> {
    until_it_listens(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap(), port)
}

/// Waits until a server listens; `None` if it ends.
pub fn until_it_listens(mut server: Child, port: u16) -> Option<Child> {
    while server.try_wait().unwrap().is_none() {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Some(server);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}
