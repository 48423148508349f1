//! Many clients at once: the results could have come from one client after the other.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::Duration;

use super::super::shared::{Record, Revision};
use super::world::{Client, THREADS, World};

/// The pause between two looks of a client that only reads.
const PAUSE: Duration = Duration::from_micros(500);

fn number(record: &Option<Record>) -> u64 {
    let text = record.as_ref().map(|record| String::from_utf8_lossy(&record.value).into_owned()).unwrap_or_default();
    text.parse().unwrap_or_else(|_| panic!("a number was written, and {text:?} is read"))
}

fn digits(number: u64) -> Vec<u8> {
    number.to_string().into_bytes()
}

/// If many clients create the same record, exactly one succeeds.
pub fn creation(world: &World<'_>) {
    for round in 0..12 {
        let key = format!("r/{round}");
        let made = world.race(THREADS, |client, number| {
            client.try_commit(&[client.put(&key, None, &digits(number as u64))]).map(|revisions| (number, revisions[0]))
        });
        let made: Vec<_> = made.into_iter().flatten().collect();
        assert_eq!(made.len(), 1, "of {THREADS} that create the same record, these did: {made:?}");
        let found = world.client().record(&key);
        assert_eq!(number(&found), made[0].0 as u64, "the record is that of one who was told of a conflict");
    }
}

/// No increment is lost, and the counter never goes back before a reader's eyes.
pub fn counter(world: &World<'_>) {
    const EACH: u64 = 15;
    world.client().create("n", b"0");
    world.race(THREADS, |client, _| {
        let (mut done, mut last) = (0, 0);
        while done < EACH {
            let record = client.record("n");
            let value = number(&record);
            assert!(value >= last, "the counter went back from {last} to {value}");
            let expected = record.map(|record| record.revision);
            if client.try_commit(&[client.put("n", expected, &digits(value + 1))]).is_some() {
                done += 1;
                last = value + 1;
            }
        }
    });
    assert_eq!(number(&world.client().record("n")), EACH * THREADS as u64, "increments were lost");
}

/// Two doctors are on call. Each may leave while the other stays.
pub fn write_skew(world: &World<'_>) {
    let names = ["d/0", "d/1"];
    let client = world.client();
    client.commits(names.iter().map(|key| client.put(key, None, b"on")).collect());
    for round in 0..20 {
        let left = world.race(2, |client, own| {
            let found = client.get(&names);
            let [Some(mine), Some(other)] = [&found[own], &found[1 - own]] else { panic!("a record is gone") };
            let both = [mine, other].iter().all(|record| record.value == b"on");
            let (mine, other) = (Some(mine.revision), Some(other.revision));
            both && client
                .try_commit(&[client.put(names[own], mine, b"off"), client.check(names[1 - own], other)])
                .is_some()
        });
        assert_ne!(left, [true, true], "round {round}: both left, each since the other was there");
        for (name, found) in names.iter().zip(client.get(&names)) {
            let found = found.unwrap_or_else(|| panic!("{name} is gone"));
            client.commits(vec![client.put(name, Some(found.revision), b"on")]);
        }
    }
}

/// As [`write_skew`], where each commit demands that a record isn't there.
pub fn absent_skew(world: &World<'_>) {
    let names = ["e/0", "e/1"];
    for round in 0..20 {
        let made = world.race(2, |client, own| {
            client.try_commit(&[client.put(names[own], None, b""), client.check(names[1 - own], None)])
        });
        let made: Vec<_> = made.into_iter().flatten().collect();
        assert!(made.len() < 2, "round {round}: both records were made, each since the other wasn't there");
        let client = world.client();
        for (name, found) in names.iter().zip(client.get(&names)) {
            if let Some(found) = found {
                client.commits(vec![client.remove(name, found.revision)]);
            }
        }
    }
}

