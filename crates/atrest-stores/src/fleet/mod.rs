//! Stores of a fleet's records by URL.

#[cfg(feature = "etcd")]
mod etcd;
mod options;
#[cfg(any(feature = "etcd", feature = "postgres"))]
mod parts;
#[cfg(feature = "postgres")]
mod postgres;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use atrest::managed::store::{FileStore, Store, copy_records, reopen_moved};
use atrest::managed::{DiskService, HostOptions, ServiceOptions, StoreCheck};
use atrest::{Error, Result};

pub use self::options::FleetStoreOptions;

/// The place of a disk service's records: a file or an engine that hosts share, and there is no third.
///
/// ```
/// use atrest_stores::{FleetStore, FleetStoreOptions};
/// # let folder = tempfile::tempdir().unwrap();
/// # let url = &format!("file:{}", folder.path().join("fleet.redb").display());
///
/// let store = FleetStore::from_url(url, &FleetStoreOptions::new())?; // such as postgres://disks@db1,db2/disks
/// assert!(!store.is_shared());
/// # Ok::<(), atrest::Error>(())
/// ```
#[derive(Clone)]
pub enum FleetStore {
    /// A file, which one process has open at a time.
    File(PathBuf),
    /// An engine that services of many hosts share.
    Shared(Arc<dyn Store>),
}

impl FleetStore {
    /// Opens a store. A file isn't read yet; an engine is connected to, and checked.
    ///
    /// | URL | feature | password |
    /// |---|---|---|
    /// | `file:PATH` | | |
    /// | `postgres://USER@HOST[:PORT][,HOST[:PORT]…]/DATABASE[?…]` | `postgres` | `PGPASSWORD` |
    /// | `etcd://[USER@]HOST[:PORT][,HOST[:PORT]…][/PREFIX][?…]` | `etcd` | `ETCDCTL_PASSWORD` |
    /// | `etcd+http://…`, to this machine alone | `etcd` | the same |
    ///
    /// A URL never has a password: anyone who sees arguments and logs would see it. It comes from
    /// [`FleetStoreOptions::secrets`], from the variable of the process, or from the file of `password-file=FILE`, in this
    /// order. An `@` in a path is written as `%40`.
    ///
    /// | part behind `?` | of | meaning |
    /// |---|---|---|
    /// | `password-file=FILE` | both | the user's password, but for white space at its ends |
    /// | `deadline=SECONDS` | both | when a call ends |
    /// | `sslrootcert=FILE`, `sslcert=FILE` and `sslkey=FILE` | PostgreSQL | CAs instead of Mozilla's; a client's certificate and its key, in PEM |
    /// | `schema=NAME` | PostgreSQL | the schema of the tables; `atrest` if not given |
    /// | `standby=none` | PostgreSQL | the server's storage is replicated below it: no standby is demanded |
    /// | `migrate=no` | PostgreSQL | the tables are there already, and the role may not make them |
    /// | others, such as `host` and `connect_timeout` | PostgreSQL | as for libpq |
    /// | `ca=FILE`, `cert=FILE` and `key=FILE` | etcd | the same |
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a URL that isn't one of these, or whose feature isn't in this build; [`Error::Io`] for a
    /// file that it names, and if the engine doesn't answer.
    pub fn from_url(url: &str, options: &FleetStoreOptions) -> Result<Self> {
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        // Unused without an engine.
        let _ = options;
        match scheme {
            "file" => file(url).map(FleetStore::File),
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => Ok(FleetStore::Shared(Arc::new(postgres::open(url, options)?))),
            #[cfg(feature = "etcd")]
            "etcd" | "etcd+http" => Ok(FleetStore::Shared(Arc::new(etcd::open(url, options)?))),
            _ => {
                // Not the URL: it may contain a password.
                let why = match ALL.iter().find(|(known, ..)| *known == scheme) {
                    Some((scheme, feature, _)) => {
                        format!("this build has no {scheme}:, which is the feature {feature}")
                    }
                    None => "the store of a fleet is a URL that begins with one of".into(),
                };
                let here = fleet_schemes().collect::<Vec<_>>().join(" ");
                Err(Error::InvalidOption(format!("{why}; it has {here}")))
            }
        }
    }

