//! Servers that lie. The numbers are those of the specification.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use atrest::{BlockDevice, Error};
use atrest_nbd::{NbdDevice, NbdOptions};

use crate::servers::uri;

const SIZE: u64 = 1 << 20;

/// Flags, flush, write zeroes.
const FLAGS: u16 = 0b100_0101;

/// A server that says what it is told to, to one client after the other.
struct Liar {
    socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl Liar {
    fn start(talk: impl Fn(&mut UnixStream) -> std::io::Result<()> + Send + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                // A client that ends is what is expected.
                let _ = talk(&mut stream);
                // A socket that is closed before all is read takes back what was said.
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            }
        });
        Liar { socket, _folder: folder }
    }

    fn connect(&self, deadline: Duration) -> atrest::Result<NbdDevice> {
        NbdDevice::connect_with(&uri(&self.socket, "x"), &NbdOptions::new().deadline(deadline))
    }
}

fn take(stream: &mut UnixStream, len: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).map(|()| bytes)
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}

fn greet(stream: &mut UnixStream) -> std::io::Result<()> {
    stream.write_all(b"NBDMAGICIHAVEOPT\0\x03")?;
    take(stream, 4).map(|_| ())
}

/// Reads an option.
fn option(stream: &mut UnixStream) -> std::io::Result<u32> {
    let header = take(stream, 16)?;
    take(stream, number(&header[12..]) as usize)?;
    Ok(number(&header[8..12]) as u32)
}

fn reply(stream: &mut UnixStream, option: u32, kind: u32, data: &[u8]) -> std::io::Result<()> {
    let len = (data.len() as u32).to_be_bytes();
    stream.write_all(
        &[&0x0003_e889_0455_65a9u64.to_be_bytes()[..], &option.to_be_bytes(), &kind.to_be_bytes(), &len, data].concat(),
    )
}

fn info(size: u64, flags: u16) -> Vec<u8> {
    [&[0, 0][..], &size.to_be_bytes(), &flags.to_be_bytes()].concat()
}

/// An honest handshake, with structured replies and `base:allocation`.
fn shake_hands(stream: &mut UnixStream) -> std::io::Result<()> {
    greet(stream)?;
    loop {
        match option(stream)? {
            10 => {
                reply(stream, 10, 4, &[&9u32.to_be_bytes()[..], b"base:allocation"].concat())?;
                reply(stream, 10, 1, &[])?;
            }
            7 => {
                reply(stream, 7, 3, &info(SIZE, FLAGS))?;
                return reply(stream, 7, 1, &[]);
            }
            other => reply(stream, other, 1, &[])?,
        }
    }
}

