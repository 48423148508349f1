//! Signatures, compared with those of AWS's own library.

use atrest::BlockDevice;
use atrest_s3::S3Backend;
use std::sync::{Arc, Mutex};

use crate::peers::{pipe, python};
use crate::proxy::{Fate, Proxy};
use crate::server::{ID, Moto, options};

/// Signs a request that was recorded, with the same date and key.
const SIGN: &str = r#"
import sys, json
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
for line in sys.stdin:
    method, url, headers = json.loads(line)
    auth = S3SigV4Auth(Credentials('AKID', 'SECRET'), 's3', 'us-east-1')
    request = AWSRequest(method=method, url=url, headers=headers)
    request.context['timestamp'] = headers['x-amz-date']
    request.context['payload_signing_enabled'] = True
    auth.payload = lambda request: headers['x-amz-content-sha256']
    canonical = auth.canonical_request(request)
    print(auth.signature(auth.string_to_sign(request, canonical), request))
"#;

#[test]
fn signatures_are_those_of_botocore() {
    let Some(moto) = Moto::start() else { return };
    let Some(python) = python("botocore.auth") else { return };
    let proxy = Proxy::before(moto.port);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (keep, port) = (seen.clone(), proxy.port);
    proxy.rule(move |head| {
        let signed = head.header("authorization").unwrap();
        let signature = signed.rsplit_once("Signature=").unwrap().1.to_owned();
        let names = signed.split("SignedHeaders=").nth(1).unwrap().split(',').next().unwrap();
        let headers: Vec<_> = names
            .split(';')
            .map(|name| format!("\"{name}\": \"{}\"", head.header(name).unwrap().replace('"', "\\\"")))
            .collect();
        let (method, target) = (&head.method, &head.target);
        let url = format!("http://127.0.0.1:{port}{target}");
        let line = format!("[\"{method}\", \"{url}\", {{{}}}]\n", headers.join(", "));
        keep.lock().unwrap().push((line, signature));
        Fate::Forward
    });
    let url = format!("s3:http://127.0.0.1:{}/disks/a b+c/ü", proxy.port);
    let backend = S3Backend::new(&url, options().region("us-east-1")).unwrap();
    let device = backend.create_disk(ID, 1 << 20).unwrap();
    device.write_at(0, &[1; 512]).unwrap();
    device.sync().unwrap();
    device.read_at(0, &mut [0; 512]).unwrap();
    device.collect_orphans().unwrap();
    device.close().unwrap();
    let seen = seen.lock().unwrap();
    let input: String = seen.iter().map(|(line, _)| line.as_str()).collect();
    let signatures = String::from_utf8(pipe(&python, &["-c", SIGN], input.as_bytes())).unwrap();
    let expected: Vec<_> = seen.iter().map(|(_, signature)| signature.as_str()).collect();
    assert!(expected.len() >= 8);
    assert_eq!(signatures.split_whitespace().collect::<Vec<_>>(), expected);
}
