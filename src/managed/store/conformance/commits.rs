//! Commits of one client at a time: conditions, revisions, all or nothing.

use super::super::shared::{Action, MAX_COMMIT, MAX_COMMIT_BYTES, MAX_VALUE, Revision};
use super::world::World;

/// A record is changed only under the revision that was expected of it.
pub fn conditions(world: &World<'_>) {
    let client = world.client();
    let first = client.create("a", b"1");
    client.conflicts(vec![client.put("a", None, b"2")], "a record is there, and none is expected");
    client.conflicts(vec![client.check("a", None)], "a record is there, and none is expected");
    let second = client.commits(vec![client.put("a", Some(first), b"2")])[0];
    let never = Revision(second.0 + 1_000_000);
    for stale in [first, never, Revision(0), Revision(u64::MAX)] {
        for action in [Action::Check, Action::Put(b"3".to_vec()), Action::Remove] {
            let mut change = client.check("a", Some(stale));
            change.action = action;
            client.conflicts(vec![change.clone()], "the record has another revision");
            change.key = client.key("missing");
            client.conflicts(vec![change], "there is no such record");
        }
    }
    assert_eq!(client.value("a").as_deref(), Some(&b"2"[..]), "a conflict has changed the record");
    assert_eq!(client.revision("a"), Some(second), "a conflict has changed the revision");
    assert!(client.record("missing").is_none(), "a conflict has made a record");
    client.commits(vec![client.check("a", Some(second)), client.check("missing", None)]);
    assert_eq!(client.revision("a"), Some(second), "a check has changed the revision");
    assert!(client.record("missing").is_none(), "a check has made a record");
    client.commits(vec![client.remove("a", second)]);
    assert!(client.record("a").is_none(), "a removed record is there");
    client.conflicts(vec![client.remove("a", second)], "the record is gone");
    client.conflicts(vec![client.put("a", Some(second), b"")], "the record is gone");
    client.commits(vec![client.check("a", None)]);
    client.create("a", b"again");
    client.conflicts(vec![client.check("a", Some(second))], "it is another record of the same key");
}

/// A later change has a greater revision, also over removals, and also when it changes nothing.
pub fn revisions(world: &World<'_>) {
    let client = world.client();
    let mut last = client.create("a", b"1");
    for round in 0..8 {
        for value in [&b"1"[..], b"1", b"2"] {
            let next = client.commits(vec![client.put("a", Some(last), value)])[0];
            assert!(next > last, "the revision {next:?} of a later change isn't greater than {last:?}");
            assert_eq!(client.revision("a"), Some(next), "get has another revision than the commit");
            assert_eq!(client.page("a", None, 1)[0].revision, next, "list has another revision than the commit");
            last = next;
        }
        client.commits(vec![client.remove("a", last)]);
        if round % 2 == 0 {
            // Other keys come in between, and a removal of the last record.
            let other = client.create("b", b"");
            client.commits(vec![client.remove("b", other)]);
        }
        let next = client.create("a", b"1");
        assert!(next > last, "after a removal the revision {next:?} isn't greater than {last:?}");
        last = next;
    }
    // Those of a commit are in the order of its changes, whatever the order of the keys.
    let keys = ["z", "b", "y", "c"];
    let mut changes: Vec<_> = keys.iter().map(|key| client.put(key, None, b"")).collect();
    changes.insert(2, client.check("a", Some(last)));
    let revisions = client.commits(changes);
    let found: Vec<_> = client.get(&keys).into_iter().map(|record| record.map(|record| record.revision)).collect();
    assert_eq!(
        found,
        revisions.into_iter().map(Some).collect::<Vec<_>>(),
        "revisions aren't in the order of the changes"
    );
}