#[test]
fn lies_in_the_handshake() {
    type Lie = fn(&mut UnixStream) -> std::io::Result<()>;
    let lies: [(&str, Lie); 16] = [
        ("no NBD server", |s| s.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")),
        ("oldstyle", |s| s.write_all(b"NBDMAGIC\x00\x00\x42\x02\x81\x86\x12\x53")),
        ("ended the connection", |s| s.write_all(b"NBDMAG")),
        ("doesn't keep to the protocol", |s| greet(s).and_then(|()| s.write_all(&[0; 64]))),
        ("doesn't keep to the protocol", |s| {
            greet(s)?;
            option(s)?;
            reply(s, 99, 1, &[])
        }),
        ("too long", |s| {
            greet(s)?;
            let asked = option(s)?.to_be_bytes();
            let magic = 0x0003_e889_0455_65a9u64.to_be_bytes();
            s.write_all(&[&magic[..], &asked, &[0, 0, 0, 3], &u32::MAX.to_be_bytes()].concat())?;
            // More than a client would keep.
            (0..1 << 10).try_for_each(|_| s.write_all(&[0; 1 << 16]))
        }),
        ("without an end", |s| {
            greet(s)?;
            while option(s)? != 7 {
                reply(s, 8, 0x8000_0001, &[])?;
            }
            (0..1 << 20).try_for_each(|_| reply(s, 7, 3, &info(SIZE, FLAGS)))
        }),
        ("without an end", |s| {
            greet(s)?;
            option(s)?;
            reply(s, 8, 1, &[])?;
            option(s)?;
            (0..1 << 20).try_for_each(|_| reply(s, 10, 4, b"\0\0\0\x01some:other"))
        }),
        ("how large", |s| {
            greet(s)?;
            option(s)?;
            reply(s, 8, 0x8000_0001, &[])?;
            option(s)?;
            reply(s, 7, 1, &[])
        }),
        ("block sizes", |s| sizes(s, SIZE, [0, 0, 0])),
        ("block sizes", |s| sizes(s, SIZE, [3, 512, 1024])),
        ("block sizes", |s| sizes(s, SIZE, [1 << 17, 1 << 17, 1 << 20])),
        ("block sizes", |s| sizes(s, SIZE, [4096, 4096, 512])),
        ("block sizes", |s| sizes(s, SIZE, [4096, 4096, 6000])),
        ("a size", |s| sizes(s, u64::MAX, [1, 4096, 1 << 20])),
        ("a size", |s| sizes(s, SIZE + 1, [512, 4096, 1 << 20])),
    ];
    fn sizes(s: &mut UnixStream, size: u64, sizes: [u32; 3]) -> std::io::Result<()> {
        greet(s)?;
        option(s)?;
        reply(s, 8, 0x8000_0001, &[])?;
        option(s)?;
        reply(s, 7, 3, &info(size, FLAGS))?;
        reply(s, 7, 3, &[&[0, 3][..], &sizes.map(u32::to_be_bytes).concat()].concat())?;
        reply(s, 7, 1, &[])
    }
    for (said, lie) in lies {
        let liar = Liar::start(lie);
        let error = format!("{:#}", liar.connect(Duration::from_secs(20)).unwrap_err());
        assert!(error.contains(said), "{error}, not {said}");
    }
}

/// One that says nothing, or a byte now and then, is waited for until the deadline.
#[test]
fn silence_in_the_handshake() {
    let silent = Liar::start(|_| {
        std::thread::sleep(Duration::from_secs(3600));
        Ok(())
    });
    let slow = Liar::start(|stream| {
        greet(stream)?;
        option(stream)?;
        let reply = [&0x0003_e889_0455_65a9u64.to_be_bytes()[..], &[0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0xff, 0]].concat();
        stream.write_all(&reply)?;
        loop {
            stream.write_all(&[0])?;
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    for liar in [silent, slow] {
        let began = Instant::now();
        let error = liar.connect(Duration::from_millis(300)).unwrap_err();
        assert!(
            matches!(&error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::TimedOut),
            "{error:#}"
        );
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}

/// A chunk of a structured reply.
fn chunk(cookie: &[u8], flags: u16, kind: u16, data: &[u8]) -> Vec<u8> {
    let len = (data.len() as u32).to_be_bytes();
    [&0x668e_33efu32.to_be_bytes()[..], &flags.to_be_bytes(), &kind.to_be_bytes(), cookie, &len, data].concat()
}

fn data(offset: u64, len: usize) -> Vec<u8> {
    [&offset.to_be_bytes()[..], &vec![7; len]].concat()
}

/// Makes an answer from the cookie of the request.
type Answer = fn(&[u8]) -> Vec<u8>;

/// A server whose answers to reads are made from the cookie.
fn answers(of: Answer) -> Liar {
    Liar::start(move |stream| {
        shake_hands(stream)?;
        loop {
            let request = take(stream, 28)?;
            stream.write_all(&of(&request[8..16]))?;
        }
    })
}

#[test]
fn lies_about_reads() {
    // Answers to a read of 8192 bytes from 4096.
    let lies: [(&str, Answer); 20] = [
        ("no reply", |_| vec![0xff; 64]),
        ("isn't under way", |_| chunk(&[9; 8], 1, 1, &data(4096, 8192))),
        ("isn't under way", |cookie| [chunk(cookie, 1, 1, &data(4096, 8192)), chunk(cookie, 1, 0, &[])].concat()),
        ("wasn't agreed on", |cookie| [&[0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0], cookie, &[7; 8192]].concat()),
        ("wasn't asked for", |cookie| chunk(cookie, 1, 1, &data(0, 8192))),
        ("wasn't asked for", |cookie| chunk(cookie, 1, 1, &data(8192, 8192))),
        ("wasn't asked for", |cookie| chunk(cookie, 1, 1, &data(u64::MAX, 8192))),
        ("wasn't asked for", |cookie| chunk(cookie, 1, 1, &data(4096, 8193))),
        ("wasn't asked for", |cookie| {
            [chunk(cookie, 0, 1, &data(4096, 4096)), chunk(cookie, 1, 1, &data(8191, 4097))].concat()
        }),
        ("left out", |cookie| chunk(cookie, 1, 1, &data(4096, 8191))),
        ("left out", |cookie| chunk(cookie, 1, 0, &[])),
        ("can't be understood", |cookie| chunk(cookie, 0, 0, &[])),
        ("can't be understood", |cookie| chunk(cookie, 1, 0, &[1])),
        ("can't be understood", |cookie| chunk(cookie, 1, 99, &[0; 16])),
        ("can't be understood", |cookie| chunk(cookie, 1, 1, &data(4096, 0))),
        ("without a place", |cookie| chunk(cookie, 1, 1, &[0; 7])),
        ("weren't asked for", |cookie| chunk(cookie, 1, 2, &[data(4096, 0), vec![0, 0, 0xff, 0]].concat())),
        ("can't be understood", |cookie| chunk(cookie, 1, 5, &[0; 12])),
        ("can't be understood", |cookie| chunk(cookie, 1, 0x8001, &[0; 5])),
        ("without a number", |cookie| chunk(cookie, 1, 0x8001, &[0; 6])),
    ];
    for (said, lie) in lies {
        let liar = answers(lie);
        let device = liar.connect(Duration::from_secs(20)).unwrap();
        let mut bytes = vec![0; 8192];
        let began = Instant::now();
        let mut result = device.read_at(4096, &mut bytes);
        if said == "isn't under way" && result.is_ok() {
            // The second answer is seen by the next one who reads.
            result = device.read_at(4096, &mut bytes);
        }
        let error = result.unwrap_err().to_string();
        assert!(error.contains(said) && error.contains("open it again"), "{error}, not {said}");
        // For good, and at once.
        assert!(device.write_at(0, &[0; 512]).unwrap_err().to_string().contains("open it again"));
        assert!(began.elapsed() < Duration::from_secs(15));
    }
    // The length of a chunk that would never end.
    let liar = answers(|cookie| {
        let header = [&0x668e_33efu32.to_be_bytes()[..], &[0, 1, 0x80, 1], cookie, &u32::MAX.to_be_bytes()].concat();
        [header, vec![0; 1 << 20]].concat()
    });
    let device = liar.connect(Duration::from_secs(20)).unwrap();
    assert!(device.read_at(0, &mut [0; 512]).unwrap_err().to_string().contains("can't be understood"));
}

/// Unusual but correct answers: pieces in any order, zeros between, an error in the middle, text that isn't.
#[test]
fn odd_answers_are_taken() {
    let liar = answers(|cookie| {
        [
            chunk(cookie, 0, 1, &data(4096 + 8191, 1)),
            chunk(cookie, 0, 2, &[&(4096u64 + 100).to_be_bytes()[..], &8091u32.to_be_bytes()].concat()),
            chunk(cookie, 0, 1, &data(4096, 100)),
            chunk(cookie, 1, 0, &[]),
        ]
        .concat()
    });
    let device = liar.connect(Duration::from_secs(20)).unwrap();
    let mut bytes = vec![9; 8192];
    device.read_at(4096, &mut bytes).unwrap();
    assert!(bytes[..100] == [7; 100] && bytes[100..8191] == [0; 8091] && bytes[8191] == 7);

    let liar = answers(|cookie| {
        [
            chunk(cookie, 0, 0x8002, &[&[0, 0, 0, 28, 0, 1, 0xff][..], &4096u64.to_be_bytes()].concat()),
            chunk(cookie, 1, 1, &data(4096, 8192)),
        ]
        .concat()
    });
    let device = liar.connect(Duration::from_secs(20)).unwrap();
    assert_eq!(device.read_at(4096, &mut bytes).unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(device.read_at(4096, &mut bytes).unwrap_err().kind(), std::io::ErrorKind::StorageFull);
}

#[test]
fn lies_about_extents() {
    let lies: [(&str, Answer); 5] = [
        ("context", |cookie| chunk(cookie, 1, 5, &[0, 0, 0, 8, 0, 0, 16, 0, 0, 0, 0, 2])),
        ("can't be", |cookie| chunk(cookie, 1, 5, &[0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 2])),
        ("can't be", |cookie| {
            chunk(cookie, 1, 5, &[&[0, 0, 0, 9][..], &[0, 0, 16, 0, 0, 0, 0, 2].repeat(1000)].concat())
        }),
        ("left out", |cookie| chunk(cookie, 1, 0, &[])),
        ("can't be understood", |cookie| chunk(cookie, 1, 1, &data(0, 4096))),
    ];
    for (said, lie) in lies {
        let device = answers(lie).connect(Duration::from_secs(20)).unwrap();
        let error = device.is_known_zero(0, 65536).unwrap_err().to_string();
        assert!(error.contains(said), "{error}, not {said}");
    }
}

/// A server without a flush isn't taken for one that has one, and an old one is talked to as it likes.
#[test]
fn servers_that_can_do_little() {
    let serve = |flags: u16, padding: usize| {
        Liar::start(move |stream| {
            stream.write_all(b"NBDMAGICIHAVEOPT\0")?;
            stream.write_all(if padding == 0 { &[2] } else { &[0] })?;
            take(stream, 4)?;
            assert_eq!(option(stream)?, 1, "the older handshake has one option");
            stream.write_all(&[&SIZE.to_be_bytes()[..], &flags.to_be_bytes()].concat())?;
            stream.write_all(&vec![0; padding])?;
            let mut bytes = vec![0; SIZE as usize];
            loop {
                let request = take(stream, 28)?;
                let (kind, at, len) = (request[7], number(&request[16..24]) as usize, number(&request[24..]) as usize);
                if kind == 1 {
                    bytes[at..at + len].copy_from_slice(&take(stream, len)?);
                }
                stream.write_all(&[&[0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0][..], &request[8..16]].concat())?;
                if kind == 0 {
                    stream.write_all(&bytes[at..at + len])?;
                }
            }
        })
    };
    for (flags, padding) in [(0, 0), (1, 124)] {
        let liar = serve(flags, padding);
        let error = liar.connect(Duration::from_secs(20)).unwrap_err();
        assert!(matches!(&error, Error::InvalidOption(text) if text.contains("hazmat")), "{error}");
        let options = NbdOptions::new().hazmat_without_flush(true);
        let device = NbdDevice::connect_with(&uri(&liar.socket, ""), &options).unwrap();
        device.write_at(512, &[3; 100_000]).unwrap();
        device.write_zeroes(1000, 5000).unwrap();
        device.discard(0, SIZE).unwrap();
        device.sync().unwrap();
        device.write_durably(0, &[1; 512]).unwrap();
        let mut back = vec![9; 8000];
        device.read_at(0, &mut back).unwrap();
        let expected = [vec![1; 512], vec![3; 488], vec![0; 5000], vec![3; 2000]].concat();
        assert!(back == expected);
    }
    let read_only = serve(0b11, 0);
    let device = read_only.connect(Duration::from_secs(20)).unwrap();
    assert!(device.is_read_only());
    assert_eq!(device.write_at(0, &[0; 512]).unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    assert_eq!(device.discard(0, 512).unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    device.sync().unwrap();
}

#[test]
fn nobody_is_there() {
    let path = Path::new("/nonexistent/socket");
    let error = NbdDevice::connect(&uri(path, "")).unwrap_err();
    assert!(matches!(&error, Error::Io { .. }) && error.to_string().contains("/nonexistent/socket"), "{error}");
}
