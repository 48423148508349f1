//! `postgres://USER@HOST[:PORT][,HOST[:PORT]…]/DATABASE[?…]`.

use std::fmt::Write as _;

use atrest::Result;
use atrest_store_postgres::{PostgresOptions, PostgresStore};

use super::FleetStoreOptions;
use super::parts::{Query, encoded, invalid, password, text, without_password};

pub(super) fn open(url: &str, options: &FleetStoreOptions) -> Result<PostgresStore> {
    without_password(url, "PGPASSWORD")?;
    let (mut address, mut query) = {
        let (address, query) = Query::of(url)?;
        (address.to_owned(), query)
    };
    if query.take("password").is_some() {
        return Err(password("PGPASSWORD"));
    }
    let (schema, standby, migrate) = (query.take("schema"), query.take("standby"), query.take("migrate"));
    let (roots, certificate, key) =
        (query.take_file("sslrootcert")?, query.take_file("sslcert")?, query.take_file("sslkey")?);
    let (deadline, secret) = (query.take_deadline(options)?, query.take_password(options, "PGPASSWORD")?);
    for (at, (name, value)) in query.rest().iter().enumerate() {
        // Writing to a string can't fail.
        let _ = write!(address, "{}{}={}", if at == 0 { '?' } else { '&' }, encoded(name), encoded(value));
    }
    // Its own error names an unknown part, which may be a password.
    let mut of = PostgresOptions::new(&address)
        .map_err(|_| invalid("the store's URL isn't well formed, or has a part behind the ? that isn't known"))?;
    if let Some(secret) = &secret {
        of = of.password(text(secret)?);
    }
    if let Some(roots) = roots {
        of = of.root_certificates(roots.expose());
    }
    of = match (certificate, key) {
        (Some(certificate), Some(key)) => of.client_certificate(certificate.expose(), key.expose()),
        (None, None) => of,
        _ => return Err(invalid("sslcert and sslkey belong together: give both")),
    };
    if let Some(deadline) = deadline {
        of = of.deadline(deadline);
    }
    if let Some(schema) = schema {
        of = of.schema(schema);
    }
    of = match standby.as_deref() {
        None => of,
        Some("none") => of.without_standby(),
        Some(_) => return Err(invalid("standby is none, or isn't given")),
    };
    of = match migrate.as_deref() {
        None => of,
        Some("no") => of.without_migration(),
        Some(_) => return Err(invalid("migrate is no, or isn't given")),
    };
    PostgresStore::open(&of)
}
