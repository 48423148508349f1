//! Tokens that come without TLS go by no proxy.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use atrest_http::{Deadline, Hidden, HttpOptions};
use atrest_oauth::{AzureIdentity, GoogleIdentity, Tokens};

/// The variable by which the inner process is told the address of the service.
const ADDRESS: &str = "ATREST_TEST_METADATA";

/// Answers each request by a token. The process's end ends it.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let _ = client.read(&mut [0; 4096]);
            let body = r#"{"access_token":"t","expires_in":3599,"token_type":"Bearer"}"#;
            let head = format!("metadata-flavor: Google\r\ncontent-length: {}\r\nconnection: close", body.len());
            let _ = client.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}").as_bytes());
        }
    });
    address
}

/// Runs itself again with a proxy that isn't there.
#[test]
fn metadata_services_are_asked_without_the_proxy_of_the_environment() {
    let get =
        |tokens: Tokens| tokens.get(Deadline::after(Duration::from_secs(60))).map(|token| token.expose().to_owned());
    let Ok(address) = std::env::var(ADDRESS) else {
        let mut inner = Command::new(std::env::current_exe().unwrap());
        for name in ["NO_PROXY", "no_proxy"] {
            inner.env_remove(name);
        }
        for name in ["ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "http_proxy", "https_proxy"] {
            inner.env(name, "http://127.0.0.1:1");
        }
        let inner = inner.env(ADDRESS, serve()).output().unwrap();
        assert!(inner.status.success(), "{}", String::from_utf8_lossy(&inner.stdout));
        return;
    };
    let http = HttpOptions::new();
    let service = AzureIdentity::app_service(format!("{address}/msi/token"), Hidden::new("h"), None);
    for tokens in [
        AzureIdentity::machine(&address, None).tokens("https://vault.azure.net", &http),
        service.tokens("https://vault.azure.net", &http),
        GoogleIdentity::machine(Some(&address)).tokens("scope", &http),
    ] {
        assert_eq!(get(tokens.unwrap()).unwrap(), "t");
    }
    // Others go by the proxy.
    let application = AzureIdentity::client_secret("t", "c", Hidden::new("s")).authority(address);
    let once = http.waits(Duration::from_secs(600), Duration::from_secs(600));
    assert!(get(application.tokens("https://vault.azure.net", &once).unwrap()).is_err());
}
