//! moto's server. It keeps all in memory.

use std::process::Child;
use std::time::Duration;

use atrest_http::{Client, Deadline, Hidden, HttpOptions, Method, Request};
use atrest_kms::{AccessKey, AwsCredentials, AwsKms, AwsOptions};

use crate::proxy::Fate;
use crate::{emulators, peers};

pub const SECRET: &str = "secret-access-key-of-a-test";

pub struct Moto {
    pub port: u16,
    child: Child,
}

impl Moto {
    /// A new one with a key of the alias `disks`; `None` if it isn't installed.
    pub fn start() -> Option<Self> {
        peers::peer("moto_server", &["--help"])?;
        let (port, child) = emulators::start(emulators::moto);
        let moto = Moto { port, child };
        let key = moto.create_key();
        moto.ask("CreateAlias", &format!(r#"{{"AliasName":"alias/disks","TargetKeyId":"{key}"}}"#));
        Some(moto)
    }

    pub fn vault(&self) -> AwsKms {
        AwsKms::new(&options(self.port)).unwrap()
    }

    /// Asks without a signature worth the name: moto looks only whether there is one.
    pub fn ask(&self, action: &str, body: &str) -> String {
        let client = Client::new(&HttpOptions::new()).unwrap();
        let signed =
            "AWS4-HMAC-SHA256 Credential=AKID/20200101/us-east-1/kms/aws4_request, SignedHeaders=host, Signature=0";
        let request = Request::new(Method::Post, format!("http://127.0.0.1:{}/", self.port), 1 << 20);
        let request = request.header("content-type", "application/x-amz-json-1.1").header("authorization", signed);
        let request = request.header("x-amz-target", format!("TrentService.{action}")).body(body.as_bytes());
        let answer = client.send(Deadline::after(Duration::from_secs(30)), &request).unwrap();
        let text = String::from_utf8(answer.body).unwrap();
        assert_eq!(answer.status, 200, "{action}: {text}");
        text
    }

    /// A new key's id.
    pub fn create_key(&self) -> String {
        let answer = self.ask("CreateKey", "{}");
        let rest = answer.split_once("\"KeyId\": \"").unwrap_or_else(|| panic!("{answer}")).1;
        rest.split_once('"').unwrap().0.to_owned()
    }

    /// Points the alias to a new key.
    pub fn rotate(&self) {
        let key = self.create_key();
        self.ask("UpdateAlias", &format!(r#"{{"AliasName":"alias/disks","TargetKeyId":"{key}"}}"#));
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn credentials() -> AwsCredentials {
    AwsCredentials::access_key(AccessKey::new("AKID", Hidden::new(SECRET)).session_token(Hidden::new("session-token")))
}

/// Options of patient calls to a server at this port.
pub fn options(port: u16) -> AwsOptions {
    let options = AwsOptions::new("us-east-1", credentials()).endpoint(format!("http://127.0.0.1:{port}"));
    let http = HttpOptions::new().attempt_timeout(Duration::from_secs(2));
    options.http(http.waits(Duration::from_millis(5), Duration::from_millis(50)))
}

/// Options of calls that end soon.
pub fn hasty(port: u16) -> AwsOptions {
    let http = HttpOptions::new().attempt_timeout(Duration::from_millis(150));
    let http = http.waits(Duration::from_millis(50), Duration::from_millis(50));
    options(port).http(http).deadline(Duration::from_millis(400))
}

pub fn answer(status: &str, body: &str) -> Fate {
    Fate::Answer(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()))
}

/// An error, as KMS answers it.
pub fn error(code: &str, text: &str) -> Fate {
    answer("400 Bad Request", &format!(r#"{{"__type":"{code}","message":"{text}"}}"#))
}
