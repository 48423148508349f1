//! The connections to an export.

use std::sync::Arc;
use std::time::{Duration, Instant};

use atrest::{Error, Result};

use crate::channel::{self, Both, Receiver, Sender};
use crate::connection::{Command, Connection, Outcome, Target};
use crate::export::Export;
use crate::handshake::{self, Greeted, Refused};
use crate::log::Log;
use crate::options::NbdOptions;
use crate::slots::End;
use crate::socket::{Patience, Socket};
use crate::url;
use crate::wire::CAN_MULTI_CONN;

/// How long a connection beyond the first may take to be made: a server may take no more, and not say so.
const PATIENCE: Duration = Duration::from_secs(2);

/// The address of a server, and the options of connecting.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) target: url::Target,
    pub(crate) deadline: Duration,
    pub(crate) connections: usize,
    #[cfg(feature = "tls")]
    tls: Option<crate::Tls>,
}

impl Place {
    pub(crate) fn new(target: url::Target, options: &NbdOptions) -> Result<Self> {
        options.check()?;
        #[cfg(not(feature = "tls"))]
        if target.tls.is_some() {
            let text =
                format!("{target} needs TLS, which this build of atrest-nbd doesn't have: enable its feature `tls`");
            return Err(Error::InvalidOption(text));
        }
        #[cfg(feature = "tls")]
        let tls = match (&target.tls, &options.tls) {
            (None, None) => None,
            (None, Some(_)) => {
                let text =
                    format!("{target} is not encrypted, and certificates for TLS are given: use nbds: or nbds+unix:");
                return Err(Error::InvalidOption(text));
            }
            (Some(_), Some(tls)) => {
                tls.owner().check()?;
                Some(tls.clone())
            }
            (Some(of_url), None) => {
                let missing =
                    || Error::InvalidOption(format!("{target} needs certificates: add tls-certificates=FOLDER"));
                Some(crate::Tls::from_folder(of_url.certificates.as_ref().ok_or_else(missing)?)?)
            }
        };
        Ok(Place {
            target,
            deadline: options.deadline,
            connections: options.connections,
            #[cfg(feature = "tls")]
            tls,
        })
    }

    /// Connects and shakes hands, by TLS or without, up to the choice of an export.
    fn greet(&self, patience: Patience<'_>) -> Result<(Arc<Socket>, Sender, Receiver, Greeted), Refused> {
        let socket = Arc::new(Socket::connect(&self.target.address, patience.until, self.deadline)?);
        let (mut sender, mut receiver) = channel::plain(&socket);
        let mut both = Both { sender: &mut sender, receiver: &mut receiver, patience };
        let greeted = handshake::greet(&mut both)?;
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            handshake::start_tls(&mut both, greeted)?;
            let (session, received) = tls.begin(&socket, self.target.server_name(), patience).map_err(|e| {
                let refuses = e.kind() == std::io::ErrorKind::InvalidData;
                if refuses { Refused::Unfit(format!("TLS failed: {e}")) } else { e.into() }
            })?;
            let (sender, receiver) = channel::encrypted(&socket, session, received);
            return Ok((socket, sender, receiver, greeted));
        }
        Ok((socket, sender, receiver, greeted))
    }

    fn connect(&self, log: &Arc<Log>, patience: Patience<'_>) -> Result<(Connection, Export), Refused> {
        let (socket, mut sender, mut receiver, greeted) = self.greet(patience)?;
        let mut both = Both { sender: &mut sender, receiver: &mut receiver, patience };
        let export = handshake::choose(&mut both, greeted, &self.target.export)?;
        Ok((Connection::new(socket, sender, receiver, &export, log.clone()), export))
    }

    /// The names of all exports of the server.
    pub(crate) fn list(&self, patience: Patience<'_>) -> Result<Vec<String>, Refused> {
        let (_, mut sender, mut receiver, greeted) = self.greet(patience)?;
        handshake::list(&mut Both { sender: &mut sender, receiver: &mut receiver, patience }, greeted)
    }
}

/// The connections to an export.
pub(crate) struct Link {
    pub(crate) export: Export,
    connections: Vec<Connection>,
}

impl Link {
    /// Makes all connections. The first is required; the others as far as the server accepts them.
    pub(crate) fn open(place: &Place, log: &Arc<Log>, patience: Patience<'_>) -> Result<Self, Refused> {
        let (first, export) = place.connect(log, patience)?;
        let mut connections = vec![first];
        let several = if export.has(CAN_MULTI_CONN) { place.connections } else { 1 };
        let until = patience.until.min(Instant::now() + PATIENCE);
        while connections.len() < several {
            match place.connect(log, Patience { until, ..patience }) {
                Ok((another, same)) if same.is_same(&export) => connections.push(another),
                Ok((another, _)) => {
                    log::warn!("{} tells two connections different things; one is used", place.target);
                    another.close();
                    break;
                }
                Err(e) => {
                    log::warn!("{} takes {} connections: {e}", place.target, connections.len());
                    break;
                }
            }
        }
        Ok(Link { export, connections })
    }

    pub(crate) fn first(&self) -> &Connection {
        &self.connections[0]
    }

    /// Sends a request by the connection that has the least to do.
    pub(crate) fn call(&self, command: &Command, target: Target<'_>, until: Instant) -> Outcome {
        let mut best = &self.connections[0];
        let mut least = best.load();
        for connection in &self.connections[1..] {
            if least == 0 {
                break;
            }
            let load = connection.load();
            if load < least {
                (best, least) = (connection, load);
            }
        }
        best.call(command, target, until)
    }

    pub(crate) fn stop(&self) {
        self.connections.iter().for_each(Connection::stop);
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.connections.iter().all(Connection::is_settled)
    }

    pub(crate) fn has_orphans(&self) -> bool {
        self.connections.iter().any(Connection::has_orphans)
    }

    /// The reason why one of the connections ended.
    pub(crate) fn why_it_ended(&self) -> Option<End> {
        self.connections.iter().find_map(Connection::why_it_ended)
    }

    /// Sends and reads on behalf of callers that have given up.
    pub(crate) fn drive(&self, tick: Duration) {
        let unsettled = self.connections.iter().filter(|connection| !connection.is_settled());
        unsettled.for_each(|connection| connection.drive(tick));
    }

    pub(crate) fn close(&self) {
        self.connections.iter().for_each(Connection::close);
    }
}
