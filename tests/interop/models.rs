//! Readers and writers of the data that share no code with us: OpenSSL through Python's `cryptography`, with the
//! parameters from the header, and dissect.fve, which reads the header itself.

use serde_json::{Value, json};

use crate::common::{hex, pipe};

/// A run of sectors in a file, and how they are encrypted.
#[derive(Clone)]
pub struct Run {
    pub path: String,
    pub offset: u64,
    pub len: usize,
    pub key: Vec<u8>,
    pub cipher: String,
    pub sector_size: u64,
    /// The number of the first sector, in units of 512 bytes.
    pub first: u64,
}

impl Run {
    fn job(&self) -> Value {
        json!({
            "path": self.path, "offset": self.offset, "len": self.len, "key": hex(&self.key), "cipher": self.cipher,
            "size": self.sector_size, "first": self.first,
        })
    }
}

const LOOP: &str = "
for run in json.loads(sys.stdin.readline()):
    key, size = bytes.fromhex(run['key']), run['size']
    with open(run['path'], 'r+b') as image:
        image.seek(run['offset'])
        if 'plain' in run:
            image.write(sectors(run['cipher'], key, run['first'], size, bytes.fromhex(run['plain'])))
        else:
            sys.stdout.buffer.write(sectors(run['cipher'], key, run['first'], size, image.read(run['len']), False))
";

fn openssl() -> String {
    [include_str!("../common/dm_crypt.py"), LOOP].concat()
}

/// OpenSSL's output for each run.
pub fn decrypt(python: &str, runs: &[Run]) -> Vec<Vec<u8>> {
    let jobs: Vec<Value> = runs.iter().map(Run::job).collect();
    let out = pipe(python, &["-c", &openssl()], serde_json::to_string(&jobs).unwrap().as_bytes());
    split(&out, runs.iter().map(|run| run.len))
}

/// Has OpenSSL encrypt into each run.
pub fn encrypt(python: &str, runs: &[(Run, &[u8])]) {
    let job = |(run, plain): &(Run, &[u8])| {
        assert_eq!(run.len, plain.len());
        let mut job = run.job();
        job["plain"] = hex(plain).into();
        job
    };
    let jobs: Vec<Value> = runs.iter().map(job).collect();
    pipe(python, &["-c", &openssl()], serde_json::to_string(&jobs).unwrap().as_bytes());
}

/// The start of a volume, for dissect.fve to open.
pub struct Start {
    pub header: String,
    pub data: String,
    pub passphrase: String,
    pub len: usize,
}

const DISSECT: &str = "
import json, sys
from dissect.fve.luks import LUKS
for start in json.loads(sys.stdin.readline()):
    with open(start['header'], 'rb') as header, open(start['data'], 'rb') as data:
        luks = LUKS(header)
        luks.unlock_with_passphrase(start['passphrase'])
        luks.fh = data
        sys.stdout.buffer.write(luks.open().read(start['len']))
";

/// The content of each as dissect.fve reads it.
pub fn dissect(python: &str, starts: &[Start]) -> Vec<Vec<u8>> {
    let job = |s: &Start| json!({ "header": s.header, "data": s.data, "passphrase": s.passphrase, "len": s.len });
    let jobs: Vec<Value> = starts.iter().map(job).collect();
    let out = pipe(python, &["-c", DISSECT], serde_json::to_string(&jobs).unwrap().as_bytes());
    split(&out, starts.iter().map(|start| start.len))
}

fn split(out: &[u8], lens: impl Iterator<Item = usize>) -> Vec<Vec<u8>> {
    let mut rest = out;
    let parts = lens
        .map(|len| {
            let (part, others) = rest.split_at_checked(len).expect("less came out than went in");
            rest = others;
            part.to_vec()
        })
        .collect();
    assert!(rest.is_empty(), "{} bytes more than asked for", rest.len());
    parts
}
