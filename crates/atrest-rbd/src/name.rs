//! Names of pools, namespaces and images.

use std::ffi::CString;
use std::fmt;

use atrest::{Error, Result};

/// `pool[/namespace]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) pool: CString,
    pub(crate) namespace: CString,
}

/// `pool[/namespace]/image[@snapshot]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) place: Place,
    pub(crate) image: CString,
    pub(crate) snapshot: Option<CString>,
}

impl Place {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        match parts[..] {
            [pool] => Ok(Place { pool: part(text, pool)?, namespace: CString::default() }),
            [pool, namespace] => Ok(Place { pool: part(text, pool)?, namespace: part(text, namespace)? }),
            _ => Err(malformed(text)),
        }
    }

    pub(crate) fn image(&self, image: &str) -> Result<Name> {
        Ok(Name { place: self.clone(), image: part(image, image)?, snapshot: None })
    }

    /// An image of this place, or a snapshot of one: `image[@snapshot]`.
    pub(crate) fn image_or_snapshot(&self, text: &str) -> Result<Name> {
        let (image, snapshot) = match text.split_once('@') {
            Some((image, snapshot)) => (image, Some(part(text, snapshot)?)),
            None => (text, None),
        };
        Ok(Name { place: self.clone(), image: part(text, image)?, snapshot })
    }
}

impl Name {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let (place, image) = text.rsplit_once('/').ok_or_else(|| malformed(text))?;
        Place::parse(place)?.image_or_snapshot(image)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pool.to_string_lossy())?;
        if self.namespace.is_empty() { Ok(()) } else { write!(f, "/{}", self.namespace.to_string_lossy()) }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.place, self.image.to_string_lossy())?;
        self.snapshot.as_ref().map_or(Ok(()), |snapshot| write!(f, "@{}", snapshot.to_string_lossy()))
    }
}

/// One part of a name. Ceph keeps `/` and `@` as separators.
fn part(whole: &str, text: &str) -> Result<CString> {
    if text.is_empty() || text.len() > 255 || text.contains(['/', '@', '\0']) {
        return Err(malformed(whole));
    }
    CString::new(text).map_err(|_| malformed(whole))
}

fn malformed(text: &str) -> Error {
    Error::InvalidOption(format!(
        "{text:?} names no RBD image or pool; write pool/image or pool/namespace/image, each part of 1 to 255 bytes"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_two_or_three_parts() {
        let name = Name::parse("rbd/tenants/disk@one").unwrap();
        assert_eq!(name.place, Place { pool: c"rbd".into(), namespace: c"tenants".into() });
        assert_eq!((name.image.as_c_str(), name.snapshot.as_deref()), (c"disk", Some(c"one")));
        assert_eq!(name.to_string(), "rbd/tenants/disk@one");
        assert_eq!(Name::parse("rbd/disk").unwrap().to_string(), "rbd/disk");
        for wrong in
            ["", "disk", "/disk", "rbd/", "rbd//disk", "a/b/c/d", "rbd/di\0sk", "rbd/disk@", "r@bd/disk", "rbd/a@b@c"]
        {
            assert!(matches!(Name::parse(wrong), Err(Error::InvalidOption(_))), "{wrong:?}");
        }
    }
}
