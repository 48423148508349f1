//! moto and Azurite, emulators of S3 and of Azure's blobs, as programs of a test.

#![allow(dead_code)] // each test program uses its part

#[path = "listening.rs"]
mod listening;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

#[allow(unused_imports, reason = "each test program uses its part")]
pub use listening::{listening, start};

/// The account of Azurite, and its well-known key.
pub const ACCOUNT: &str = "devstoreaccount1";
pub const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// moto's server. It keeps all in memory.
pub fn moto(port: u16) -> Command {
    let mut command = Command::new("moto_server");
    command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
    command
}

/// Azurite's blob service, which keeps all in a folder.
pub fn azurite(folder: &Path, port: u16) -> Command {
    let mut command = Command::new("azurite-blob");
    command.args(["--silent", "--skipApiVersionCheck", "--disableTelemetry", "--blobHost", "127.0.0.1", "--blobPort"]);
    command.arg(port.to_string()).arg("--location").arg(folder);
    command
}

/// Makes a bucket of moto's, which looks only whether there is a signature.
pub fn make_bucket(port: u16, name: &str) {
    let signed = "AWS4-HMAC-SHA256 Credential=AKID/20200101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
    send(port, "PUT", &format!("/{name}"), &format!("authorization: {signed}\r\n"));
}

/// Makes a container of Azurite's.
pub fn make_container(port: u16, name: &str) {
    send(port, "PUT", &format!("/{ACCOUNT}/{name}?restype=container&{SAS}"), "x-ms-version: 2022-11-02\r\n");
}

/// How many blobs a container of Azurite's has.
pub fn count_blobs(port: u16, container: &str) -> usize {
    let path = format!("/{ACCOUNT}/{container}?restype=container&comp=list&{SAS}");
    send(port, "GET", &path, "x-ms-version: 2022-11-02\r\n").matches("<Blob>").count()
}

/// "Create an account SAS", for containers and blobs of Azurite's account: all rights, from 2020 to 2099. It is signed by the
/// well-known key.
const SAS: &str = "sv=2020-08-04&ss=b&srt=sco&sp=rwdlac&st=2020-01-01T00%3A00%3A00Z&se=2099-01-01T00%3A00%3A00Z&spr=https%2Chttp\
    &sig=JAxgQZsc6imr9R3HrDTg4G71700iSnrSTDgEWtEbCsQ%3D";

/// Sends a request without a body, which must succeed, and returns the answer.
fn send(port: u16, method: &str, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let end = "content-length: 0\r\nconnection: close\r\n\r\n";
    let request = format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n{headers}{end}");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 2"), "{method} {path}: {answer}");
    answer
}