/// Once a lease was taken over, no commit that checks the former lease writes anything.
pub fn fences(world: &World<'_>) {
    let client = world.client();
    client.create("data", b"0");
    let (now, over) = (AtomicU64::new(client.create("lease", b"0").0), AtomicBool::new(false));
    world.race(4, |client, role| {
        if role == 0 {
            // Takes the lease over, again and again. The data must not change after that.
            let _end = End(&over);
            for round in 0..60 {
                let expected = Some(Revision(now.load(Ordering::SeqCst)));
                let taken = client.commits(vec![client.put("lease", expected, &digits(round))])[0];
                let before = client.revision("data");
                sleep(Duration::from_millis(3));
                let after = client.revision("data");
                assert_eq!(before, after, "round {round}: a record was written by one whose lease had been taken over");
                now.store(taken.0, Ordering::SeqCst);
            }
            return;
        }
        while !over.load(Ordering::SeqCst) {
            let lease = Some(Revision(now.load(Ordering::SeqCst)));
            let data = client.revision("data");
            client.try_commit(&[client.check("lease", lease), client.put("data", data, b"")]);
        }
    });
}

struct End<'e>(&'e AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Money goes from account to account. Each reader, by `get` or by `list`, sees the whole sum.
pub fn bank(world: &World<'_>) {
    const ACCOUNTS: usize = 6;
    const EACH: u64 = 100;
    let names: Vec<String> = (0..ACCOUNTS).map(|n| format!("account/{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let client = world.client();
    client.commits(names.iter().map(|key| client.put(key, None, &digits(EACH))).collect());
    let running = AtomicUsize::new(4);
    let transfer = |client: &Client<'_>, seed: &mut u64| {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (from, to) = ((*seed >> 33) as usize % ACCOUNTS, (*seed >> 45) as usize % ACCOUNTS);
        if from == to {
            return false;
        }
        let found = client.get(&[names[from], names[to]]);
        let amount = (*seed >> 57).min(number(&found[0]));
        let revision = |at: usize| found[at].as_ref().map(|record| record.revision);
        let less = client.put(names[from], revision(0), &digits(number(&found[0]) - amount));
        let more = client.put(names[to], revision(1), &digits(number(&found[1]) + amount));
        client.try_commit(&[less, more]).is_some()
    };
    world.race(6, |client, role| {
        if role < 4 {
            let _one = One(&running);
            let (mut done, mut seed) = (0, role as u64 + 1);
            while done < 15 {
                done += u32::from(transfer(client, &mut seed));
            }
        }
        while running.load(Ordering::SeqCst) > 0 {
            let (call, found) = match role {
                4 => ("get", client.get(&names)),
                5 => ("list", client.page("account/", None, ACCOUNTS).into_iter().map(Some).collect()),
                _ => return,
            };
            let sum: u64 = found.iter().map(number).sum();
            assert_eq!(sum, EACH * ACCOUNTS as u64, "{call} has read accounts of two moments: {found:?}");
            // The writers have to have their turn, too.
            sleep(PAUSE);
        }
    });
    let sum: u64 = client.get(&names).iter().map(number).sum();
    assert_eq!(sum, EACH * ACCOUNTS as u64, "money was lost or made");
}

/// One of those that are running, until it is dropped, also by a panic.
struct One<'r>(&'r AtomicUsize);

impl Drop for One<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A record is removed and made again by many. Its revision grows all the same.
pub fn rebirth(world: &World<'_>) {
    let running = AtomicUsize::new(THREADS - 1);
    let put = world.race(THREADS, |client, role| {
        let (mut put, mut last) = (Vec::new(), Revision(0));
        let mut look = || {
            let found = client.revision("phoenix");
            if let Some(found) = found {
                assert!(found >= last, "a revision went back from {last:?} to {found:?}");
                last = found;
            }
            found
        };
        if role == 0 {
            while running.load(Ordering::SeqCst) > 0 {
                look();
                sleep(PAUSE);
            }
            return put;
        }
        let _one = One(&running);
        for round in 0..20 {
            let change = match look() {
                Some(found) if round % 3 != 0 => client.remove("phoenix", found),
                found => client.put("phoenix", found, b""),
            };
            if let Some(&[revision]) = client.try_commit(&[change]).as_deref() {
                put.push(revision);
            }
        }
        put
    });
    for own in &put {
        assert!(own.is_sorted(), "the later changes of a client have smaller revisions: {own:?}");
    }
    let mut all = put.concat();
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count, "two changes of a record have the same revision");
}
