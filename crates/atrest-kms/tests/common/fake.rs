//! A fake of a key service: a program in Python that a test talks to, and what its tests have in common.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use atrest_http::{Client, Deadline, HttpOptions, Method, Request};

use crate::peers::{python, run, text};
use crate::proxy::Fate;

/// It keeps all in memory.
pub struct Fake {
    pub port: u16,
    child: Child,
    http: HttpOptions,
    scheme: &'static str,
}

impl Fake {
    /// A new one, by its program's file; `None` if Python has no pyca/cryptography. `tls` has the files of a certificate and its key, and
    /// options of HTTP that trust it.
    pub fn run(program: &str, tls: Option<([&str; 2], HttpOptions)>) -> Option<Self> {
        let mut command = Command::new(python("cryptography")?);
        command.arg(program);
        let (http, scheme) = match tls {
            Some((files, http)) => {
                command.args(files);
                (http, "https")
            }
            None => (HttpOptions::new(), "http"),
        };
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Some(Fake { port: line.trim().parse().expect("the fake's port"), child, http, scheme })
    }

    pub fn address(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// Tells the fake something. Returns what it says of itself.
    pub fn tell(&self, order: &str) -> String {
        let client = Client::new(&self.http).unwrap();
        let url = format!("{}/test", self.address());
        let request = Request::new(Method::Post, url, 1 << 20).body(order.as_bytes());
        let answer = client.send(Deadline::after(Duration::from_secs(60)), &request).unwrap();
        assert_eq!(answer.status, 200, "{order}");
        String::from_utf8(answer.body).unwrap()
    }

    /// How many tokens it gave.
    pub fn logins(&self) -> u32 {
        let said = self.tell(r#"{"op":""}"#);
        let rest = said.split_once("\"logins\": ").unwrap().1;
        rest.split([',', '}']).next().unwrap().parse().unwrap()
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        // One that was killed says nothing.
        let there = !std::thread::panicking() && self.child.try_wait().unwrap().is_none();
        let said = there.then(|| self.tell(r#"{"op":""}"#));
        let _ = self.child.kill();
        let _ = self.child.wait();
        let silent = said.as_ref().is_none_or(|said| said.contains("\"complaints\": []"));
        assert!(silent, "requests aren't of the documented form: {said:?}");
    }
}

/// Options of HTTP of patient calls.
pub fn patient() -> HttpOptions {
    let http = HttpOptions::new().attempt_timeout(Duration::from_secs(5));
    http.waits(Duration::from_millis(5), Duration::from_millis(50))
}

/// Options of HTTP of calls that end soon.
pub fn hasty() -> HttpOptions {
    let http = HttpOptions::new().attempt_timeout(Duration::from_millis(150));
    http.waits(Duration::from_millis(50), Duration::from_millis(50))
}

/// Options of HTTP by which a call has one attempt: a second one would begin after its deadline.
pub fn once(http: HttpOptions) -> HttpOptions {
    http.waits(Duration::from_secs(600), Duration::from_secs(600))
}

pub fn answer(status: &str, body: &str) -> Fate {
    let head = format!("content-length: {}\r\nconnection: close", body.len());
    Fate::Answer(format!("HTTP/1.1 {status}\r\n{head}\r\n\r\n{body}"))
}

/// A server that has too much to do, and wants to be left alone for so many seconds.
pub fn throttled(seconds: u32) -> Fate {
    let head = format!("retry-after: {seconds}\r\ncontent-length: 0\r\nconnection: close");
    Fate::Answer(format!("HTTP/1.1 429 Too Many Requests\r\n{head}\r\n\r\n"))
}

/// Makes a certificate of this machine that signs itself, and its key. Returns their files.
pub fn certificate(openssl: &str, folder: &Path, name: &str) -> [String; 2] {
    let [key, certificate] = ["key", "pem"].map(|end| folder.join(format!("{name}.{end}")));
    let request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=fake"];
    let more = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"];
    run(openssl, &[&request[..], &more, &["-keyout", text(&key), "-out", text(&certificate)]].concat());
    [text(&certificate).to_owned(), text(&key).to_owned()]
}

/// Options of HTTP that trust the certificate in this file.
pub fn trusting(file: &str) -> HttpOptions {
    HttpOptions::new().root_certificates(std::fs::read(file).unwrap())
}

pub fn unhex(digits: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}