    /// Whether services of many hosts share it.
    pub fn is_shared(&self) -> bool {
        matches!(self, FleetStore::Shared(_))
    }

    /// Its records, to look at or to copy. A file is made if it isn't there, and stays locked as long as this lives.
    ///
    /// # Errors
    /// As [`FileStore::open`].
    pub fn records(&self) -> Result<Arc<dyn Store>> {
        match self {
            FleetStore::File(path) => Ok(Arc::new(FileStore::open(path)?)),
            FleetStore::Shared(store) => Ok(store.clone()),
        }
    }

    /// The same, for a file that has to be there.
    ///
    /// # Errors
    /// [`Error::NotFound`]; as [`records`](Self::records).
    pub fn existing(&self) -> Result<Arc<dyn Store>> {
        self.check_there()?;
        self.records()
    }

    /// Opens a service on it. `host` counts for a store that is shared: see [`DiskService::open_shared`].
    ///
    /// # Errors
    /// As [`DiskService::open`] and [`DiskService::open_shared`].
    pub fn open_service(&self, host: &HostOptions, options: ServiceOptions) -> Result<DiskService> {
        match self {
            FleetStore::File(path) => DiskService::open(path, options),
            FleetStore::Shared(store) => DiskService::open_shared(store.clone(), host, options),
        }
    }

    /// Checks it. No service may have a file open; one that is shared is checked while it is used.
    ///
    /// # Errors
    /// [`Error::NotFound`]; as [`StoreCheck::of_file`] and [`StoreCheck::of_shared`].
    pub fn check(&self) -> Result<StoreCheck> {
        self.check_there()?;
        match self {
            FleetStore::File(path) => StoreCheck::of_file(path),
            FleetStore::Shared(store) => StoreCheck::of_shared(&**store),
        }
    }

    /// Copies all records to another store, and compares both: [`copy_records`]. Returns how many there are.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a file to copy from; as [`copy_records`].
    pub fn copy_to(&self, to: &FleetStore) -> Result<u64> {
        copy_records(&*self.existing()?, &*to.records()?)
    }

    /// Makes a store usable again whose records were moved to another one: [`reopen_moved`]. **Not after a service has used the other
    /// one**: both would write the same disks.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a file that isn't there; as [`reopen_moved`].
    pub fn reopen_moved(&self) -> Result<()> {
        reopen_moved(&*self.existing()?)
    }

    fn check_there(&self) -> Result<()> {
        match self {
            FleetStore::File(path) if !path.exists() => {
                Err(Error::NotFound { what: "store of a fleet", path: path.clone() })
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for FleetStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FleetStore::File(path) => f.debug_tuple("File").field(path).finish(),
            FleetStore::Shared(_) => f.write_str("Shared(..)"),
        }
    }
}

/// All schemes, with their features, and whether this build has them.
const ALL: [(&str, &str, bool); 5] = [
    ("file", "", true),
    ("postgres", "postgres", cfg!(feature = "postgres")),
    ("postgresql", "postgres", cfg!(feature = "postgres")),
    ("etcd", "etcd", cfg!(feature = "etcd")),
    ("etcd+http", "etcd", cfg!(feature = "etcd")),
];

/// The schemes of fleets' stores that this build has, with their colon.
pub fn fleet_schemes() -> impl Iterator<Item = String> {
    ALL.into_iter().filter(|(.., is_here)| *is_here).map(|(scheme, ..)| format!("{scheme}:"))
}

/// The path of `file:PATH`; an empty authority may stand before it (RFC 8089).
fn file(url: &str) -> Result<PathBuf> {
    let rest = url.strip_prefix("file:").unwrap_or(url);
    let why = |text: &str| Err(Error::InvalidOption(text.into()));
    let path = match rest.strip_prefix("//") {
        Some(absolute) if absolute.starts_with('/') => absolute,
        Some(_) => return why("a store on another host can't be opened as a file: write file:/PATH"),
        None => rest,
    };
    match path {
        "" => why("the store's file has no name: write file:/PATH"),
        path => Ok(path.into()),
    }
}
