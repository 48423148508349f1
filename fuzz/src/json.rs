//! A mutator for texts of JSON: what it changes stays JSON more often than with a mutator of bytes, so that what lies
//! behind the parser is reached.

use core::ops::Range;

use crate::Numbers;

const VALUES: [&str; 28] = [
    "0",
    "1",
    "-1",
    "511",
    "512",
    "4096",
    "16384",
    "4294967295",
    "4294967296",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e400",
    "0.1",
    "null",
    "true",
    "false",
    "\"\"",
    "\"0\"",
    "\"1\"",
    "\"31\"",
    "\"18446744073709551615\"",
    "\"dynamic\"",
    "\"linear\"",
    "[]",
    "{}",
    "[\"0\"]",
    "[\"0\",\"0\"]",
];

/// A value of a text, and where its member or item begins.
struct Value {
    member: usize,
    value: Range<usize>,
}

/// Makes one change in a text of JSON. Texts that are none are changed somewhere.
pub fn mutate(text: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let values = values(text);
    if values.is_empty() {
        return VALUES[numbers.below(VALUES.len())].into();
    }
    let Value { member, value } = &values[numbers.below(values.len())];
    let old = &text[value.clone()];
    let replace = |range: Range<usize>, with: &[u8]| [&text[..range.start], with, &text[range.end..]].concat();
    match numbers.below(8) {
        0 | 1 => replace(value.clone(), VALUES[numbers.below(VALUES.len())].as_bytes()),
        2 => {
            let other = &values[numbers.below(values.len())].value;
            replace(value.clone(), &text[other.clone()])
        }
        // A number, with or without quotes, is changed a little.
        3 | 4 => {
            let bare = String::from_utf8_lossy(old).trim_matches('"').to_owned();
            let Ok(number) = bare.parse::<u64>() else { return replace(value.clone(), b"0") };
            let other = match numbers.below(5) {
                0 => number.wrapping_add(1),
                1 => number.wrapping_sub(1),
                2 => number.wrapping_mul(2),
                3 => number ^ 1 << numbers.below(64),
                _ => numbers.below(1 << 24) as u64 * 512,
            };
            let other = if old.starts_with(b"\"") { format!("\"{other}\"") } else { other.to_string() };
            replace(value.clone(), other.as_bytes())
        }
        5 => {
            // Gone, with the comma behind it.
            let end = value.end + usize::from(text.get(value.end) == Some(&b','));
            replace(*member..end, b"")
        }
        6 => {
            // Twice, or in another place.
            let at = values[numbers.below(values.len())].member;
            let copy = [&text[*member..value.end], b","].concat();
            replace(at..at, &copy)
        }
        _ => {
            let depth = 1 + numbers.below(300);
            replace(value.clone(), &[&b"[".repeat(depth)[..], old, &b"]".repeat(depth)[..]].concat())
        }
    }
}

fn values(text: &[u8]) -> Vec<Value> {
    let mut values = Vec::new();
    let mut open = Vec::new();
    // Where the member or item began that is being read.
    let mut member = None;
    let mut at = 0;
    while at < text.len() {
        let start = at;
        match text[at] {
            b'"' => {
                at += 1;
                while at < text.len() && text[at] != b'"' {
                    at += 1 + usize::from(text[at] == b'\\');
                }
                at = (at + 1).min(text.len());
                let is_name = text[at..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':');
                if is_name {
                    member = Some(start);
                } else {
                    values.push(Value { member: member.take().unwrap_or(start), value: start..at });
                }
            }
            b'{' | b'[' => {
                open.push((member.take().unwrap_or(start), start));
                at += 1;
            }
            b'}' | b']' => {
                at += 1;
                if let Some((member, start)) = open.pop() {
                    values.push(Value { member, value: start..at });
                }
            }
            byte if byte.is_ascii_alphanumeric() || byte == b'-' => {
                while at < text.len() && (text[at].is_ascii_alphanumeric() || b"+-.".contains(&text[at])) {
                    at += 1;
                }
                values.push(Value { member: member.take().unwrap_or(start), value: start..at });
            }
            _ => at += 1,
        }
    }
    values
}

/// Mutates an input that is `skip` bytes and then a text of JSON: mostly the text, by [`mutate`], else any byte.
pub fn mutator(data: &mut [u8], size: usize, max_size: usize, seed: u32, skip: usize) -> usize {
    let mut numbers = Numbers(seed.into());
    if size <= skip || numbers.below(4) == 0 {
        return libfuzzer_sys::fuzzer_mutate(data, size, max_size);
    }
    let mut text = data[skip..size].to_vec();
    for _ in 0..=numbers.below(3) {
        text = mutate(&text, &mut numbers);
    }
    let len = text.len().min(max_size.saturating_sub(skip));
    data[skip..skip + len].copy_from_slice(&text[..len]);
    skip + len
}
