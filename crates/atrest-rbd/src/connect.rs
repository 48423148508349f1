//! From options to an image that is open and locked.

use std::ffi::{CStr, CString};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atrest::{Error, Result};

use crate::bounded;
use crate::name::{Name, Place};
use crate::options::RbdOptions;
use crate::sys::{Cluster, Errno, Image, Pool, errno, feature};
use crate::trouble::{cluster_error, error, timed_out};

/// An image that is open, and its client's address.
pub(crate) struct Opened {
    pub(crate) image: Arc<Image>,
    pub(crate) object_size: u64,
    pub(crate) address: CString,
}

/// How to open an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// For writing, with the lock.
    Write,
    /// For reading only, while no client has the lock.
    Read,
}

/// Connects a client, within the deadline.
pub(crate) fn connect(options: &RbdOptions) -> Result<Arc<Cluster>> {
    options.check()?;
    let options = options.clone();
    within(&options.clone(), "connecting to the Ceph cluster", move || connected(&options))
}

/// Opens a pool, with a client of its own, within the deadline.
pub(crate) fn pool(options: &RbdOptions, place: &Place) -> Result<Arc<Pool>> {
    options.check()?;
    let (options, place) = (options.clone(), place.clone());
    within(&options.clone(), "opening a pool of the Ceph cluster", move || pool_of(connected(&options)?, &place))
}

/// Opens an image, with a client of its own, within the deadline.
pub(crate) fn image(options: &RbdOptions, name: &Name, access: Access) -> Result<Opened> {
    options.check()?;
    let (owned_options, owned_name) = (options.clone(), name.clone());
    // Set when all that is left to do is to wait for the lock.
    let locking = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let at_lock = locking.clone();
    let opened = bounded::call(until(options), move || {
        let pool = pool_of(connected(&owned_options)?, &owned_name.place)?;
        let image = open(pool, &owned_name, access)?;
        if access == Access::Write {
            at_lock.store(true, std::sync::atomic::Ordering::Relaxed);
            lock(&image, &owned_name, owned_options.take_over)?;
        }
        let failed = |code| error("opening", &owned_name, code);
        let object_size = image.object_size().map_err(failed)?;
        let address = image.pool().cluster().address().map_err(failed)?;
        let address = CString::new(address).map_err(|_| failed(errno::EINVAL))?;
        Ok(Opened { image: Arc::new(image), object_size, address })
    });
    opened.unwrap_or_else(|| {
        if locking.load(std::sync::atomic::Ordering::Relaxed) {
            // The lock's owner doesn't answer: a dead client, whose lock ends when its watch does.
            return Err(busy(name, "a client that doesn't answer, or has died less than a minute ago"));
        }
        Err(Error::Io { what: format!("opening the RBD image {name}"), source: timed_out("opening", name) })
    })
}

/// Makes a call to the cluster within the deadline.
pub(crate) fn within<T: Send + 'static>(
    options: &RbdOptions,
    what: &str,
    call: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    bounded::call(until(options), call).unwrap_or_else(|| {
        let text = "it took longer than its deadline; look whether monitors and OSDs answer (ceph -s)";
        Err(Error::Io { what: what.into(), source: std::io::Error::new(std::io::ErrorKind::TimedOut, text) })
    })
}

fn until(options: &RbdOptions) -> Instant {
    Instant::now() + options.deadline
}

fn connected(options: &RbdOptions) -> Result<Arc<Cluster>> {
    let user = options.user.as_deref().map(|user| text("user", user)).transpose()?;
    let library = |e: &str| Error::Io {
        what: "loading the libraries of Ceph".into(),
        source: std::io::Error::other(e.to_owned()),
    };
    let cluster = Cluster::new(user.as_deref()).map_err(library)?;
    let cluster = cluster.map_err(|code| cluster_error("making a client of Ceph".into(), code))?;
    let config = options.config.as_deref();
    if config.is_some() || options.monitors.is_none() {
        let path = config.map(path_text).transpose()?;
        cluster.read_config(path.as_deref()).map_err(|code| {
            let named = config.map_or("where Ceph looks for it".into(), |path| path.display().to_string());
            cluster_error(format!("reading Ceph's configuration ({named})"), code)
        })?;
    }
    configure(&cluster, options)?;
    cluster.connect().map_err(|code| {
        let user = options.user.as_deref().unwrap_or("admin");
        let advice = match code {
            errno::ENOENT => "; the keyring or the monitors' addresses are missing",
            errno::ETIMEDOUT => "; no monitor answers",
            _ => "; look whether the user and the key are right",
        };
        cluster_error(format!("connecting to the Ceph cluster as client.{user} (error {code}{advice})"), code)
    })?;
    Ok(Arc::new(cluster))
}

