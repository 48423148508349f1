//! Replies of a server ("Transmission phase": simple and structured replies), as they come.
//!
//! A reader may stop at any byte, and another one continues. The data of the reader's own reply goes to its memory; a short
//! reply to another caller goes to a buffer of the slot; for a long one, its caller takes over reading.

use crate::channel::Receiver;
use crate::slots::{End, Shared, Use};
use crate::wire::*;

/// The longest part of another caller's data that is buffered, in bytes. For a longer one, that caller reads itself.
const SHORT: usize = 64 << 10;

/// The bytes read at once: a short part, and data behind it.
const ROOM: usize = SHORT + (32 << 10);

/// The longest text of an error with the fields before it, in bytes.
const MAX_ERROR: u32 = 14 + MAX_STRING as u32;

/// The longest list of extents.
const MAX_EXTENTS: u32 = 4 + (8 << 20);

const SIMPLE_LEN: usize = 16;
const CHUNK_LEN: usize = 20;

/// A change without a waiting caller has ended, with this error.
pub(crate) type Ended = (u64, Option<u32>);

/// The result of reading.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pumped {
    /// The reader's own reply is here.
    Own,
    /// Nothing more is here now.
    Idle,
    /// Another caller reads next.
    HandOver,
}

/// The reading caller's slot, and the memory for its data.
pub(crate) struct Own<'a> {
    pub(crate) index: usize,
    pub(crate) bytes: &'a mut [u8],
}

/// The reading side of a connection.
pub(crate) struct Inbox {
    receiver: Receiver,
    structured: bool,
    allocation: Option<u32>,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    payload: Option<Payload>,
    /// A payload that is looked at when it is whole.
    blob: Vec<u8>,
}

/// The part of a reply that comes next.
#[derive(Clone, Copy)]
struct Payload {
    index: usize,
    place: Place,
    left: usize,
    /// Whether it completes the reply.
    is_last: bool,
}

#[derive(Clone, Copy)]
enum Place {
    /// At this byte of the request.
    Bytes(usize),
    /// A chunk of this type.
    Blob(u16),
}

impl Inbox {
    pub(crate) fn new(receiver: Receiver, structured: bool, allocation: Option<u32>) -> Self {
        let buffer = vec![0; ROOM].into_boxed_slice();
        Inbox { receiver, structured, allocation, buffer, start: 0, end: 0, payload: None, blob: Vec::new() }
    }

    /// Reads until the reader's own reply is here, or nothing comes within a tick. Changes without a waiting caller are added
    /// to `ended` when they end.
    pub(crate) fn pump<R>(
        &mut self,
        shared: &Shared<R>,
        mut own: Option<Own<'_>>,
        ended: &mut Vec<Ended>,
    ) -> Result<Pumped, End> {
        let mut is_done = false;
        loop {
            if self.payload.is_none() {
                let Some(header) = self.header()? else {
                    if is_done {
                        return Ok(Pumped::Own);
                    }
                    // A long payload is best read to where it belongs, so little more than its header is read before it.
                    let is_long = own.as_ref().is_some_and(|own| own.bytes.len() > SHORT);
                    if !self.fill(if is_long { CHUNK_LEN + 8 } else { ROOM })? {
                        return Ok(Pumped::Idle);
                    }
                    continue;
                };
                self.begin(shared, header)?;
            }
            let Some(payload) = self.payload else { continue };
            if let Some(rest) = self.take(shared, payload, &mut own)? {
                if is_done {
                    return Ok(Pumped::Own);
                }
                if rest.is_others {
                    return Ok(Pumped::HandOver);
                }
                if !rest.is_here && !self.fill(ROOM)? {
                    return Ok(Pumped::Idle);
                }
                continue;
            }
            // The payload is whole.
            self.payload = None;
            self.settle(shared, payload, &mut own)?;
            if payload.is_last {
                let mut slots = shared.lock();
                let slot = slots.at(payload.index);
                if slot.error.is_none() && slot.kind == READ && !slot.covered.is_all_of(slot.len) {
                    return Err(End::Broken("it left out a part of what was read"));
                }
                if slot.error.is_none() && slot.kind == BLOCK_STATUS && slot.extents.is_none() {
                    return Err(End::Broken("it left out what was asked"));
                }
                ended.extend(shared.complete(&mut slots, payload.index));
                is_done |= own.as_ref().is_some_and(|own| own.index == payload.index);
            }
        }
    }

