//! Reading: written records come back, in order, in pages.

use super::super::shared::{
    Action, Change, MAX_COMMIT, MAX_COMMIT_BYTES, MAX_KEY, MAX_PAGE, MAX_VALUE, Outcome, Revision,
};
use super::world::World;
use crate::{Error, Result};

/// Nothing asked for is nothing answered, and no error.
pub fn nothing(world: &World<'_>) {
    let client = world.client();
    assert_eq!(client.get(&[]), []);
    assert_eq!(client.page("", None, 1), []);
    assert_eq!(client.commits(Vec::new()), []);
    assert!(!client.store.deadline().is_zero(), "the deadline is 0: no call can end by then");
}

/// Values are any bytes, without special ones, up to the longest value.
pub fn values(world: &World<'_>) {
    let client = world.client();
    let all: Vec<u8> = (0..=255).collect();
    let largest: Vec<u8> = (0..MAX_VALUE).map(|at| (at * 31 % 251) as u8).collect();
    let values =
        [&b""[..], b"\0", b"a\0b\0\0", b"\\x00\\'\";--", "\u{feff}é".as_bytes(), &all, &[0xff; 4096], &largest];
    for (number, value) in values.iter().enumerate() {
        let key = number.to_string();
        client.create(&key, value);
        let found = client.value(&key);
        assert!(found.as_deref() == Some(*value), "value {number} of {} bytes comes back as another", value.len());
    }
    let page = client.page("", None, values.len());
    assert!(page.iter().map(|record| record.value.as_slice()).eq(values), "list has other values than get");
}

/// Answers have the order of the keys that were asked for, also when one is asked for twice.
pub fn get(world: &World<'_>) {
    let client = world.client();
    let keys: Vec<String> = (0..MAX_COMMIT).map(|n| format!("{:02}", (n * 37) % MAX_COMMIT)).collect();
    let even = |key: &&String| key.parse::<usize>().is_ok_and(|n| n.is_multiple_of(2));
    client.commits(keys.iter().filter(even).map(|key| client.put(key, None, key.as_bytes())).collect());
    let found = client.get(&keys.iter().map(String::as_str).collect::<Vec<_>>());
    for (key, record) in keys.iter().zip(found) {
        let expected = Some(key).filter(even).map(|key| key.as_bytes().to_vec());
        assert_eq!(record.map(|record| record.value), expected, "get({key:?}) among {MAX_COMMIT}");
    }
    let twice = client.get(&["02", "01", "02"]);
    assert!(
        twice[0].is_some() && twice[0] == twice[2] && twice[1].is_none(),
        "a key that is asked for twice: {twice:?}"
    );
}

/// Keys that an engine may take for something else. All are told apart.
pub fn keys(world: &World<'_>) {
    let client = world.client();
    let longest = "k".repeat(MAX_KEY - client.key("").len());
    let odd = [
        " ",
        "  ",
        "a",
        "a ",
        " a",
        "A",
        "á",
        "a\u{301}",
        "%",
        "_",
        "a%",
        "a_b",
        "axb",
        "\\",
        "\\x41",
        "'",
        "\"",
        "';--",
        "$1",
        "*",
        "?",
        "[a]",
        "/",
        "//",
        "a/",
        "a/b",
        "a//b",
        ".",
        "..",
        "../a",
        "{}",
        "null",
        "0",
        "00",
        "é",
        "\u{80b}",
        "ß",
        "ẞ",
        "\u{feff}",
        "\u{ffff}",
        "\u{10ffff}",
        "日本",
        "🔑",
        &longest,
    ];
    for key in odd {
        assert!(
            client.try_commit(&[client.put(key, None, key.as_bytes())]).is_some(),
            "the key {key:?} is taken for another"
        );
    }
    for key in odd {
        assert_eq!(client.value(key).as_deref(), Some(key.as_bytes()), "the value of the key {key:?}");
        let page = client.page(key, None, 1);
        assert_eq!(page.first().map(|record| record.key.as_str()), Some(key), "the first key of the prefix {key:?}");
    }
}

/// Keys are in the order of their bytes, and not in that of a language.
pub fn order(world: &World<'_>) {
    let client = world.client();
    let mut keys: Vec<String> =
        ["B", "a", "Z", "z", "é", "e", "f", "ä", "~", "-", "a-b", "ab", "a b", "a", "a!", "10", "9", "日", "😀"]
            .map(str::to_owned)
            .into();
    keys.extend(["\u{80b}", "\u{7ff}", "\u{800}", "\u{ffff}", "\u{10000}", "\u{10ffff}"].map(str::to_owned));
    keys.extend((0..20).map(|n| format!("long/{}{n}", "x".repeat(40 * n))));
    keys.sort();
    keys.dedup();
    // Written in another order.
    for n in 0..keys.len() {
        client.create(&keys[(n * 17) % keys.len()], b"");
    }
    assert_eq!(client.all(""), keys, "list isn't in the order of the keys' bytes");
}

