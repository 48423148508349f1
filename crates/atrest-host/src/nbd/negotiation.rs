//! The handshake: a client chooses an export, and the form of its replies.

use std::io::{self, Read, Write};

use atrest_nbd::wire::*;

use crate::Disk;

/// The longest option that we read. A longer one ends the connection.
const MAX_OPTION: u32 = 64 << 10;

/// The most options of a client. One more ends the connection.
const MAX_OPTIONS: usize = 256;

/// The result of the handshake.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Agreed {
    /// Whether replies to reads have chunks.
    pub(super) structured: bool,
    /// Whether the client may ask which blocks hold data.
    pub(super) allocation: bool,
}

/// How the handshake ended.
pub(super) enum Ended {
    /// Requests follow.
    Transmission(Agreed),
    /// TLS begins, and then the options come again.
    StartTls,
    /// The client is gone.
    Gone,
}

/// The export that a handshake offers.
pub(super) struct Export<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) name: &'a str,
    /// Whether a client may start TLS.
    pub(super) offers_tls: bool,
    /// Whether it has to, before anything else.
    pub(super) requires_tls: bool,
}

impl Export<'_> {
    /// The flags of the export.
    fn flags(&self) -> u16 {
        let mut flags = HAS_FLAGS | SEND_FLUSH | SEND_FUA | SEND_WRITE_ZEROES | SEND_DF | CAN_MULTI_CONN;
        if self.disk.is_read_only() {
            flags |= READ_ONLY;
        }
        if self.disk.discards() {
            flags |= SEND_TRIM;
        }
        flags
    }

    /// An empty name is the only export there is.
    fn is(&self, name: &str) -> bool {
        name.is_empty() || name == self.name
    }
}

/// Greets a client. Returns whether it wants the reply to `OPT_EXPORT_NAME` without padding.
pub(super) fn greet(stream: &mut (impl Read + Write)) -> io::Result<bool> {
    let mut greeting = [0; 18];
    greeting[..8].copy_from_slice(&GREETING.to_be_bytes());
    greeting[8..16].copy_from_slice(&OPTION.to_be_bytes());
    greeting[16..].copy_from_slice(&(FIXED_NEWSTYLE | NO_ZEROES).to_be_bytes());
    stream.write_all(&greeting)?;
    let mut flags = [0; 4];
    stream.read_exact(&mut flags)?;
    let flags = u32::from_be_bytes(flags);
    if flags & !u32::from(FIXED_NEWSTYLE | NO_ZEROES) != 0 {
        return Err(invalid("a client has flags that the server didn't offer"));
    }
    Ok(flags & u32::from(NO_ZEROES) != 0)
}

/// Handles a client's options until requests follow.
pub(super) fn negotiate(stream: &mut (impl Read + Write), export: &Export<'_>, no_zeroes: bool) -> io::Result<Ended> {
    let mut agreed = Agreed::default();
    for _ in 0..MAX_OPTIONS {
        let mut header = [0; 16];
        stream.read_exact(&mut header)?;
        let mut fields = Fields(&header);
        let (Some(OPTION), Some(option), Some(len)) = (fields.u64(), fields.u32(), fields.u32()) else {
            return Err(invalid("a client's option isn't one"));
        };
        if len > MAX_OPTION {
            return Err(invalid("a client's option is too long"));
        }
        let mut data = vec![0; len as usize];
        stream.read_exact(&mut data)?;
        let mut answer = Answer { stream: &mut *stream, option };
        if export.requires_tls && !matches!(option, OPT_STARTTLS | OPT_ABORT | OPT_EXPORT_NAME) {
            answer.error(REP_ERR_TLS_REQD, "this server talks by TLS only")?;
            continue;
        }
        match option {
            OPT_ABORT => {
                answer.ack()?;
                return Ok(Ended::Gone);
            }
            OPT_STARTTLS if !data.is_empty() => answer.error(REP_ERR_INVALID, "nothing goes with this option")?,
            OPT_STARTTLS if export.offers_tls => {
                answer.ack()?;
                return Ok(Ended::StartTls);
            }
            OPT_LIST if !data.is_empty() => answer.error(REP_ERR_INVALID, "nothing goes with this option")?,
            OPT_LIST => {
                answer.reply(REP_SERVER, &text(export.name))?;
                answer.ack()?;
            }
            OPT_EXPORT_NAME => {
                // This option has no way to refuse.
                let known = std::str::from_utf8(&data).is_ok_and(|name| export.is(name));
                if export.requires_tls || !known {
                    return Err(invalid("a client asks for a disk in a way that can't be answered"));
                }
                stream.write_all(&export.disk.size().to_be_bytes())?;
                stream.write_all(&export.flags().to_be_bytes())?;
                if !no_zeroes {
                    stream.write_all(&[0; 124])?;
                }
                return Ok(Ended::Transmission(agreed));
            }
            OPT_INFO | OPT_GO => {
                if answer.info(export, &data)? && option == OPT_GO {
                    return Ok(Ended::Transmission(agreed));
                }
            }
            OPT_STRUCTURED_REPLY if !data.is_empty() => {
                answer.error(REP_ERR_INVALID, "nothing goes with this option")?
            }
            OPT_STRUCTURED_REPLY => {
                agreed.structured = true;
                answer.ack()?;
            }
            OPT_SET_META_CONTEXT if !agreed.structured => {
                answer.error(REP_ERR_INVALID, "structured replies come first")?;
            }
            OPT_LIST_META_CONTEXT | OPT_SET_META_CONTEXT => {
                let set = answer.contexts(export, &data)?;
                if option == OPT_SET_META_CONTEXT {
                    agreed.allocation = set;
                }
            }
            _ => answer.error(REP_ERR_UNSUP, "this server doesn't know the option")?,
        }
    }
    Err(invalid("a client has too many options"))
}