    /// The next header, if all of it is here.
    fn header(&mut self) -> Result<Option<Header>, End> {
        let here = &self.buffer[self.start..self.end];
        let mut fields = Fields(here);
        let Some(magic) = fields.u32() else { return Ok(None) };
        let header = match magic {
            SIMPLE_REPLY => {
                let fields = fields.u32().zip(fields.u64());
                fields.map(|(error, cookie)| (SIMPLE_LEN, Header::Simple { error, cookie }))
            }
            STRUCTURED_REPLY if self.structured => {
                let fixed = fields.u16().zip(fields.u16()).zip(fields.u64().zip(fields.u32()));
                let Some(((flags, kind), (cookie, len))) = fixed else { return Ok(None) };
                if kind == CHUNK_DATA {
                    let len = len.checked_sub(8).ok_or(End::Broken("it sent data without a place"))?;
                    let offset = fields.u64();
                    offset.map(|offset| (CHUNK_LEN + 8, Header::Chunk { flags, kind, cookie, len, offset }))
                } else {
                    Some((CHUNK_LEN, Header::Chunk { flags, kind, cookie, len, offset: 0 }))
                }
            }
            _ => return Err(End::Broken("what it sent is no reply")),
        };
        Ok(header.map(|(len, header)| {
            self.start += len;
            header
        }))
    }

    /// Handles a header: finds the request that it answers, and the payload that follows.
    fn begin<R>(&mut self, shared: &Shared<R>, header: Header) -> Result<(), End> {
        let mut slots = shared.lock();
        let (Header::Simple { cookie, .. } | Header::Chunk { cookie, .. }) = header;
        let index = slots.find(cookie).ok_or(End::Broken("it replied to a request that isn't under way"))?;
        let slot = slots.at(index);
        let payload = |place, left: usize, is_last| Payload { index, place, left, is_last };
        let payload = match header {
            Header::Simple { .. } if slot.begun || (self.structured && matches!(slot.kind, READ | BLOCK_STATUS)) => {
                return Err(End::Broken("it replied in a way that wasn't agreed on"));
            }
            Header::Simple { error: 0, .. } if slot.kind == READ => {
                slot.covered.add(0..slot.len);
                payload(Place::Bytes(0), slot.len, true)
            }
            Header::Simple { error, .. } => {
                slot.error = (error != 0).then_some(error);
                payload(Place::Blob(CHUNK_NONE), 0, true)
            }
            Header::Chunk { flags, kind, len, offset, .. } => {
                slot.begun = true;
                let is_last = flags & DONE != 0;
                match kind {
                    CHUNK_NONE if len == 0 && is_last => payload(Place::Blob(kind), 0, true),
                    CHUNK_DATA if slot.kind == READ && len > 0 => {
                        let at = offset.checked_sub(slot.offset).and_then(|at| usize::try_from(at).ok());
                        let range = at.and_then(|at| Some(at..at.checked_add(len as usize)?));
                        match range.filter(|range| range.end <= slot.len) {
                            Some(range) if slot.covered.add(range.clone()) => {
                                payload(Place::Bytes(range.start), len as usize, is_last)
                            }
                            _ => return Err(End::Broken("it sent data that wasn't asked for")),
                        }
                    }
                    CHUNK_HOLE if slot.kind == READ && len == 12 => payload(Place::Blob(kind), 12, is_last),
                    CHUNK_BLOCK_STATUS
                        if slot.kind == BLOCK_STATUS && (12..=MAX_EXTENTS).contains(&len) && len % 8 == 4 =>
                    {
                        payload(Place::Blob(kind), len as usize, is_last)
                    }
                    kind if kind & CHUNK_IS_ERROR != 0 && (6..=MAX_ERROR).contains(&len) => {
                        payload(Place::Blob(kind), len as usize, is_last)
                    }
                    _ => return Err(End::Broken("it sent a part of a reply that can't be understood")),
                }
            }
        };
        self.blob.clear();
        self.payload = Some(payload);
        Ok(())
    }