/// A prefix takes the keys that begin with it, and no neighbour.
pub fn prefixes(world: &World<'_>) {
    let client = world.client();
    let mut keys = vec![
        "a",
        "a/",
        "a/1",
        "a/\u{10ffff}",
        "a/é",
        "a0",
        "ab",
        "b",
        "é",
        "éa",
        "\u{7f0}",
        "\u{10ffff}",
        "\u{10ffff}a",
    ];
    for key in &keys {
        client.create(key, b"");
    }
    keys.sort_unstable();
    for prefix in [
        "",
        "a",
        "a/",
        "a/1",
        "a/2",
        "a/\u{10ffff}",
        "a0",
        "b",
        "c",
        "é",
        "\u{7f0}",
        "\u{10ffff}",
        "\u{10ffff}a",
        "\u{10ffff}b",
    ] {
        let expected: Vec<&str> = keys.iter().copied().filter(|key| key.starts_with(prefix)).collect();
        assert_eq!(client.all(prefix), expected, "the keys of the prefix {prefix:?}");
    }
    // No prefix at all is all of the store, other people's records among them.
    let own = client.key("");
    let (page, deadline) = (client.store.list("", Some(&own), keys.len()), "list without a prefix");
    let page = page.unwrap_or_else(|e| panic!("{deadline} failed: {e:#}"));
    let found: Vec<&str> = page.iter().filter_map(|record| record.key.strip_prefix(&own)).collect();
    assert_eq!(found, keys, "{deadline}, after {own:?}");
}

/// Pages of all sizes have each record once. A page that isn't full is the last one.
pub fn pages(world: &World<'_>) {
    let client = world.client();
    let keys: Vec<String> = (0..3 * MAX_COMMIT + 8).map(|n| format!("p/{n:04}")).collect();
    for some in keys.chunks(MAX_COMMIT) {
        client.commits(some.iter().map(|key| client.put(key, None, key.as_bytes())).collect());
    }
    client.create("o", b"a neighbour");
    client.create("q", b"a neighbour");
    for limit in [1, 7, 50, keys.len() - 1, keys.len(), keys.len() + 1, MAX_PAGE] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = client.page("p/", after.as_deref(), limit);
            let last = page.len() < limit;
            found.extend(page.into_iter().map(|record| record.key));
            after = found.last().cloned();
            if last {
                break;
            }
            assert!(found.len() <= keys.len(), "pages of {limit} don't end");
        }
        assert_eq!(found, keys, "pages of {limit}");
    }
    let first = |after: &str| client.page("p/", Some(after), 1).pop().map(|record| record.key);
    assert_eq!(first("p/0003").as_deref(), Some("p/0004"), "the key to come after isn't in the page itself");
    assert_eq!(first("p/0003x").as_deref(), Some("p/0004"), "the key to come after need not exist");
    assert_eq!(first("a").as_deref(), Some("p/0000"), "the key to come after may stand before the prefix");
    assert_eq!(first("p/"), Some("p/0000".into()), "the key to come after may be the prefix");
    assert_eq!(first("q"), None, "the key to come after may stand behind the prefix");
    assert_eq!(first(&keys[keys.len() - 1]), None, "nothing comes after the last");
}

/// A call beyond the limits, or one that makes no sense, fails with [`Error::InvalidOption`] and changes nothing.
pub fn limits(world: &World<'_>) {
    let client = world.client();
    let store = &client.store;
    fn refused<T: std::fmt::Debug>(what: &str, result: Result<T>) {
        assert!(
            matches!(result, Err(Error::InvalidOption(_))),
            "{what} isn't refused by Error::InvalidOption: {result:?}"
        );
    }
    let first = client.put("first", None, b"");
    let commit = |what: &str, other: Vec<Change>| {
        refused(what, store.commit(&[vec![first.clone()], other].concat()));
    };
    let long = "k".repeat(MAX_KEY + 1);
    for (what, key) in [
        ("an empty key", ""),
        ("a long key", &long),
        ("NUL in a key", "a\0b"),
        ("a line feed in a key", "a\n"),
        ("U+0085 in a key", "a\u{85}"),
    ] {
        refused(what, store.get(&[key]));
        commit(what, vec![Change { key: key.into(), expected: None, action: Action::Put(Vec::new()) }]);
        if !key.is_empty() {
            refused(what, store.list(key, None, 1));
            refused(what, store.list("", Some(key), 1));
        }
    }
    let key = client.key("a");
    refused("get of too many keys", store.get(&vec![key.as_str(); MAX_COMMIT + 1]));
    refused("a page of nothing", store.list(&key, None, 0));
    refused("a page that is too long", store.list(&key, None, MAX_PAGE + 1));
    let numbered = |n: usize| client.put(&n.to_string(), None, b"");
    commit("a commit of too many records", (0..MAX_COMMIT).map(numbered).collect());
    commit("a value that is too long", vec![client.put("a", None, &vec![0; MAX_VALUE + 1])]);
    commit("a key that occurs twice", vec![first.clone()]);
    commit("a key that is put and removed", vec![client.remove("first", Revision(1))]);
    commit("a removal of what isn't there", vec![Change { key, expected: None, action: Action::Remove }]);
    let half = vec![0; MAX_VALUE];
    let many = (0..=MAX_COMMIT_BYTES / MAX_VALUE).map(|n| client.put(&n.to_string(), None, &half)).collect();
    commit("a commit of too many bytes", many);
    assert_eq!(client.all(""), [""; 0], "something that was refused has written records");
    assert!(matches!(store.commit(&[first]), Ok(Outcome::Committed(_))), "the store is of no use after a refusal");
}
