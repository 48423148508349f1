//! The channel by which we tell the front end that the disk's configuration has changed.
//!
//! The front end sends its file with the message `SET_BACKEND_REQ_FD`. The crate `vhost` wraps that into a type that has no such
//! message, so the file is looked at before the crate reads it: peeking gives a copy.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send};

/// The length of each message's header in bytes: request, flags, length of the payload.
const HEADER: usize = 12;

/// `VHOST_USER_SET_BACKEND_REQ_FD`.
const SET_BACKEND_REQ_FD: u32 = 21;

/// `VHOST_USER_BACKEND_CONFIG_CHANGE_MSG`.
const CONFIG_CHANGE: u32 = 2;

/// Version 1 of the protocol, without a request for an answer.
const FLAGS: u32 = 1;

/// As much as a message may bring: a file for each of 8 regions of memory.
const FILES: usize = 8;

/// The channel of the front end that is connected, if it has one.
#[derive(Clone, Default)]
pub(super) struct Channel(Arc<Mutex<Option<OwnedFd>>>);

impl Channel {
    /// Waits for the next message, leaves it unread, and keeps its file if it is the one of the channel.
    pub(super) fn look(&self, stream: &UnixStream) {
        let mut header = [0; HEADER];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES))];
        let mut files = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::PEEK | RecvFlags::CMSG_CLOEXEC;
        // A failure shows again where the message is read.
        let Ok(received) = recvmsg(stream, &mut [IoSliceMut::new(&mut header)], &mut files, flags) else { return };
        let request = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]);
        if received.bytes < HEADER || request != SET_BACKEND_REQ_FD {
            return;
        }
        let files = files.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(files) => Some(files),
            _ => None,
        });
        if let Some(file) = files.flatten().next() {
            *self.file() = Some(file);
        }
    }

    /// Forgets the front end's file.
    pub(super) fn close(&self) {
        *self.file() = None;
    }

    /// Tells the front end to read the configuration again. A front end without a channel, or that doesn't read it, isn't notified.
    pub(super) fn tell_of_change(&self) {
        let Some(file) = &*self.file() else { return };
        let message = [CONFIG_CHANGE, FLAGS, 0].map(u32::to_ne_bytes);
        if let Err(error) = send(file, message.as_flattened(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            log::warn!("a machine could not be told that its disk has another size: {error}");
        }
    }

    fn file(&self) -> MutexGuard<'_, Option<OwnedFd>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