/// One wrong expectation among many, wherever it stands, and nothing happens.
pub fn atomicity(world: &World<'_>) {
    let client = world.client();
    let names: Vec<String> = (0..MAX_COMMIT).map(|n| format!("{n:02}")).collect();
    let made = client.commits(names.iter().map(|key| client.put(key, None, b"old")).collect());
    for wrong in [0, 1, MAX_COMMIT / 2, MAX_COMMIT - 1] {
        for kind in 0..3 {
            let change = |n: usize| match n % 3 {
                0 => client.put(&names[n], Some(made[n]), b"new"),
                1 => client.remove(&names[n], made[n]),
                _ => client.put(&format!("new/{n}"), None, b"new"),
            };
            let mut changes: Vec<_> = (0..MAX_COMMIT).map(change).collect();
            changes[wrong] = match kind {
                0 => client.check("missing", Some(made[wrong])),
                1 => client.put(&names[wrong], None, b"new"),
                _ => client.put(&names[wrong], Some(Revision(made[wrong].0 + 1_000_000)), b"new"),
            };
            client.conflicts(changes, "one of many changes expects another revision");
            let page = client.page("", None, MAX_COMMIT + 1);
            let same =
                page.iter().map(|record| (&record.key, record.revision)).eq(names.iter().zip(made.iter().copied()));
            assert!(same, "part of a commit happened: change {wrong} of {MAX_COMMIT} met a conflict");
        }
    }
    let change = |n: usize| match n % 2 {
        0 => client.put(&names[n], Some(made[n]), b"new"),
        _ => client.remove(&names[n], made[n]),
    };
    client.commits((0..MAX_COMMIT).map(change).collect());
    let page = client.page("", None, MAX_COMMIT);
    let evens = names.iter().step_by(2);
    assert!(page.iter().map(|record| &record.key).eq(evens), "part of a commit didn't happen");
    assert!(page.iter().all(|record| record.value == b"new"), "part of a commit didn't happen");
}

/// The largest commit, by its records, and by its bytes.
pub fn largest(world: &World<'_>) {
    let client = world.client();
    let names: Vec<String> = (0..MAX_COMMIT).map(|n| format!("{n:02}")).collect();
    let each = MAX_COMMIT_BYTES / MAX_COMMIT - client.key("00").len();
    let value = vec![0xa5; each];
    client.commits(names.iter().map(|key| client.put(key, None, &value)).collect());
    let page = client.page("", None, MAX_COMMIT);
    assert!(
        page.len() == MAX_COMMIT && page.iter().all(|record| record.value == value),
        "the largest commit isn't all there"
    );
    let room = MAX_COMMIT_BYTES - MAX_COMMIT_BYTES / MAX_VALUE * client.key("v/0").len();
    let large = vec![0x5a; room / (MAX_COMMIT_BYTES / MAX_VALUE)];
    let keys: Vec<String> = (0..MAX_COMMIT_BYTES / MAX_VALUE).map(|n| format!("v/{n}")).collect();
    client.commits(keys.iter().map(|key| client.put(key, None, &large)).collect());
    let found = client.get(&keys.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(
        found.iter().all(|record| record.as_ref().is_some_and(|record| record.value == large)),
        "large values differ"
    );
}

/// A client reads at once what another client has committed.
pub fn two_clients(world: &World<'_>) {
    let (one, two) = (world.client(), world.client());
    let mut revision = one.create("a", b"0");
    for n in 1..=40_u32 {
        let (writer, reader) = if n % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let value = n.to_string().into_bytes();
        revision = writer.commits(vec![writer.put("a", Some(revision), &value)])[0];
        let found = reader.record("a");
        assert!(
            found.is_some_and(|record| record.value == value && record.revision == revision),
            "get reads an old record"
        );
        let page = reader.page("", None, 2);
        assert!(page.len() == 1 && page[0].value == value, "list reads an old record");
    }
    two.commits(vec![two.remove("a", revision)]);
    assert!(one.record("a").is_none() && one.page("", None, 1).is_empty(), "a removed record is read");
}
