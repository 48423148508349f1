//! The address of objects: the URL of a bucket and a prefix in it.

use std::io;

use atrest_http::{encode_path, encode_query, is_loopback};

use crate::failure::invalid;

/// A bucket and a prefix of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// `https://s3.eu-central-1.amazonaws.com`
    pub origin: String,
    pub host: String,
    pub bucket: String,
    /// Empty, or ends with a slash.
    pub prefix: String,
    pub region: Option<String>,
}

impl Address {
    /// Reads `s3:https://ENDPOINT/BUCKET[/PREFIX][?region=REGION]`.
    pub fn parse(url: &str) -> io::Result<Self> {
        let form = || invalid("the URL isn't s3:https://ENDPOINT/BUCKET[/PREFIX][?region=REGION]");
        let rest = url.strip_prefix("s3:").ok_or_else(form)?;
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
        let region = match query {
            None => None,
            Some(query) => Some(query.strip_prefix("region=").ok_or_else(|| {
                invalid("the URL's query isn't region=REGION; give credentials by options or the environment")
            })?),
        };
        if rest.contains(['#', '@']) {
            return Err(invalid("a URL must hold no credentials; give them by options or the environment"));
        }
        let (scheme, rest) = rest.split_once("://").ok_or_else(form)?;
        let (host, path) = rest.split_once('/').ok_or_else(form)?;
        match scheme {
            "https" => {}
            "http" if is_loopback(host) => {}
            "http" => return Err(invalid("http: is for this machine only; use https:")),
            _ => return Err(form()),
        }
        if host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte)) {
            return Err(invalid(format!("{host:?} isn't a host")));
        }
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        // "General purpose bucket naming rules" in the user guide.
        let named = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
        if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(named) || bucket.contains("..") {
            return Err(invalid(format!("{bucket:?} isn't a bucket's name")));
        }
        let word = |text: &&str| {
            !text.is_empty() && text.len() < 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if region.is_some_and(|region| !word(&region)) {
            return Err(invalid("the region isn't well formed"));
        }
        let prefix = prefix.trim_matches('/');
        let dots = prefix.split('/').any(|part| part == "." || part == "..");
        if prefix.len() > 800 || dots || prefix.chars().any(char::is_control) {
            return Err(invalid("the prefix can't be part of a key"));
        }
        Ok(Address {
            origin: format!("{scheme}://{host}"),
            host: host.into(),
            bucket: bucket.into(),
            prefix: if prefix.is_empty() { String::new() } else { format!("{prefix}/") },
            region: region.map(str::to_owned),
        })
    }

    /// The path of an object, or of the bucket, as it is sent and signed.
    pub fn path(&self, key: Option<&str>) -> String {
        match key {
            Some(key) => format!("/{}/{}", self.bucket, encode_path(key)),
            None => format!("/{}", self.bucket),
        }
    }

    /// The URL of a path with a query.
    pub fn url(&self, path: &str, query: &[(&str, &str)]) -> String {
        let mut url = format!("{}{path}", self.origin);
        for (index, (name, value)) in query.iter().enumerate() {
            url.push(if index == 0 { '?' } else { '&' });
            url.push_str(&format!("{}={}", encode_query(name), encode_query(value)));
        }
        url
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_an_endpoint_a_bucket_and_a_prefix() {
        let url = "s3:https://s3.eu-central-1.amazonaws.com/disks/a/b/?region=eu-central-1";
        let real = Address::parse(url).unwrap();
        assert_eq!((real.bucket.as_str(), real.prefix.as_str()), ("disks", "a/b/"));
        assert_eq!(real.region.as_deref(), Some("eu-central-1"));
        assert_eq!(real.path(Some("a/x y")), "/disks/a/x%20y");
        let local = Address::parse("s3:http://127.0.0.1:5000/disks").unwrap();
        assert_eq!((local.host.as_str(), local.region), ("127.0.0.1:5000", None));
    }

    #[test]
    fn other_urls_are_refused() {
        for url in [
            "https://s3.amazonaws.com/disks",
            "s3:http://s3.amazonaws.com/disks",
            "s3:https://key:secret@s3.amazonaws.com/disks",
            "s3:https://s3.amazonaws.com/disks?X-Amz-Signature=abc",
            "s3:https://s3.amazonaws.com/disks?region=a/b",
            "s3:https://s3.amazonaws.com/disks?region=",
            "s3:https://s3.amazonaws.com/Disks",
            "s3:https://s3.amazonaws.com/d",
            "s3:https://s3.amazonaws.com/disks/../x",
            "s3:https://s3.amazonaws.com",
            "s3:https:///disks",
            "s3:",
        ] {
            assert!(Address::parse(url).is_err(), "{url}");
        }
    }
}
