//! A server that loses what it hasn't flushed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use atrest::BlockDevice;
use atrest_host::{HazmatPlain, Nbd, Serve, Served};

/// A device in memory with a cache that a crash empties.
pub struct Lossy(Mutex<State>);

struct State {
    durable: Vec<u8>,
    now: Vec<u8>,
    /// The writes since the last sync.
    unsynced: Vec<(u64, Vec<u8>)>,
    noise: u64,
    lost: usize,
    /// Whether the next sync fails.
    fails: bool,
}

impl Lossy {
    pub fn new(size: usize, seed: u64) -> Self {
        let noise = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        Lossy(Mutex::new(State {
            durable: vec![0; size],
            now: vec![0; size],
            unsynced: Vec::new(),
            noise,
            lost: 0,
            fails: false,
        }))
    }

    /// Loses most of what was written since the last sync, in no order.
    pub fn crash(&self) {
        let mut state = self.0.lock().unwrap();
        let mut unsynced = std::mem::take(&mut state.unsynced);
        while !unsynced.is_empty() {
            state.noise ^= state.noise << 13;
            state.noise ^= state.noise >> 7;
            state.noise ^= state.noise << 17;
            let noise = state.noise;
            let (offset, bytes) = unsynced.swap_remove((noise >> 8) as usize % unsynced.len());
            if noise.is_multiple_of(4) {
                state.durable[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
            } else {
                state.lost += 1;
            }
        }
        state.now = state.durable.clone();
    }

    /// Has the next sync fail, and forget what it should have written: it is only in memory then, and no later sync writes it.
    pub fn fail_sync(&self) {
        self.0.lock().unwrap().fails = true;
    }

    /// How many writes were lost.
    pub fn lost(&self) -> usize {
        self.0.lock().unwrap().lost
    }
}

impl BlockDevice for Lossy {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().now.len() as u64)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        bytes.copy_from_slice(&self.0.lock().unwrap().now[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.now[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        state.unsynced.push((offset, bytes.to_vec()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        let unsynced = std::mem::take(&mut state.unsynced);
        if std::mem::take(&mut state.fails) {
            return Err(io::Error::other("this sync was to fail"));
        }
        for (offset, bytes) in unsynced {
            state.durable[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
        }
        Ok(())
    }
}

/// A server of it, as a process that can be killed would be: with a proxy before it, by which its connections end at once.
pub struct LossyServer {
    pub device: Arc<Lossy>,
    socket: PathBuf,
    served: Option<Served>,
}

impl LossyServer {
    pub fn start(socket: &Path, device: Lossy) -> Self {
        let mut server = LossyServer { device: Arc::new(device), socket: socket.into(), served: None };
        server.restart();
        server
    }

    pub fn restart(&mut self) {
        let disk = Arc::new(HazmatPlain(self.device.clone()));
        self.served = Some(Nbd::unix(&self.socket).serve(disk, "disk").unwrap());
    }

    /// To be called after its connections were cut off.
    pub fn kill(&mut self) {
        self.served = None;
        self.device.crash();
    }
}
