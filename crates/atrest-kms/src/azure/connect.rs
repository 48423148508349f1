//! The vault's address, and the caller's identity.

use std::io;

use atrest::{Error, Result};
use atrest_http::{Client, check_address};

use super::api::Api;
use super::options::AzureOptions;
use crate::bearer::Bearer;

/// The services of Microsoft's clouds. A vault's host is a name in front of one of these.
const SERVICES: [&str; 6] = [
    "vault.azure.net",
    "managedhsm.azure.net",
    "vault.azure.cn",
    "managedhsm.azure.cn",
    "vault.usgovcloudapi.net",
    "managedhsm.usgovcloudapi.net",
];

/// The vault's name and API for some options. No request is sent yet.
pub(crate) fn connect(options: &AzureOptions) -> Result<(String, Api)> {
    let option = |e: io::Error| Error::InvalidOption(e.to_string());
    let id = options.vault.trim_end_matches('/').to_ascii_lowercase();
    let host = check_address(&id).map_err(option)?;
    if !id.starts_with("https://") || host.contains([':', '[']) {
        return Err(Error::InvalidOption("the name of a vault is https://NAME.vault.azure.net".into()));
    }
    let known = || SERVICES.iter().find(|service| is_under(host, service)).map(|service| format!("https://{service}"));
    let service = match &options.resource {
        Some(resource) => {
            let inner = resource.strip_prefix("https://").and_then(|rest| rest.split(['/', ':']).next());
            inner.filter(|inner| is_under(host, inner)).map(|_| resource.clone())
        }
        None => known(),
    };
    let why = "a vault's host is a name before vault.azure.net, managedhsm.azure.net or the service of another cloud of Microsoft, \
               or before the host of the resource that the options name";
    let service = service.ok_or_else(|| Error::InvalidOption(why.into()))?;
    let endpoint = options.endpoint.as_deref().unwrap_or(&id).trim_end_matches('/').to_owned();
    check_address(&endpoint).map_err(option)?;
    let tokens = options.identity.tokens(&service, &options.http).map_err(option)?;
    let client = Client::new(&options.http).map_err(option)?;
    let bearer = Bearer { client, tokens, service: "Azure Key Vault" };
    Ok((id, Api { bearer, endpoint }))
}

/// Whether a host is a name below another.
fn is_under(host: &str, service: &str) -> bool {
    let name = host.strip_suffix(service).and_then(|name| name.strip_suffix('.'));
    name.is_some_and(|name| !name.is_empty() && !service.is_empty())
}