    /// Takes the received bytes of a payload. `None`: it is complete.
    fn take<R>(
        &mut self,
        shared: &Shared<R>,
        payload: Payload,
        own: &mut Option<Own<'_>>,
    ) -> Result<Option<Rest>, End> {
        let here = self.end - self.start;
        let now = payload.left.min(here);
        let Place::Bytes(at) = payload.place else {
            self.blob.extend_from_slice(&self.buffer[self.start..self.start + now]);
            return Ok(self.taken(payload, now));
        };
        if let Some(own) = own.as_mut().filter(|own| own.index == payload.index) {
            own.bytes[at..at + now].copy_from_slice(&self.buffer[self.start..self.start + now]);
            let Some(rest) = self.taken(payload, now) else { return Ok(None) };
            let (at, left) = (at + now, payload.left - now);
            return match self.receiver.recv(&mut own.bytes[at..at + left]) {
                Ok(0) => Err(End::Lost("the server ended the connection".into())),
                // The buffer is empty.
                Ok(received) => {
                    let rest = Payload { place: Place::Bytes(at + received), left: left - received, ..payload };
                    self.payload = Some(rest);
                    Ok((rest.left > 0).then_some(Rest { is_others: false, is_here: true }))
                }
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => Ok(Some(rest)),
                Err(e) => Err(e.into()),
            };
        }
        let mut slots = shared.lock();
        let slot = slots.at(payload.index);
        if slot.used == Use::Orphan {
            drop(slots);
            return Ok(self.taken(payload, now));
        }
        if payload.left > SHORT {
            slots.reserved = Some(payload.index);
            return Ok(Some(Rest { is_others: true, is_here: false }));
        }
        if now < payload.left {
            return Ok(Some(Rest { is_others: false, is_here: false }));
        }
        slot.buffer.resize(slot.len, 0);
        slot.buffer[at..at + now].copy_from_slice(&self.buffer[self.start..self.start + now]);
        slot.delivered.add(at..at + now);
        drop(slots);
        Ok(self.taken(payload, now))
    }

    /// So many bytes of the buffer were taken.
    fn taken(&mut self, payload: Payload, now: usize) -> Option<Rest> {
        self.start += now;
        let left = payload.left - now;
        let place = match payload.place {
            Place::Bytes(at) => Place::Bytes(at + now),
            blob => blob,
        };
        self.payload = Some(Payload { place, left, ..payload });
        (left > 0).then_some(Rest { is_others: false, is_here: false })
    }

    /// Handles a chunk that isn't data.
    fn settle<R>(&mut self, shared: &Shared<R>, payload: Payload, own: &mut Option<Own<'_>>) -> Result<(), End> {
        let Place::Blob(kind) = payload.place else { return Ok(()) };
        let mut fields = Fields(&self.blob);
        let mut slots = shared.lock();
        let slot = slots.at(payload.index);
        match kind {
            CHUNK_NONE => {}
            CHUNK_HOLE => {
                let (offset, len) = (fields.u64().unwrap_or(0), fields.u32().unwrap_or(0) as usize);
                let at = offset.checked_sub(slot.offset).and_then(|at| usize::try_from(at).ok());
                let range = at.and_then(|at| Some(at..at.checked_add(len)?));
                let range = range.filter(|range| !range.is_empty() && range.end <= slot.len);
                let range = range.filter(|range| slot.covered.add(range.clone()));
                let range = range.ok_or(End::Broken("it told of zeros that weren't asked for"))?;
                match own {
                    Some(own) if own.index == payload.index => own.bytes[range].fill(0),
                    _ if slot.used == Use::Orphan => {}
                    _ => {
                        slot.buffer.resize(slot.len, 0);
                        slot.buffer[range.clone()].fill(0);
                        slot.delivered.add(range);
                    }
                }
            }
            CHUNK_BLOCK_STATUS => {
                let context = fields.u32();
                if context.is_none() || context != self.allocation || slot.extents.is_some() {
                    return Err(End::Broken("it told of a context that wasn't asked for"));
                }
                let (mut extents, mut len) = (Vec::new(), 0u64);
                while let Some(extent) = fields.u32().zip(fields.u32()) {
                    len += u64::from(extent.0);
                    // The last one may reach farther than was asked.
                    if extent.0 == 0 || len - u64::from(extent.0) >= slot.len as u64 {
                        return Err(End::Broken("it told of extents that can't be"));
                    }
                    extents.push(extent);
                }
                slot.extents = Some(extents);
            }
            _ => {
                let error = fields.u32().filter(|error| *error != 0);
                let error = error.ok_or(End::Broken("it told of an error without a number"))?;
                slot.error.get_or_insert(error);
            }
        }
        Ok(())
    }

    /// Receives up to `most` bytes. `false`: none came within a tick.
    fn fill(&mut self, most: usize) -> Result<bool, End> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > ROOM - SHORT - CHUNK_LEN - 8 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let most = most.saturating_sub(self.end - self.start).max(1).min(ROOM - self.end);
        match self.receiver.recv(&mut self.buffer[self.end..self.end + most]) {
            Ok(0) => Err(End::Lost("the server ended the connection".into())),
            Ok(received) => {
                self.end += received;
                Ok(true)
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => Ok(false),
            Err(e) => Err(e.into()),
        }
    }
}

/// The condition that a payload's rest waits for.
struct Rest {
    /// Its own caller.
    is_others: bool,
    /// Nothing: more was received just now.
    is_here: bool,
}

enum Header {
    Simple { error: u32, cookie: u64 },
    Chunk { flags: u16, kind: u16, cookie: u64, len: u32, offset: u64 },
}
