//! The metrics of `atrest`'s managed disks for Prometheus.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use atrest::managed::DiskService;
//! use atrest_prometheus::Endpoint;
//! # fn open() -> atrest::Result<DiskService> { unimplemented!() }
//!
//! // Before the service is opened, so that nothing of it is lost.
//! let endpoint = Endpoint::bind("127.0.0.1:9464")?;
//! let service = Arc::new(open()?);
//! endpoint.serve(&service);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use atrest::managed::{CALL_BUCKETS, DiskService};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

/// The longest time for a scraper to send its request, and again to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The number of scrapers that are answered at once. A slow one takes one of these places meanwhile.
const SCRAPERS: usize = 4;
/// How long to wait when no connection can be accepted, such as while there are too many open files.
const PAUSE: Duration = Duration::from_millis(100);
/// The most bytes of a request.
const LONGEST: u64 = 16 << 10;
/// How often durations are put into their buckets while there are no scrapes.
const UPKEEP: Duration = Duration::from_secs(10);

/// A page of metrics over HTTP, for as long as the process lives.
pub struct Endpoint {
    address: SocketAddr,
    served: Arc<Served>,
}

type Served = Mutex<Weak<DiskService>>;

impl Endpoint {
    /// Sets the recorder of the crate `metrics` for this process, and answers scrapers on a few threads of its own. Without a
    /// service the answer is "503 Service Unavailable".
    ///
    /// Anyone who reaches the address can read the metrics, and can keep others from reading them: bind an address of the host
    /// itself, or of a network for monitoring only.
    ///
    /// # Errors
    /// [`io::Error`] if the address isn't available, no thread can be started, or the process has a recorder already.
    pub fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let builder = PrometheusBuilder::new().set_buckets(&CALL_BUCKETS).map_err(io::Error::other)?;
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder)
            .map_err(|_| io::Error::other("this process has a recorder of metrics already; use that one"))?;
        let served = Arc::<Served>::default();
        for _ in 0..SCRAPERS {
            let (listener, served, handle) = (listener.try_clone()?, served.clone(), handle.clone());
            thread::Builder::new().name("atrest-metrics".into()).spawn(move || {
                for scraper in listener.incoming() {
                    match scraper {
                        // One that hangs or breaks off is the scraper's own loss.
                        Ok(scraper) => drop(answer(&scraper, &served, &handle)),
                        Err(_) => thread::sleep(PAUSE),
                    }
                }
            })?;
        }
        let upkeep = handle;
        thread::Builder::new().name("atrest-upkeep".into()).spawn(move || {
            loop {
                thread::sleep(UPKEEP);
                upkeep.run_upkeep();
            }
        })?;
        Ok(Endpoint { address, served })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells scrapers of this service from now on, and no more of the one before.
    pub fn serve(&self, service: &Arc<DiskService>) {
        *self.served.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(service);
    }
}

/// A connection that has to be done by an instant, however little the other end sends or takes at once.
struct Timed<'s> {
    scraper: &'s TcpStream,
    until: Instant,
}

impl<'s> Timed<'s> {
    fn new(scraper: &'s TcpStream) -> Self {
        Timed { scraper, until: Instant::now() + PATIENCE }
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.scraper.set_read_timeout(self.left()?)?;
        self.scraper.read(bytes)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.scraper.set_write_timeout(self.left()?)?;
        self.scraper.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.scraper.flush()
    }
}

fn answer(scraper: &TcpStream, served: &Served, handle: &PrometheusHandle) -> io::Result<()> {
    let mut lines = BufReader::new(Timed::new(scraper).take(LONGEST)).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    // To the end of the head: closed with unread bytes, the connection would be reset.
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let service = served.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
    let (status, body) = match request.split(' ').collect::<Vec<_>>()[..] {
        ["GET", "/metrics", _] => match service {
            Some(service) => {
                service.publish_metrics();
                ("200 OK", handle.render())
            }
            None => ("503 Service Unavailable", "the service is closed\n".into()),
        },
        ["GET", ..] => ("404 Not Found", "the metrics are at /metrics\n".into()),
        _ => ("400 Bad Request", "ask by GET /metrics\n".into()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let mut to = Timed::new(scraper);
    to.write_all(head.as_bytes())?;
    to.write_all(body.as_bytes())
}

impl core::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Endpoint").field("address", &self.address).finish_non_exhaustive()
    }
}
