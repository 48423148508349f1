//! The hosts of an address, one at a time, and TLS.

use std::sync::Arc;
use std::time::Duration;

use atrest::{Error, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::PostgresOptions;

fn invalid(why: &str) -> Error {
    Error::InvalidOption(why.into())
}

/// One host of an address.
pub(crate) struct Server {
    /// The name for errors.
    pub name: String,
    pub config: Config,
}

/// The hosts, each with a configuration of its own, so that each has its own time limit, which also covers the steps after the
/// connection. A server that hangs accepts connections, and sends nothing.
pub(crate) fn servers(options: &PostgresOptions, limit: Duration) -> Result<Vec<Server>> {
    let all = &options.config;
    if all.get_target_session_attrs() == TargetSessionAttrs::ReadOnly {
        return Err(invalid("the store writes: remove target_session_attrs, or set it to read-write"));
    }
    let (hosts, addresses, ports) = (all.get_hosts(), all.get_hostaddrs(), all.get_ports());
    let count = hosts.len().max(addresses.len());
    if count == 0 {
        return Err(invalid("the address names no host"));
    }
    let local = |at: usize| match (hosts.get(at), addresses.get(at)) {
        (_, Some(address)) => address.is_loopback(),
        (Some(Host::Tcp(name)), None) => {
            name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        #[cfg(unix)]
        (Some(Host::Unix(_)), None) => true,
        (None, None) => false,
    };
    let all_local = (0..count).all(local);
    if !all_local && all.get_ssl_mode() == SslMode::Disable {
        return Err(invalid("sslmode=disable is for this machine alone: records and passwords go by the connection"));
    }
    let wanted = all.get_ssl_mode() == SslMode::Require || options.roots.is_some() || options.client.is_some();
    (0..count)
        .map(|at| {
            let mut config = Config::new();
            let mut name = String::new();
            match hosts.get(at) {
                Some(Host::Tcp(host)) => {
                    config.host(host);
                    name.clone_from(host);
                }
                #[cfg(unix)]
                Some(Host::Unix(path)) => {
                    config.host_path(path);
                    name = path.display().to_string();
                }
                None => {}
            }
            if let Some(address) = addresses.get(at) {
                config.hostaddr(*address);
                name = if name.is_empty() { address.to_string() } else { name };
            }
            let port = ports.get(at).or(ports.first()).copied().unwrap_or(5432);
            config.port(port);
            let tls = wanted || !all_local;
            config.ssl_mode(if tls { SslMode::Require } else { SslMode::Disable });
            config.ssl_negotiation(all.get_ssl_negotiation()).channel_binding(all.get_channel_binding());
            config.connect_timeout(limit).tcp_user_timeout(limit);
            // The operating system takes whole seconds, and no 0.
            let probe = (limit / 3).max(Duration::from_secs(1));
            config.keepalives(true).keepalives_idle(limit.max(probe)).keepalives_interval(probe).keepalives_retries(3);
            config.application_name(all.get_application_name().unwrap_or("atrest"));
            if let Some(user) = all.get_user() {
                config.user(user);
            }
            if let Some(name) = all.get_dbname() {
                config.dbname(name);
            }
            if let Some(options) = all.get_options() {
                config.options(options);
            }
            if let Some(password) = all.get_password() {
                config.password(password);
            }
            Ok(Server { name: format!("{name}:{port}"), config })
        })
        .collect()
}

pub(crate) fn tls(options: &PostgresOptions) -> Result<MakeRustlsConnect> {
    let mut roots = RootCertStore::empty();
    match &options.roots {
        Some(pem) => {
            let found = certificates(pem).ok_or_else(|| invalid("the roots aren't certificates in PEM"))?;
            for certificate in found {
                roots.add(certificate).map_err(|e| invalid(&format!("a root certificate is of no use: {e}")))?;
            }
        }
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let built = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let built = built.map_err(|e| invalid(&format!("TLS: {e}")))?.with_root_certificates(roots);
    let config = match &options.client {
        None => built.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = certificates(chain).ok_or_else(|| invalid("the client's chain isn't certificates in PEM"))?;
            let key = PrivateKeyDer::from_pem_slice(key)
                .map_err(|_| invalid("the client's key isn't a private key in PEM"))?;
            let config = built.with_client_auth_cert(chain, key);
            config.map_err(|_| invalid("the client's key doesn't fit its certificate"))?
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().ok()?;
    (!found.is_empty()).then_some(found)
}
