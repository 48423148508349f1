//! The fixed newstyle handshake, from the client's side (the NBD specification, "Handshake phase" and "Option types").
//!
//! The server may be hostile. Each message has a limit, and each option a number of replies.

use std::fmt;
use std::io::{self, Read, Write};

use crate::export::{Blocks, Export};
use crate::wire::*;

/// The longest reply to an option. A longer one ends the connection.
const MAX_REPLY: u32 = 64 << 10;

/// The most replies to one option.
const MAX_REPLIES: usize = 256;

/// The most exports that a list may have, and bytes of their names.
const MAX_EXPORTS: usize = 1 << 20;

/// Why a handshake failed.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The server has no such export.
    Unknown(String),
    /// It can't be used, or doesn't speak the protocol.
    Unfit(String),
    /// The connection failed, or the time is over.
    Io(io::Error),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Unknown(text) | Refused::Unfit(text) => f.write_str(text),
            Refused::Io(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => unfit("the server ended the connection in the handshake"),
            _ => Refused::Io(error),
        }
    }
}

/// How the server greeted.
#[derive(Clone, Copy)]
pub(crate) struct Greeted {
    fixed: bool,
    no_zeroes: bool,
}

/// Reads the greeting, and greets back.
pub(crate) fn greet(stream: &mut (impl Read + Write)) -> Result<Greeted, Refused> {
    let mut greeting = [0; 18];
    stream.read_exact(&mut greeting[..16])?;
    let mut fields = Fields(&greeting);
    match (fields.u64(), fields.u64()) {
        (Some(GREETING), Some(OPTION)) => {}
        (Some(GREETING), Some(OLD_STYLE)) => {
            return Err(unfit("the server speaks the oldstyle handshake, which is not spoken here"));
        }
        _ => return Err(unfit("what answers there is no NBD server")),
    }
    stream.read_exact(&mut greeting[16..])?;
    let flags = u16::from_be_bytes([greeting[16], greeting[17]]);
    let both = flags & (FIXED_NEWSTYLE | NO_ZEROES);
    stream.write_all(&u32::from(both).to_be_bytes())?;
    stream.flush()?;
    Ok(Greeted { fixed: both & FIXED_NEWSTYLE != 0, no_zeroes: both & NO_ZEROES != 0 })
}

/// Asks for TLS. It begins when this returns.
#[cfg(feature = "tls")]
pub(crate) fn start_tls(stream: &mut (impl Read + Write), greeted: Greeted) -> Result<(), Refused> {
    let refused = || unfit("the server doesn't talk by TLS, and nothing is said to it without");
    if !greeted.fixed {
        return Err(refused());
    }
    send_option(stream, OPT_STARTTLS, &[])?;
    match read_reply(stream, OPT_STARTTLS)? {
        (REP_ACK, data) if data.is_empty() => Ok(()),
        _ => Err(refused()),
    }
}

/// Chooses an export. Requests follow.
pub(crate) fn choose(stream: &mut (impl Read + Write), greeted: Greeted, name: &str) -> Result<Export, Refused> {
    if !greeted.fixed {
        return old_way(stream, greeted, name, false);
    }
    send_option(stream, OPT_STRUCTURED_REPLY, &[])?;
    let structured = match read_reply(stream, OPT_STRUCTURED_REPLY)? {
        (REP_ACK, _) => true,
        (REP_ERR_TLS_REQD, _) => return Err(wants_tls()),
        (kind, _) if is_error(kind) => false,
        _ => return Err(broken()),
    };
    let allocation = if structured { ask_for_allocation(stream, name)? } else { None };

    let asked = [&text(name)[..], &1u16.to_be_bytes(), &INFO_BLOCK_SIZE.to_be_bytes()].concat();
    send_option(stream, OPT_GO, &asked)?;
    let (mut told, mut blocks) = (None, Blocks::default());
    for _ in 0..MAX_REPLIES {
        let (kind, data) = read_reply(stream, OPT_GO)?;
        match kind {
            REP_ACK => {
                let Some((size, flags)) = told else {
                    return Err(unfit("the server doesn't say how large the export is"));
                };
                return check(Export { size, flags, blocks, structured, allocation });
            }
            REP_INFO => {
                let mut fields = Fields(&data);
                match fields.u16() {
                    Some(INFO_EXPORT) => told = Some(fields.u64().zip(fields.u16()).ok_or_else(broken)?),
                    Some(INFO_BLOCK_SIZE) => {
                        let sizes = (fields.u32(), fields.u32(), fields.u32());
                        let (Some(minimum), Some(_), Some(maximum)) = sizes else { return Err(broken()) };
                        blocks = Blocks { minimum, maximum };
                    }
                    // Others tell people things.
                    Some(_) => {}
                    None => return Err(broken()),
                }
            }
            REP_ERR_UNSUP => return old_way(stream, greeted, name, structured),
            REP_ERR_UNKNOWN => return Err(Refused::Unknown(said("the server has no such export", &data))),
            REP_ERR_TLS_REQD => return Err(wants_tls()),
            REP_ERR_POLICY => return Err(unfit(said("the server doesn't allow it", &data))),
            REP_ERR_SHUTDOWN => return Err(Refused::Io(io::Error::other("the server is going down"))),
            kind if is_error(kind) => return Err(unfit(said("the server doesn't give the export", &data))),
            _ => return Err(broken()),
        }
    }
    Err(unfit("the server tells of the export without an end"))
}

