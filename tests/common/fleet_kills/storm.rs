//! Starts the services, draws faults, and judges.

use std::fs::File;
use std::io::{BufRead, BufReader, PipeWriter};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use atrest::EncryptionType;
use atrest::key::KeyId;
use atrest::managed::NewSet;
use rustix::process::{Pid, Signal, kill_process};

use super::files::{TOLD, tell};
use super::judge::Judge;
use super::model::Model;
use super::service::SERVICE;
use super::{Engine, HOSTS, KEY, Numbers, Opener, PLATFORM, Place, SET, grant};

/// How long services run between two looks at everything, in leases.
const STORM: u32 = 3;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Runs services on an engine. `test` is the test of this program that calls [`run_service`](super::run_service).
pub fn run(engine: &dyn Engine, test: &str, open: Opener) {
    let seconds = setting("ATREST_FLEET_KILLS").unwrap_or(60);
    let of_now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let seed = setting("ATREST_FLEET_SEED").unwrap_or_else(of_now);
    let folder = tempfile::tempdir().unwrap();
    let (place, vault) = Place::make(folder.path());
    let (reader, writer) = std::io::pipe().unwrap();
    TOLD.set(File::from(OwnedFd::from(writer.try_clone().unwrap()))).expect("one storm in a process");
    let model = Arc::new(Mutex::new(Model::new(engine.lease())));
    let hearing = model.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(reader).split(b'\n') {
            hearing.lock().unwrap().hear(&String::from_utf8_lossy(&line.unwrap()));
        }
    });
    let judge = Judge { place: &place, vault: &vault, model: &model, lease: engine.lease() };
    let versions = vec![vault.keys().unwrap().into_iter().find(|key| key.name == KEY).unwrap().versions[0].id.clone()];
    {
        let service = judge.open(open(&engine.straight()).unwrap(), "judge").unwrap();
        let new = NewSet::new(SET, versions[0].clone()).region("north").subscription("one").tenant("contoso");
        let set = service.create_set(&new.encryption_type(EncryptionType::CustomerKey).auto_rotation(true)).unwrap();
        grant(&vault, &set.identity);
    }
    let mut storm = Storm {
        engine,
        place: &place,
        test,
        writer,
        numbers: Numbers(seed),
        hosts: (0..HOSTS).map(|_| Host::default()).collect(),
        starts: 0,
        versions,
        struck: Vec::new(),
    };
    let (began, mut round) = (Instant::now(), 0);
    // A busy machine needs longer until a judgement means something; one on which little happens even then is told of below.
    let lasts = |times: u32| began.elapsed() < Duration::from_secs(seconds) * times;
    while lasts(1) || (lasts(5) && !model.lock().unwrap().much_happened()) {
        round += 1;
        storm.blow(&judge);
        settled(&model, round);
        report_faults(&model, seed);
        let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            judge.judge(|| open(&engine.straight()).unwrap(), round, &mut storm.versions);
        }));
        settled(&model, 1_000_000 + round);
        if let Err(panic) = judged {
            report(&model, seed);
            std::panic::resume_unwind(panic);
        }
        report_faults(&model, seed);
        model.lock().unwrap().rotated.clear();
    }
    let model = model.lock().unwrap();
    println!("seed {seed}: {round} rounds in {:?}, {:?}, told {:?}", began.elapsed(), storm.tally(), model.counts);
    assert!(model.much_happened(), "too little happened");
}

/// Waits until all that was told so far was heard.
fn settled(model: &Mutex<Model>, mark: u64) {
    tell(&format!("mark {mark}"));
    while model.lock().unwrap().mark != mark {
        sleep(Duration::from_millis(5));
    }
}

fn report(model: &Mutex<Model>, seed: u64) {
    let model = model.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let log: Vec<&str> = model.log.iter().map(String::as_str).collect();
    println!("seed {seed}, the last events:\n{}", log.join("\n"));
}

fn report_faults(model: &Mutex<Model>, seed: u64) {
    let faults = model.lock().unwrap().faults.clone();
    if !faults.is_empty() {
        report(model, seed);
        panic!("seed {seed}: {}", faults.join("\n"));
    }
}

#[derive(Default)]
struct Host {
    child: Option<Child>,
    /// When it is started again, goes on, or is reached again.
    again: Option<Instant>,
    stopped: bool,
    cut: bool,
}

struct Storm<'s> {
    engine: &'s dyn Engine,
    place: &'s Place,
    test: &'s str,
    writer: PipeWriter,
    numbers: Numbers,
    hosts: Vec<Host>,
    starts: u64,
    versions: Vec<KeyId>,
    struck: Vec<String>,
}

