//! `etcd://[USER@]HOST[:PORT][,HOST[:PORT]…][/PREFIX][?…]`, and `etcd+http://` to this machine.

use atrest::Result;
use atrest_store_etcd::{EtcdOptions, EtcdStore, Hidden, HttpOptions};

use super::FleetStoreOptions;
use super::parts::{self, Query, decoded, invalid, text, without_password};

pub(super) fn open(url: &str, options: &FleetStoreOptions) -> Result<EtcdStore> {
    without_password(url, "ETCDCTL_PASSWORD")?;
    let (address, mut query) = Query::of(url)?;
    let form = || invalid("a store in etcd is etcd://[USER@]HOST[:PORT][,HOST[:PORT]…][/PREFIX]");
    let (scheme, rest) = address.split_once("://").ok_or_else(form)?;
    let (authority, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (Some(user), hosts),
        None => (None, authority),
    };
    if query.take("password").is_some() {
        return Err(parts::password("ETCDCTL_PASSWORD"));
    }
    // Text that isn't a port may be a password, and the client's error would repeat it.
    if hosts.split(',').any(|host| host.is_empty() || port(host).is_some_and(|port| port.parse::<u16>().is_err())) {
        return Err(form());
    }
    let scheme = if scheme == "etcd" { "https" } else { "http" };
    let mut of = EtcdOptions::new(hosts.split(',').map(|host| format!("{scheme}://{}", with_port(host))));
    if !prefix.is_empty() {
        let prefix = decoded(prefix)?;
        of = of.prefix(if prefix.ends_with('/') { prefix } else { prefix + "/" });
    }
    let mut http = HttpOptions::new();
    if let Some(roots) = query.take_file("ca")? {
        http = http.root_certificates(roots.expose());
    }
    http = match (query.take_file("cert")?, query.take_file("key")?) {
        (Some(certificate), Some(key)) => {
            let key =
                str::from_utf8(key.expose()).map_err(|_| invalid("the client's key isn't a private key in PEM"))?;
            http.client_certificate(certificate.expose(), Hidden::new(key))
        }
        (None, None) => http,
        _ => return Err(invalid("cert and key belong together: give both")),
    };
    of = of.http(http);
    let password = query.take_password(options, "ETCDCTL_PASSWORD")?;
    if let Some(user) = user {
        let missing = "a user needs a password: give it by ETCDCTL_PASSWORD, or by password-file=FILE";
        let password = password.ok_or_else(|| invalid(missing))?;
        of = of.user(decoded(user)?, Hidden::new(text(&password)?));
    }
    if let Some(deadline) = query.take_deadline(options)? {
        of = of.deadline(deadline);
    }
    if !query.rest().is_empty() {
        return Err(invalid("the parts of etcd: behind the ? are ca, cert, key, password-file and deadline"));
    }
    EtcdStore::open(&of)
}

/// The port of a member, if it names one.
fn port(host: &str) -> Option<&str> {
    let name = host.rsplit_once(']').map_or(host, |(_, rest)| rest);
    name.split_once(':').map(|(_, port)| port)
}

/// The address of a member, with etcd's port if it has none.
fn with_port(host: &str) -> String {
    if port(host).is_some() { host.into() } else { format!("{host}:2379") }
}

#[cfg(test)]
mod tests {
    use super::with_port;

    #[test]
    fn a_member_has_etcds_port_unless_it_names_one() {
        let all = ["e1", "e1:1", "10.0.0.1", "[::1]", "[::1]:7"].map(with_port);
        assert_eq!(all, ["e1:2379", "e1:1", "10.0.0.1:2379", "[::1]:2379", "[::1]:7"]);
    }
}
