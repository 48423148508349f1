//! What was acknowledged, by what the services tell; and what that forbids.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::BLOCKS;

#[derive(Default)]
pub struct Model {
    /// A write that began so long before another run opened its device had passed the look at the lease in time: the bound that
    /// `docs/fleet.md` states doesn't hold for it.
    margin: u64,
    /// Who opened a device, and when, in order.
    opened: HashMap<String, Vec<(String, u64)>>,
    /// The last run that has said that it has a disk.
    holders: HashMap<String, String>,
    blocks: HashMap<(String, u64), Block>,
    /// What a run is writing: disks, blocks and values.
    trying: HashMap<String, Vec<(String, u64, u64)>>,
    reading: HashMap<String, Reading>,
    pub disks: BTreeMap<String, Presence>,
    pub snapshots: BTreeMap<String, Snapshot>,
    /// What was found that must not be.
    pub faults: Vec<String>,
    /// The versions of the key that all members were said to be under.
    pub rotated: Vec<String>,
    pub counts: BTreeMap<String, u64>,
    /// The last mark that was told.
    pub mark: u64,
    /// The last events, for a report.
    pub log: std::collections::VecDeque<String>,
}

/// What a block may hold.
#[derive(Default)]
struct Block {
    may: BTreeSet<u64>,
    /// A write of it was acknowledged. Before, it may hold anything.
    known: bool,
}

struct Reading {
    of: (String, u64),
    may: BTreeSet<u64>,
    /// Nothing was written since it began.
    settles: bool,
}

#[derive(Default, Clone, Copy)]
pub struct Presence {
    made: bool,
    deleting: bool,
    deleted: bool,
}

impl Presence {
    pub fn must_be(self) -> bool {
        self.made && !self.deleting
    }

    pub fn must_not_be(self) -> bool {
        self.deleted
    }
}

#[derive(Default)]
pub struct Snapshot {
    pub presence: Presence,
    pub disk: String,
    /// What each block may hold; `None`: anything.
    pub may: Vec<Option<BTreeSet<u64>>>,
    /// It is being made.
    open: bool,
}

impl Model {
    /// Whether it is enough for a judgement: writes, and disks made.
    pub fn much_happened(&self) -> bool {
        let count = |what| self.counts.get(what).copied().unwrap_or(0);
        count("done") > 100 && count("made") > 5
    }

    pub fn new(lease: Duration) -> Self {
        // The clocks run at speeds that differ by four percent: of the quarter of the lease a fifth is left.
        Model { margin: lease.mul_f64(0.18).as_nanos() as u64, ..Model::default() }
    }

    /// Takes in a line of the pipe.
    pub fn hear(&mut self, line: &str) {
        let Some(line) = line.strip_prefix('@') else { return };
        if self.log.len() == 4000 {
            self.log.pop_front();
        }
        self.log.push_back(line.into());
        let words: Vec<&str> = line.split(' ').collect();
        let counted = if words[0] == "refused" { line } else { words[0] };
        *self.counts.entry(counted.into()).or_default() += 1;
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        match words[0] {
            "open" => self.opened.entry(words[2].into()).or_default().push((words[1].into(), number(3))),
            "write" => self.write_begins(words[1], words[2], number(3)),
            "wrote" => self.write_ends(words[1], words[2], number(3)),
            "held" => drop(self.holders.insert(words[2].into(), words[1].into())),
            "begin" => self.begin(words[1], words[2], number(3), number(4)),
            "done" => self.done(words[1], words[2], number(3), number(4)),
            "fail" => self.ended(words[1]),
            "reading" => {
                let of = (words[2].to_owned(), number(3));
                let may = self.blocks.entry(of.clone()).or_default().may.clone();
                self.reading.insert(words[1].into(), Reading { of, may, settles: true });
            }
            "read" => self.read(words[1], words[2], number(3), words[4].parse().ok()),
            "unread" => drop(self.reading.remove(words[1])),
            "making" | "made" | "deleting" | "deleted" => self.resource(words[0], words[2], words[3]),
            "snapping" => {
                let may = |block| self.blocks.get(&(words[3].to_owned(), block)).filter(|block| block.known);
                let may = (0..BLOCKS).map(|block| may(block).map(|block| block.may.clone())).collect();
                let snapshot = Snapshot { disk: words[3].into(), may, open: true, ..Snapshot::default() };
                self.snapshots.insert(words[2].into(), snapshot);
            }
            "snapped" | "unsnapped" => {
                let snapshot = self.snapshots.get_mut(words[2]).unwrap();
                (snapshot.open, snapshot.presence.made) = (false, words[0] == "snapped");
            }
            "rotated" => self.rotated.push(words[2].into()),
            "dead" => self.dead(words[1]),
            "mark" => self.mark = number(1),
            "wrong" => self.faults.push(line.into()),
            "run" | "lost" | "refused" | "gave" | "reencrypted" => {}
            _ => panic!("{line}"),
        }
    }

