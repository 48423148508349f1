//! An NBD client that says what it is told, right or wrong. The numbers are those of the specification.

use std::io::{Read, Result, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

pub const OPTION: u64 = 0x4948_4156_454f_5054;

// Options and their replies.
pub const EXPORT_NAME: u32 = 1;
pub const ABORT: u32 = 2;
pub const LIST: u32 = 3;
pub const INFO: u32 = 6;
pub const GO: u32 = 7;
pub const STRUCTURED: u32 = 8;
pub const LIST_CONTEXT: u32 = 9;
pub const SET_CONTEXT: u32 = 10;
pub const ACK: u32 = 1;
pub const ERR_UNSUP: u32 = 0x8000_0001;
pub const ERR_INVALID: u32 = 0x8000_0003;
pub const ERR_UNKNOWN: u32 = 0x8000_0006;

// Requests and their flags.
pub const READ: u16 = 0;
pub const WRITE: u16 = 1;
pub const DISCONNECT: u16 = 2;
pub const FLUSH: u16 = 3;
pub const TRIM: u16 = 4;
pub const ZEROES: u16 = 6;
pub const STATUS: u16 = 7;
pub const FUA: u16 = 1;
pub const NO_HOLE: u16 = 2;
pub const DF: u16 = 4;

// Errors.
pub const EPERM: u32 = 1;
pub const EIO: u32 = 5;
pub const EINVAL: u32 = 22;
pub const ENOSPC: u32 = 28;
pub const EOVERFLOW: u32 = 75;

pub struct Client {
    pub stream: UnixStream,
    cookie: u64,
}

/// One part of a structured reply: flags, type, what it holds.
pub type Chunk = (u16, u16, Vec<u8>);

impl Client {
    /// Connects and says hello.
    pub fn greet(socket: &Path) -> Self {
        let mut client = Self::connect(socket);
        assert_eq!(client.take(18).unwrap(), b"NBDMAGICIHAVEOPT\0\x03");
        client.send(&3u32.to_be_bytes());
        client
    }

    pub fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Client { stream, cookie: 0x1122_3344_5566_7788 }
    }

    /// Connects and chooses the export, with structured replies and the context of allocation or without.
    pub fn go(socket: &Path, structured: bool) -> Self {
        let mut client = Self::greet(socket);
        if structured {
            assert_eq!(client.option(STRUCTURED, &[]), [(ACK, vec![])]);
            assert_eq!(client.option(SET_CONTEXT, &contexts("", &["base:allocation"])).len(), 2);
        }
        assert_eq!(client.option(GO, &go("")).last().unwrap().0, ACK);
        client
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub fn take(&mut self, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes).map(|()| bytes)
    }

    fn number(&mut self, len: usize) -> u64 {
        self.take(len).unwrap().iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
    }

    /// Sends an option, and returns its replies.
    pub fn option(&mut self, option: u32, data: &[u8]) -> Vec<(u32, Vec<u8>)> {
        self.send_option(option, data);
        let mut replies = Vec::new();
        loop {
            assert_eq!(self.number(8), 0x3e889045565a9);
            assert_eq!(self.number(4), u64::from(option));
            let kind = self.number(4) as u32;
            let len = self.number(4) as usize;
            replies.push((kind, self.take(len).unwrap()));
            if kind == ACK || kind >> 31 == 1 {
                return replies;
            }
        }
    }

    pub fn send_option(&mut self, option: u32, data: &[u8]) {
        self.send(
            &[&OPTION.to_be_bytes()[..], &option.to_be_bytes(), &(data.len() as u32).to_be_bytes(), data].concat(),
        );
    }

    pub fn send_request(&mut self, flags: u16, kind: u16, offset: u64, len: u32, data: &[u8]) {
        self.cookie += 1;
        let header = [
            &0x2560_9513u32.to_be_bytes()[..],
            &flags.to_be_bytes(),
            &kind.to_be_bytes(),
            &self.cookie.to_be_bytes(),
            &offset.to_be_bytes(),
            &len.to_be_bytes(),
        ];
        self.send(&[&header.concat()[..], data].concat());
    }

    /// Sends a request, and returns the error of its simple reply.
    pub fn simple(&mut self, flags: u16, kind: u16, offset: u64, len: u32, data: &[u8]) -> u32 {
        self.send_request(flags, kind, offset, len, data);
        assert_eq!(self.number(4), 0x6744_6698);
        let error = self.number(4) as u32;
        assert_eq!(self.number(8), self.cookie);
        error
    }

    /// Sends a request, and returns the chunks of its structured reply.
    pub fn structured(&mut self, flags: u16, kind: u16, offset: u64, len: u32) -> Vec<Chunk> {
        self.send_request(flags, kind, offset, len, &[]);
        let mut chunks = Vec::new();
        loop {
            assert_eq!(self.number(4), 0x668e_33ef);
            let (flags, kind) = (self.number(2) as u16, self.number(2) as u16);
            assert_eq!(self.number(8), self.cookie);
            let len = self.number(4) as usize;
            chunks.push((flags, kind, self.take(len).unwrap()));
            if flags & 1 != 0 {
                return chunks;
            }
        }
    }

    /// Whether the server has ended the connection.
    pub fn is_cut_off(&mut self) -> bool {
        let mut byte = [0];
        loop {
            match self.stream.read(&mut byte) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(e) => return e.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
    }
}

pub fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat()
}

/// The data of `GO` and `INFO`, which asks for nothing more than is told.
pub fn go(name: &str) -> Vec<u8> {
    [text(name), vec![0, 0]].concat()
}

/// The data of options on contexts.
pub fn contexts(name: &str, queries: &[&str]) -> Vec<u8> {
    let count = (queries.len() as u32).to_be_bytes().to_vec();
    let queries = queries.iter().flat_map(|query| text(query)).collect();
    [text(name), count, queries].concat()
}
