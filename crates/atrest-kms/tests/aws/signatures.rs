//! Signatures, compared with those of AWS's own library.

use std::sync::{Arc, Mutex};

use atrest::KeyVault;
use atrest_kms::AwsKms;

use crate::peers::{pipe, python};
use crate::proxy::{Fate, Proxy};
use crate::server::{Moto, SECRET, options};

/// Signs a request that was recorded, with the same date and key.
const SIGN: &str = r#"
import sys, json
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
url, headers, body, secret = json.load(sys.stdin)
auth = SigV4Auth(Credentials('AKID', secret), 'kms', 'us-east-1')
request = AWSRequest(method='POST', url=url, headers=headers, data=body)
request.context['timestamp'] = headers['x-amz-date']
print(auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request))
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
        assert_eq!(names, "content-type;host;x-amz-date;x-amz-security-token;x-amz-target");
        let headers: Vec<_> =
            names.split(';').map(|name| format!("\"{name}\": \"{}\"", head.header(name).unwrap())).collect();
        let body = r#""{\"KeyId\":\"alias/disks\"}""#;
        let line = format!("[\"http://127.0.0.1:{port}/\", {{{}}}, {body}, \"{SECRET}\"]", headers.join(", "));
        keep.lock().unwrap().push((line, signature));
        Fate::Forward
    });
    AwsKms::new(&options(proxy.port)).unwrap().describe("disks", None).unwrap();
    let seen = seen.lock().unwrap();
    let expected = String::from_utf8(pipe(&python, &["-c", SIGN], seen[0].0.as_bytes())).unwrap();
    assert_eq!((expected.trim(), seen.len()), (&seen[0].1[..], 1));
}