/// The answers to one option.
struct Answer<'a, S> {
    stream: &'a mut S,
    option: u32,
}

impl<S: Write> Answer<'_, S> {
    fn reply(&mut self, kind: u32, data: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(20 + data.len());
        bytes.extend(OPTION_REPLY.to_be_bytes());
        bytes.extend(self.option.to_be_bytes());
        bytes.extend(kind.to_be_bytes());
        bytes.extend((data.len() as u32).to_be_bytes());
        bytes.extend(data);
        self.stream.write_all(&bytes)
    }

    fn ack(&mut self) -> io::Result<()> {
        self.reply(REP_ACK, &[])
    }

    /// Says no, in words that a client may show to a person.
    fn error(&mut self, kind: u32, why: &str) -> io::Result<()> {
        self.reply(kind, why.as_bytes())
    }

    /// `OPT_INFO` and `OPT_GO`. Returns whether the export is there.
    fn info(&mut self, export: &Export<'_>, data: &[u8]) -> io::Result<bool> {
        let mut fields = Fields(data);
        let Some(name) = fields.text() else {
            self.error(REP_ERR_INVALID, "the name of the export can't be read")?;
            return Ok(false);
        };
        let asked = fields.u16().and_then(|count| (0..count).map(|_| fields.u16()).collect::<Option<Vec<_>>>());
        let Some(asked) = asked.filter(|_| fields.0.is_empty()) else {
            self.error(REP_ERR_INVALID, "what is asked for can't be read")?;
            return Ok(false);
        };
        if !export.is(name) {
            self.error(REP_ERR_UNKNOWN, "there is no such export")?;
            return Ok(false);
        }
        let mut info = INFO_EXPORT.to_be_bytes().to_vec();
        info.extend(export.disk.size().to_be_bytes());
        info.extend(export.flags().to_be_bytes());
        self.reply(REP_INFO, &info)?;
        if asked.contains(&INFO_NAME) {
            self.reply(REP_INFO, &[&INFO_NAME.to_be_bytes(), export.name.as_bytes()].concat())?;
        }
        // The sector size is a limit, so it is sent whether it is requested or not.
        let sector_size = export.disk.sector_size();
        let mut info = INFO_BLOCK_SIZE.to_be_bytes().to_vec();
        for size in [sector_size, sector_size.max(4096), MAX_PAYLOAD] {
            info.extend(size.to_be_bytes());
        }
        self.reply(REP_INFO, &info)?;
        self.ack()?;
        Ok(true)
    }

    /// `OPT_LIST_META_CONTEXT` and `OPT_SET_META_CONTEXT`. Returns whether the client may ask for allocation.
    fn contexts(&mut self, export: &Export<'_>, data: &[u8]) -> io::Result<bool> {
        let mut fields = Fields(data);
        let name = fields.text();
        let queries = fields.u32().and_then(|count| (0..count).map(|_| fields.text()).collect::<Option<Vec<_>>>());
        let (Some(name), Some(queries), true) = (name, queries, fields.0.is_empty()) else {
            self.error(REP_ERR_INVALID, "the names of what is asked for can't be read")?;
            return Ok(false);
        };
        if !export.is(name) {
            self.error(REP_ERR_UNKNOWN, "there is no such export")?;
            return Ok(false);
        }
        let lists = self.option == OPT_LIST_META_CONTEXT;
        let found = queries.contains(&ALLOCATION) || (lists && (queries.is_empty() || queries.contains(&"base:")));
        if found {
            let id = if lists { 0 } else { ALLOCATION_ID };
            self.reply(REP_META_CONTEXT, &[&id.to_be_bytes(), ALLOCATION.as_bytes()].concat())?;
        }
        self.ack()?;
        Ok(found)
    }
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat()
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