/// The names of all exports, if the server lists them.
pub(crate) fn list(stream: &mut (impl Read + Write), greeted: Greeted) -> Result<Vec<String>, Refused> {
    if !greeted.fixed {
        return Err(unfit("the server can't list its exports"));
    }
    send_option(stream, OPT_LIST, &[])?;
    let (mut names, mut bytes) = (Vec::new(), 0);
    loop {
        let (kind, data) = read_reply(stream, OPT_LIST)?;
        match kind {
            REP_ACK => {
                send_option(stream, OPT_ABORT, &[])?;
                return Ok(names);
            }
            REP_SERVER => {
                bytes += data.len();
                if names.len() == MAX_EXPORTS || bytes > 64 * MAX_EXPORTS {
                    return Err(unfit("the server lists exports without an end"));
                }
                // A description may follow the name. A name that isn't text is none of ours.
                names.extend(Fields(&data).text().map(str::to_owned));
            }
            REP_ERR_TLS_REQD => return Err(wants_tls()),
            kind if is_error(kind) => return Err(unfit(said("the server doesn't list its exports", &data))),
            _ => return Err(broken()),
        }
    }
}

/// `OPT_EXPORT_NAME`, which can't say no: the server ends the connection.
fn old_way(
    stream: &mut (impl Read + Write),
    greeted: Greeted,
    name: &str,
    structured: bool,
) -> Result<Export, Refused> {
    send_option(stream, OPT_EXPORT_NAME, name.as_bytes())?;
    let mut told = [0; 10];
    stream.read_exact(&mut told).map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof => Refused::Unknown("the server has no such export".into()),
        _ => Refused::Io(e),
    })?;
    if !greeted.no_zeroes {
        stream.read_exact(&mut [0; 124])?;
    }
    let mut fields = Fields(&told);
    let (Some(size), Some(flags)) = (fields.u64(), fields.u16()) else { return Err(broken()) };
    check(Export { size, flags, blocks: Blocks::default(), structured, allocation: None })
}

fn ask_for_allocation(stream: &mut (impl Read + Write), name: &str) -> Result<Option<u32>, Refused> {
    send_option(stream, OPT_SET_META_CONTEXT, &[&text(name)[..], &1u32.to_be_bytes(), &text(ALLOCATION)].concat())?;
    let mut id = None;
    for _ in 0..MAX_REPLIES {
        match read_reply(stream, OPT_SET_META_CONTEXT)? {
            (REP_ACK, _) => return Ok(id),
            (REP_META_CONTEXT, data) => {
                let mut fields = Fields(&data);
                let number = fields.u32().ok_or_else(broken)?;
                if fields.0 == ALLOCATION.as_bytes() {
                    id = Some(number);
                }
            }
            // A missing export is reported later.
            (kind, _) if is_error(kind) => return Ok(None),
            _ => return Err(broken()),
        }
    }
    Err(unfit("the server tells of contexts without an end"))
}

/// Checks that a server's description of an export is consistent.
fn check(export: Export) -> Result<Export, Refused> {
    let Blocks { minimum, maximum } = export.blocks;
    // "Block size constraints": the minimum is a power of two up to 2^16; the maximum a multiple of it, or all ones.
    let minimum_fits = minimum.is_power_of_two() && minimum <= 1 << 16;
    let maximum = if maximum == u32::MAX { MAX_PAYLOAD } else { maximum.min(MAX_PAYLOAD) };
    if !minimum_fits || maximum < minimum || !maximum.is_multiple_of(minimum) {
        return Err(unfit("the server has block sizes that can't be"));
    }
    if export.size > i64::MAX as u64 || !export.size.is_multiple_of(minimum.into()) {
        return Err(unfit("the server says a size that can't be"));
    }
    let flags = if export.flags & HAS_FLAGS == 0 { 0 } else { export.flags };
    Ok(Export { blocks: Blocks { minimum, maximum }, flags, ..export })
}

fn send_option(stream: &mut impl Write, option: u32, data: &[u8]) -> io::Result<()> {
    let len = (data.len() as u32).to_be_bytes();
    stream.write_all(&[&OPTION.to_be_bytes()[..], &option.to_be_bytes(), &len, data].concat())?;
    stream.flush()
}

/// One reply to an option.
fn read_reply(stream: &mut impl Read, option: u32) -> Result<(u32, Vec<u8>), Refused> {
    let mut header = [0; 20];
    stream.read_exact(&mut header)?;
    let mut fields = Fields(&header);
    let fields = (fields.u64(), fields.u32(), fields.u32(), fields.u32());
    let (Some(OPTION_REPLY), Some(of), Some(kind), Some(len)) = fields else { return Err(broken()) };
    if of != option {
        return Err(broken());
    }
    if len > MAX_REPLY {
        return Err(unfit("a reply of the server is too long"));
    }
    let mut data = vec![0; len as usize];
    stream.read_exact(&mut data)?;
    Ok((kind, data))
}

fn is_error(kind: u32) -> bool {
    kind >> 31 == 1
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat()
}

/// An error with the server's own words, as far as they are harmless.
fn said(what: &str, words: &[u8]) -> String {
    let words: String = String::from_utf8_lossy(words).chars().filter(|c| !c.is_control()).take(200).collect();
    if words.is_empty() { what.into() } else { format!("{what}; it says {words:?}") }
}

fn wants_tls() -> Refused {
    unfit("the server talks by TLS only; use a URL with nbds: or nbds+unix:")
}

fn broken() -> Refused {
    unfit("the server doesn't keep to the protocol in the handshake")
}

fn unfit(text: impl Into<String>) -> Refused {
    Refused::Unfit(text.into())
}
