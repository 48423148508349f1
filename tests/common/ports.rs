//! Ports of this machine for servers that tests start.

#![allow(dead_code)] // each test program uses its part

use std::net::TcpListener;

/// A port that nobody has, nor will any other test have it while this process lives. Between here and the start of a server the system
/// may give it to somebody else, who is no test: try again then.
pub fn free_port() -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if is_ours(port) {
            return port;
        }
    }
}

/// Two tests that start servers at once could be given one port. Then both would take the server that comes first for their own. A
/// name that only one process can have tells whose it is, until the process ends.
#[cfg(target_os = "linux")]
fn is_ours(port: u16) -> bool {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};
    let name = SocketAddr::from_abstract_name(format!("atrest-test-port-{port}")).unwrap();
    UnixListener::bind_addr(&name).map(std::mem::forget).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn is_ours(_: u16) -> bool {
    true
}
