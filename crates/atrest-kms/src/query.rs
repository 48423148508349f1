//! The query of a vault's URL.

use atrest::{Error, Result};

/// The parts of a URL: the text before the query, and the values of its names, each at most once and all known.
pub(crate) fn split<'u, const N: usize>(url: &'u str, names: [&str; N]) -> Result<(&'u str, [Option<&'u str>; N])> {
    let (start, query) = url.split_once('?').unwrap_or((url, ""));
    let mut values = [None; N];
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let known = names.iter().position(|known| *known == name);
        match known.map(|at| &mut values[at]) {
            Some(place @ None) if !value.is_empty() => *place = Some(value),
            // Not the value: it may be a secret.
            _ => {
                let text = format!("a vault's URL has each of these once, with a value: {}", names.join(", "));
                return Err(Error::InvalidOption(text));
            }
        }
    }
    Ok((start, values))
}