    fn resource(&mut self, what: &str, kind: &str, name: &str) {
        let presence = match kind {
            "disk" => self.disks.entry(name.into()).or_default(),
            _ => &mut self.snapshots.entry(name.into()).or_default().presence,
        };
        match what {
            "made" => presence.made = true,
            "deleting" => presence.deleting = true,
            "deleted" => presence.deleted = true,
            _ => {}
        }
    }

    /// A host was killed: what its runs were at never ends.
    fn dead(&mut self, host: &str) {
        let of_host = |run: &str| run.split('.').next() == Some(host);
        self.trying.retain(|run, _| !of_host(run));
        self.reading.retain(|run, _| !of_host(run));
    }

    /// The first opening by another run after a write had begun.
    fn opened_since(&self, run: &str, id: &str, began: u64) -> Option<&(String, u64)> {
        let opened = self.opened.get(id)?;
        let own = opened.iter().rposition(|(of, _)| of == run).map_or(0, |at| at + 1);
        opened[own..].iter().find(|(_, at)| *at > began).or_else(|| opened[own..].first())
    }

    fn write_begins(&mut self, run: &str, id: &str, began: u64) {
        if let Some((other, at)) = self.opened_since(run, id, began)
            && *at < began
        {
            self.faults.push(format!("two writers: {run} writes {id} at {began}, which {other} opened at {at}"));
        }
    }

    fn write_ends(&mut self, run: &str, id: &str, began: u64) {
        let Some((other, at)) = self.opened_since(run, id, began) else { return };
        if at.saturating_sub(began) < self.margin {
            let text = format!("two writers: {run} wrote {id} from {began} on, and {other} opened it at {at}");
            return self.faults.push(text);
        }
        // It stood still between the look and the write for longer than the bound: its writes may come at any time.
        *self.counts.entry("late writes".into()).or_default() += 1;
        for (disk, block, value) in self.trying.get(run).cloned().unwrap_or_default() {
            self.may_hold(&disk, block, value);
        }
    }

    fn may_hold(&mut self, disk: &str, block: u64, value: u64) {
        self.blocks.entry((disk.into(), block)).or_default().may.insert(value);
        for reading in self.reading.values_mut().filter(|reading| reading.of.0 == disk && reading.of.1 == block) {
            reading.may.insert(value);
            reading.settles = false;
        }
        for snapshot in self.snapshots.values_mut().filter(|snapshot| snapshot.open && snapshot.disk == disk) {
            if let Some(Some(may)) = snapshot.may.get_mut(block as usize) {
                may.insert(value);
            }
        }
    }

    fn begin(&mut self, run: &str, disk: &str, block: u64, value: u64) {
        self.trying.entry(run.into()).or_default().push((disk.into(), block, value));
        self.may_hold(disk, block, value);
    }

    fn ended(&mut self, run: &str) {
        self.trying.remove(run);
    }

    fn done(&mut self, run: &str, disk: &str, block: u64, value: u64) {
        self.ended(run);
        if self.holders.get(disk).is_some_and(|holder| holder != run) {
            // It stood still before it told so, and another one has the disk. What that one read is what counts.
            *self.counts.entry("told late".into()).or_default() += 1;
            return;
        }
        let of = self.blocks.get_mut(&(disk.to_owned(), block)).unwrap();
        (of.may, of.known) = (BTreeSet::from([value]), true);
    }

    /// `value` is `None` for what no write has left.
    fn read(&mut self, run: &str, disk: &str, block: u64, value: Option<u64>) {
        let Some(reading) = self.reading.remove(run) else { return };
        let of = self.blocks.entry((disk.into(), block)).or_default();
        if !of.known {
            return;
        }
        match value {
            Some(value) if reading.may.contains(&value) => {
                if reading.settles && self.holders.get(disk).is_some_and(|holder| holder == run) {
                    of.may = BTreeSet::from([value]);
                }
            }
            found => {
                let text =
                    format!("{run} reads {found:?} in block {block} of {disk}, and not one of {:?}", reading.may);
                self.faults.push(text);
            }
        }
    }
}
