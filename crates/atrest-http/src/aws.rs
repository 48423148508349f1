//! Signature Version 4 of AWS ("Signature Version 4 signing process", IAM user guide).

use std::{fmt, io};

use zeroize::Zeroizing;

use crate::{Hidden, encode_query, hex, hmac_sha256, sha256};

/// An access key, with the token of a session if it is a temporary one.
#[derive(Clone)]
pub struct AccessKey {
    id: String,
    secret: Hidden,
    token: Option<Hidden>,
}

impl AccessKey {
    /// An access key's id and secret.
    pub fn new(id: impl Into<String>, secret: Hidden) -> Self {
        AccessKey { id: id.into(), secret, token: None }
    }

    /// Adds the token of a session.
    pub fn session_token(mut self, token: Hidden) -> Self {
        self.token = Some(token);
        self
    }

    /// The token of a session, which goes into the header `x-amz-security-token`, and is signed.
    pub fn token(&self) -> Option<&Hidden> {
        self.token.as_ref()
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The parts of a request that a signature covers: these five, by the signature's definition (version 4).
pub struct Signing<'r> {
    /// The method.
    pub method: &'r str,
    /// The path as the service signs it: for S3 as it is sent, for others encoded twice.
    pub path: &'r str,
    /// Names and values, not encoded.
    pub query: &'r [(&'r str, &'r str)],
    /// All headers to be signed, with names in lower case: `host` and `x-amz-date` at least.
    pub headers: &'r [(&'r str, String)],
    /// The body's SHA-256 as hexadecimal digits.
    pub body: &'r str,
}

impl Signing<'_> {
    /// The value of the header `Authorization`. `date` is the value of `x-amz-date`: see [`basic_date`](crate::basic_date).
    ///
    /// # Errors
    /// As [`hmac_sha256`].
    ///
    /// # Panics
    /// If `date` has fewer than 8 characters.
    pub fn authorization(&self, key: &AccessKey, region: &str, service: &str, date: &str) -> io::Result<String> {
        let scope = format!("{}/{region}/{service}/aws4_request", &date[..8]);
        let (canonical, signed) = self.canonical();
        let string = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&sha256(canonical.as_bytes())?));
        let first = Zeroizing::new(format!("AWS4{}", key.secret.expose()));
        let mut derived = hmac_sha256(first.as_bytes(), &date.as_bytes()[..8])?;
        for part in [region, service, "aws4_request"] {
            derived = hmac_sha256(derived.expose(), part.as_bytes())?;
        }
        let signature = hex(hmac_sha256(derived.expose(), string.as_bytes())?.expose());
        Ok(format!("AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}", key.id))
    }

    /// The canonical request, and the names of the signed headers.
    fn canonical(&self) -> (Zeroizing<String>, String) {
        let encoded = |(name, value): &(&str, &str)| (encode_query(name), encode_query(value));
        let mut query: Vec<_> = self.query.iter().map(encoded).collect();
        query.sort();
        let query: Vec<_> = query.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut headers: Vec<_> = self.headers.iter().collect();
        headers.sort_by_key(|(name, _)| *name);
        let signed = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let trimmed = |value: &str| value.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        let lines = headers.iter().map(|(name, value)| format!("{name}:{}\n", trimmed(value)));
        // One of the headers is the token of the session.
        let lines: Zeroizing<String> = Zeroizing::new(lines.collect());
        let query = query.join("&");
        let canonical = format!("{}\n{}\n{query}\n{}\n{signed}\n{}", self.method, self.path, *lines, self.body);
        (Zeroizing::new(canonical), signed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn signature(authorization: &str) -> &str {
        authorization.rsplit_once("Signature=").unwrap().1
    }

    /// `get-vanilla`, `get-vanilla-query-order-key-case`, `post-vanilla` and `get-utf8` of AWS's test suite of Signature
    /// Version 4.
    #[test]
    fn signatures_are_those_of_the_test_suite() {
        let key = AccessKey::new("AKIDEXAMPLE", Hidden::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"));
        let date = "20150830T123600Z";
        let headers = [("host", "example.amazonaws.com".to_owned()), ("x-amz-date", date.to_owned())];
        let sign = |method, path, query| {
            let signing = Signing { method, path, query, headers: &headers, body: EMPTY };
            signing.authorization(&key, "us-east-1", "service", date).unwrap()
        };
        assert_eq!(
            sign("GET", "/", &[]),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, \
             Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        );
        for (method, path, query, expected) in [
            (
                "GET",
                "/",
                &[("Param2", "value2"), ("Param1", "value1")][..],
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            ("POST", "/", &[], "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
            ("GET", "/%E1%88%B4", &[], "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
        ] {
            assert_eq!(signature(&sign(method, path, query)), expected, "{method} {path}");
        }
    }

    /// The examples of "Signature Calculations for the Authorization Header" in the reference of S3.
    #[test]
    fn signatures_are_those_of_the_reference_of_s3() {
        let key = AccessKey::new("AKIAIOSFODNN7EXAMPLE", Hidden::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"));
        let date = "20130524T000000Z";
        let sign = |method, path, query, more: &[(&'static str, &str)], body| {
            let mut headers =
                vec![("host", "examplebucket.s3.amazonaws.com".to_owned()), ("x-amz-date", date.to_owned())];
            headers.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
            headers.push(("x-amz-content-sha256", String::from(body)));
            let signing = Signing { method, path, query, headers: &headers, body };
            signature(&signing.authorization(&key, "us-east-1", "s3", date).unwrap()).to_owned()
        };
        assert_eq!(
            sign("GET", "/test.txt", &[], &[("range", "bytes=0-9")], EMPTY),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
        let body = hex(&sha256(b"Welcome to Amazon S3.").unwrap());
        assert_eq!(body, "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072");
        let more = [("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")];
        assert_eq!(
            sign("PUT", "/test%24file.text", &[], &more, &body),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        );
        assert_eq!(
            sign("GET", "/", &[("lifecycle", "")], &[], EMPTY),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        );
        assert_eq!(
            sign("GET", "/", &[("max-keys", "2"), ("prefix", "J")], &[], EMPTY),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
    }

    #[test]
    fn secrets_are_not_shown() {
        let key = AccessKey::new("AKID", Hidden::new("SECRET")).session_token(Hidden::new("TOKEN"));
        assert_eq!(format!("{key:?}"), "AccessKey { id: \"AKID\", .. }");
    }
}