fn configure(cluster: &Cluster, options: &RbdOptions) -> Result<()> {
    let set = |name: &CStr, value: &CStr, is_needed: bool| match cluster.set(name, value) {
        Err(code) if is_needed => Err(cluster_error(format!("setting Ceph's option {name:?}"), code)),
        _ => Ok(()),
    };
    let given = [
        (c"mon_host", options.monitors.as_deref().map(|monitors| text("monitors", monitors)).transpose()?),
        (c"keyring", options.keyring.as_deref().map(path_text).transpose()?),
    ];
    for (name, value) in given {
        if let Some(value) = value {
            set(name, &value, true)?;
        }
    }
    // Longer than the deadline by which a call is given up: an operation that librados gives up itself is one that a call has
    // given up before, so that a device never takes another error for a write that may still happen.
    let seconds = number(options.deadline.as_millis().div_ceil(1000) + 1);
    set(c"rados_osd_op_timeout", &seconds, true)?;
    set(c"rados_mon_op_timeout", &seconds, true)?;
    set(c"client_mount_timeout", &seconds, true)?;
    // A write is acknowledged when the OSDs have it, so that it gets its own error and a fenced writer gets that at once.
    set(c"rbd_cache", c"false", true)?;
    set(c"rbd_persistent_cache_mode", c"disabled", false)?;
    // By default librbd copies the data of a write, for callers that change it meanwhile. Here the buffer belongs to the operation.
    set(c"rbd_disable_zero_copy_writes", if cluster.keeps_buffers() { c"false" } else { c"true" }, false)?;
    // A lock is never taken from a client that could still write. The names are those since Ceph 16, and before.
    set(c"rbd_blocklist_on_break_lock", c"true", false)?;
    set(c"rbd_blacklist_on_break_lock", c"true", false)?;
    Ok(())
}

fn pool_of(cluster: Arc<Cluster>, place: &Place) -> Result<Arc<Pool>> {
    let pool = Pool::open(cluster, &place.pool, &place.namespace);
    Ok(Arc::new(pool.map_err(|code| match code {
        errno::ENOENT => Error::NotFound { what: "pool of Ceph", path: place.to_string().into() },
        _ => cluster_error(format!("opening the pool {place}"), code),
    })?))
}

fn open(pool: Arc<Pool>, name: &Name, access: Access) -> Result<Image> {
    let failed = |code: Errno| error("opening", name, code);
    let read_only = access == Access::Read;
    let image = Image::open(pool, &name.image, name.snapshot.as_deref(), read_only).map_err(failed)?;
    if read_only {
        // A snapshot doesn't change, even if a client writes to the image.
        let writer = if name.snapshot.is_none() { image.writer().map_err(failed)? } else { None };
        return writer.map_or(Ok(image), |writer| Err(busy(name, &writer)));
    }
    if image.features().map_err(failed)? & feature::EXCLUSIVE_LOCK == 0 {
        return Err(Error::InvalidOption(format!(
            "the RBD image {name} has no exclusive lock, so a second writer could not be kept out; turn it on with: rbd feature \
             enable {name} exclusive-lock"
        )));
    }
    // A setting of the image or its pool comes before that of `configure`.
    let caches = [(c"rbd_cache", "false"), (c"rbd_persistent_cache_mode", "disabled")];
    for (option, off) in caches {
        if image.option(option).map_err(failed)?.is_some_and(|value| value != off) {
            let option = option.to_string_lossy();
            return Err(Error::InvalidOption(format!(
                "the RBD image {name} or its pool turns on {option}, by which writes are acknowledged before the cluster has them; \
                 take that back with: rbd config image set {name} {option} {off}"
            )));
        }
    }
    Ok(image)
}

fn lock(image: &Image, name: &Name, take_over: bool) -> Result<()> {
    let failed = |code: Errno| error("locking", name, code);
    if take_over && let Some(owner) = image.lock_owner().map_err(failed)? {
        let owner = CString::new(owner).map_err(|_| failed(errno::EINVAL))?;
        match image.break_lock(&owner) {
            // It went away, or another client was faster: the lock decides.
            Ok(()) | Err(errno::ENOENT | errno::EBUSY | errno::EAGAIN) => {}
            Err(code) => return Err(error("breaking the lock of", name, code)),
        }
    }
    image.lock().map_err(|code| match code {
        // EROFS: the owner was asked, and keeps it.
        errno::EROFS | errno::EBUSY | errno::EAGAIN => {
            let owner = image.lock_owner().ok().flatten();
            busy(name, owner.as_deref().unwrap_or("another client"))
        }
        _ => failed(code),
    })
}

fn busy(name: &Name, owner: &str) -> Error {
    Error::Busy { what: format!("the RBD image {name}, which {owner} holds,") }
}

fn text(what: &str, value: &str) -> Result<CString> {
    CString::new(value).map_err(|_| Error::InvalidOption(format!("the {what} of the Ceph cluster has a zero byte")))
}

fn path_text(path: &Path) -> Result<CString> {
    text("path of a file", &path.to_string_lossy())
}

fn number(value: u128) -> CString {
    CString::new(value.to_string()).unwrap_or_default()
}

/// How long something may take from here on.
pub(crate) fn deadline(after: Duration) -> Instant {
    Instant::now() + after
}
