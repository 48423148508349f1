//! Ways in for the fuzzers of this project. They may change in any release.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::channel::{self, Both};
use crate::connection::{Command, Connection, Outcome, Target};
use crate::handshake;
use crate::log::{Begun, Change, Log};
use crate::socket::{Patience, Socket};
use crate::wire::{BLOCK_STATUS, FLUSH, READ, WRITE};

/// How long the reads of [`nbd_client`] are.
pub const READS: [usize; 2] = [8192, 70_000];

/// How the callers of [`nbd_client`] wait for their replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callers {
    /// Each in a thread of its own, as in a program. The threads take most of the time.
    Threads,
    /// By turns, in one thread.
    Turns,
}

/// How long a caller sleeps in its turn while another one has to read.
const TURN: Duration = Duration::from_micros(50);

/// Talks NBD with a server that sends these bytes whatever it receives, and then ends. Returns which of two reads were answered.
pub fn nbd_client(lists: bool, callers: Callers, sent: &[u8]) -> [bool; 2] {
    let nothing = [false; 2];
    let Ok((client, mut server)) = UnixStream::pair() else { return nothing };
    // Bytes that don't fit into the socket's buffer are never sent.
    let _ = server.set_nonblocking(true);
    let _ = server.write(sent);
    let _ = server.shutdown(Shutdown::Write);
    let Ok(socket) = Socket::Unix(client).with_tick(Duration::from_secs(1)) else { return nothing };
    let socket = Arc::new(socket);
    let (mut sender, mut receiver) = channel::plain(&socket);
    let until = Instant::now() + Duration::from_secs(5);
    let patience = Patience { until, is_over: &|| false };
    let mut both = Both { sender: &mut sender, receiver: &mut receiver, patience };
    let Ok(greeted) = handshake::greet(&mut both) else { return nothing };
    if lists {
        let _ = handshake::list(&mut both, greeted);
        return nothing;
    }
    let Ok(export) = handshake::choose(&mut both, greeted, "disk") else { return nothing };
    let log = Arc::new(Log::new(1 << 20, true));
    let connection = Connection::new(socket, sender, receiver, &export, log.clone());
    let data = log.copy(&[std::io::IoSlice::new(&[3; 512])]);
    let change = Change { kind: WRITE, flags: 0, offset: 0, len: 512, data: Some(data.clone()) };
    let Begun::As(number) = log.begin(&change, until) else { return nothing };
    let mut extents = Vec::new();
    let mut reads = READS.map(|len| vec![0; len]);
    let [one, other] = &mut reads;
    let of = |kind, offset, len| Command { kind, offset, len, ..Command::default() };
    let commands = [
        (of(READ, 4096, READS[0] as u32), Target::Bytes(one)),
        (of(READ, 0, READS[1] as u32), Target::Bytes(other)),
        (of(BLOCK_STATUS, 0, 1 << 20), Target::Extents(&mut extents)),
        (Command { data: Some(data), change: Some(number), ..of(WRITE, 0, 512) }, Target::Nowhere),
        (of(FLUSH, 0, 0), Target::Nowhere),
    ];
    let submitted: Vec<_> =
        commands.into_iter().map(|(command, to)| (connection.submit(&command, until), to)).collect();
    // Each by a caller of its own, as long replies need.
    let mut answered = [false; 5];
    let mut waiting = Vec::new();
    for ((submitted, to), answered) in submitted.into_iter().zip(&mut answered) {
        waiting.extend(submitted.ok().map(|index| Caller { index, to, answered }));
    }
    match callers {
        Callers::Threads => std::thread::scope(|scope| {
            let connection = &connection;
            for mut caller in waiting {
                scope.spawn(move || caller.wait(connection, until, true));
            }
        }),
        Callers::Turns => {
            while Instant::now() < until && !waiting.is_empty() {
                waiting.retain_mut(|caller| !caller.wait(&connection, until.min(Instant::now() + TURN), false));
            }
        }
    }
    [answered[0], answered[1]]
}

struct Caller<'a> {
    index: usize,
    to: Target<'a>,
    answered: &'a mut bool,
}

impl Caller<'_> {
    /// Says whether it needn't come back.
    fn wait(&mut self, connection: &Connection, until: Instant, gives_up: bool) -> bool {
        let outcome = connection.wait(self.index, &mut self.to, until, gives_up);
        *self.answered = matches!(outcome, Outcome::Replied(None));
        gives_up || !matches!(outcome, Outcome::TimedOut)
    }
}