impl Storm<'_> {
    /// All services run and fail for a while; in the end all are killed.
    fn blow(&mut self, judge: &Judge<'_>) {
        let lease = self.engine.lease();
        (0..HOSTS).for_each(|host| self.start(host));
        let end = Instant::now() + STORM * lease;
        let (mut next, mut strike) = (Instant::now() + lease / 6, Instant::now() + lease / 3);
        while Instant::now() < end {
            sleep(Duration::from_millis(50));
            (0..HOSTS).for_each(|host| self.mend(host));
            for version in std::mem::take(&mut judge.model.lock().unwrap().rotated) {
                // Whoever says that all members are under it needs no older one.
                judge.disable(&mut self.versions, &version);
            }
            if Instant::now() >= next {
                self.fault(judge);
                next = Instant::now() + self.numbers.part(lease / 4);
            }
            if Instant::now() >= strike {
                let what = self.engine.strike(&mut self.numbers);
                self.struck.push(what);
                strike = Instant::now() + lease / 2 + self.numbers.part(lease);
            }
        }
        for host in 0..HOSTS {
            self.kill(host);
            self.engine.cut(host, false);
            self.hosts[host] = Host::default();
        }
    }

    fn fault(&mut self, judge: &Judge<'_>) {
        let lease = self.engine.lease();
        let host = self.numbers.below(HOSTS as u64) as usize;
        let now = Instant::now();
        match self.numbers.below(10) {
            0..2 => {
                let key = judge.vault.rotate_key(KEY).unwrap();
                self.versions.push(key);
                judge.vault.rotate_key(PLATFORM).unwrap();
                self.struck.push("the keys are rotated".into());
            }
            _ if self.hosts[host].again.is_some() => {}
            2..5 => {
                self.kill(host);
                self.hosts[host].again = Some(now + self.numbers.part(lease / 3));
                self.struck.push("a service is killed".into());
            }
            5..8 => {
                self.signal(host, Signal::STOP);
                self.hosts[host].stopped = true;
                // Mostly for so long that others have taken it for lost, and have opened what it had.
                let long = if self.numbers.below(4) > 0 { lease * 6 / 5 } else { Duration::ZERO };
                self.hosts[host].again = Some(now + long + self.numbers.part(lease * 3 / 2));
                self.struck.push("a service is stopped".into());
            }
            _ => {
                self.engine.cut(host, true);
                self.hosts[host].cut = true;
                self.hosts[host].again = Some(now + self.numbers.part(lease * 2));
                self.struck.push("a service is cut off".into());
            }
        }
    }

    fn mend(&mut self, host: usize) {
        if let Some(child) = &mut self.hosts[host].child {
            assert!(child.try_wait().unwrap().is_none(), "a service ended by itself; see its output");
        }
        if self.hosts[host].again.is_none_or(|again| again > Instant::now()) {
            return;
        }
        self.hosts[host].again = None;
        if std::mem::take(&mut self.hosts[host].stopped) {
            self.signal(host, Signal::CONT);
        }
        if std::mem::take(&mut self.hosts[host].cut) {
            self.engine.cut(host, false);
        }
        if self.hosts[host].child.is_none() {
            self.start(host);
        }
    }

    fn start(&mut self, host: usize) {
        self.starts += 1;
        let text = format!(
            "{host} {} {} {} {} {}",
            self.starts,
            self.numbers.below(u64::MAX),
            self.engine.lease().as_millis(),
            self.place.0.display(),
            self.engine.way(host)
        );
        let errors = File::options().append(true).create(true).open(self.place.0.join("errors")).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", self.test, "--nocapture", "--test-threads", "1"])
            .env(SERVICE, text)
            .stdin(Stdio::null())
            .stdout(self.writer.try_clone().unwrap())
            .stderr(errors)
            .spawn();
        self.hosts[host].child = Some(child.unwrap());
    }

    fn signal(&self, host: usize, signal: Signal) {
        if let Some(child) = &self.hosts[host].child {
            kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal).unwrap();
        }
    }

    fn kill(&mut self, host: usize) {
        if let Some(mut child) = self.hosts[host].child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
            tell(&format!("dead {host}"));
        }
        self.hosts[host].stopped = false;
    }

    /// How often what happened.
    fn tally(&self) -> std::collections::BTreeMap<&str, usize> {
        let mut tally = std::collections::BTreeMap::new();
        self.struck.iter().for_each(|what| *tally.entry(what.as_str()).or_default() += 1);
        tally
    }
}

impl Drop for Storm<'_> {
    fn drop(&mut self) {
        for child in self.hosts.iter_mut().filter_map(|host| host.child.as_mut()) {
            let _ = child.kill();
            let _ = child.wait();
        }
        let said = std::fs::read_to_string(self.place.0.join("errors")).unwrap_or_default();
        if std::thread::panicking() {
            println!("what services said:\n{said}");
        }
    }
}
