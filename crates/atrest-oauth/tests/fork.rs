//! A forked child gets no token by its parent's connections, and hangs in no lock of its parent's threads.
#![cfg(target_os = "linux")]

#[path = "../../../tests/common/fork.rs"]
mod fork;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use atrest_http::{Deadline, HttpOptions};
use atrest_oauth::{GoogleIdentity, TokenError, Tokens};
use fork::{forked, in_child, so};

/// Answers each request by a token, and the next ones only after a while: their thread holds the turn meanwhile.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = client.read(&mut [0; 4096]);
                std::thread::sleep(Duration::from_millis(300));
                let body = r#"{"access_token":"t","expires_in":3599,"token_type":"Bearer"}"#;
                let head = format!("metadata-flavor: Google\r\ncontent-length: {}\r\nconnection: close", body.len());
                let _ = client.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}").as_bytes());
            });
        }
    });
    address
}

fn get(tokens: &Tokens) -> Result<String, TokenError> {
    tokens.get(Deadline::after(Duration::from_secs(60))).map(|token| token.expose().to_owned())
}

fn is_forked(answer: Result<String, TokenError>) -> bool {
    let Err(TokenError::Failed(error)) = answer else { return false };
    forked(Err::<(), _>(error))
}

#[test]
fn a_child_gets_no_token_of_its_parent() {
    let address = serve();
    let tokens = || GoogleIdentity::machine(Some(&address)).tokens("scope", &HttpOptions::new()).unwrap();
    let parents = tokens();
    std::thread::scope(|scope| {
        // While a thread gets the token, and after that.
        let getting = scope.spawn(|| get(&parents).unwrap());
        std::thread::sleep(Duration::from_millis(100));
        let refused = || in_child(|| if is_forked(get(&parents)) { Ok(()) } else { Err(line!()) });
        assert_eq!(refused(), 0, "the child while a thread is at it");
        assert_eq!(getting.join().unwrap(), "t");
        assert_eq!(refused(), 0, "the child");
    });
    let ended = in_child(|| {
        so!(get(&tokens()).is_ok_and(|token| token == "t"));
        Ok(())
    });
    assert_eq!(ended, 0, "the child with tokens of its own");
    assert_eq!(get(&parents).unwrap(), "t");
}
