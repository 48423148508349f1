//! Commands of a TPM, and the objects and sessions they load (TPM 2.0 Library, Part 3).

use std::io;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::code::Code;
use crate::crypt::LEN;
use crate::fault::Fault;
use crate::pcr::PcrSelection;
use crate::public::{self, AES, CFB, NULL, SHA256};
use crate::session::{Session, random};
use crate::transport::{Deadline, TpmAddress, Transport};
use crate::wire::{Malformed, Reader, Writer};

/// Handles that always are (Part 2, 7.4).
const OWNER: u32 = 0x4000_0001;
const NO_HANDLE: u32 = 0x4000_0007;
const PASSWORD: u32 = 0x4000_0009;

const NO_SESSIONS: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;

/// The delay before a busy TPM is asked again.
const BUSY: Duration = Duration::from_millis(20);

/// A command, by its code and its name.
#[derive(Clone, Copy)]
struct Command(u32, &'static str);

const POLICY_AUTH_VALUE: Command = Command(0x16B, "TPM2_PolicyAuthValue");
const POLICY_GET_DIGEST: Command = Command(0x189, "TPM2_PolicyGetDigest");
const POLICY_PCR: Command = Command(0x17F, "TPM2_PolicyPCR");
const CREATE_PRIMARY: Command = Command(0x131, "TPM2_CreatePrimary");
const CREATE: Command = Command(0x153, "TPM2_Create");
const LOAD: Command = Command(0x157, "TPM2_Load");
const UNSEAL: Command = Command(0x15E, "TPM2_Unseal");
const FLUSH_CONTEXT: Command = Command(0x165, "TPM2_FlushContext");
const READ_PUBLIC: Command = Command(0x173, "TPM2_ReadPublic");
const START_AUTH_SESSION: Command = Command(0x176, "TPM2_StartAuthSession");

/// An object in the TPM, with the name and public area that answers are checked against.
pub(crate) struct Object {
    handle: u32,
    pub(crate) name: Vec<u8>,
    pub(crate) public: Vec<u8>,
}

/// The authorisation of a command.
enum Authorisation<'s> {
    /// No authorisation.
    None,
    /// An empty password.
    Empty,
    /// A session, with the authorisation value of the entity.
    Session(&'s mut Session, &'s [u8]),
}

/// The demands of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) pcrs: PcrSelection,
    /// The authorisation value too: TPM2_PolicyAuthValue.
    pub(crate) auth: bool,
}

/// An open TPM. Objects and sessions loaded there are flushed when it is dropped.
pub(crate) struct Tpm {
    transport: Transport,
    /// Handles to be flushed.
    loaded: Vec<u32>,
    /// A command got no whole answer, so that the next answer would not be that of the next command.
    broken: bool,
}

/// The answer to a command: a handle if it makes one, and parameters.
struct Answer {
    handle: u32,
    parameters: Zeroizing<Vec<u8>>,
}

impl Tpm {
    pub(crate) fn open(address: &TpmAddress, deadline: Deadline) -> io::Result<Self> {
        Ok(Tpm { transport: Transport::open(address, deadline)?, loaded: Vec::new(), broken: false })
    }

    /// The parent: a persistent object, or one that is made from the template. `pinned` is the public area that it must have.
    pub(crate) fn parent(&mut self, persistent: Option<u32>, pinned: Option<&[u8]>) -> Result<Object, Fault> {
        let (handle, public) = match persistent {
            Some(handle) => {
                let answer = self.run(READ_PUBLIC, &[handle], &[], Authorisation::None, Writer::new(), false)?;
                (handle, Reader(&answer.parameters).sized()?.to_vec())
            }
            None => {
                let mut w = Writer::new();
                w.sized(&[0; 4]).sized(&public::parent_template()).sized(&[]).u32(0);
                let owner = OWNER.to_be_bytes();
                let answer = self.run(CREATE_PRIMARY, &[OWNER], &[&owner], Authorisation::Empty, w, true)?;
                (answer.handle, Reader(&answer.parameters).sized()?.to_vec())
            }
        };
        if pinned.is_some_and(|pinned| *pinned != public) {
            return Err(Fault::OtherTpm);
        }
        // The name is computed here, so that authorisations hold for this public area alone.
        Ok(Object { handle, name: public::name(&public)?, public })
    }

    /// Seals bytes below a parent. Returns the public and the private part.
    pub(crate) fn seal(
        &mut self,
        parent: &Object,
        data: &[u8],
        auth: &[u8],
        policy: Option<Policy>,
    ) -> Result<(Vec<u8>, Vec<u8>), Fault> {
        let digest = policy.map(|policy| self.policy_digest(policy)).transpose()?;
        let mut sensitive = Writer::new();
        sensitive.sized(auth).sized(data);
        let mut w = Writer::new();
        w.sized(sensitive.as_slice());
        w.sized(&public::sealed_template(digest.as_ref(), !auth.is_empty())).sized(&[]).u32(0);
        let mut session = self.start(parent, Session::HMAC)?;
        session.encrypts_command = true;
        let authorisation = Authorisation::Session(&mut session, &[]);
        let answer = self.run(CREATE, &[parent.handle], &[&parent.name], authorisation, w, false)?;
        let mut reader = Reader(&answer.parameters);
        let (private, public) = (reader.sized()?.to_vec(), reader.sized()?.to_vec());
        public::check_sealed(&public)?;
        Ok((public, private))
    }

    /// Unseals bytes that were sealed below a parent.
    pub(crate) fn unseal(
        &mut self,
        parent: &Object,
        (public, private): (&[u8], &[u8]),
        auth: &[u8],
        policy: Option<Policy>,
    ) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let mut w = Writer::new();
        w.sized(private).sized(public);
        let answer = self.run(LOAD, &[parent.handle], &[&parent.name], Authorisation::Empty, w, true)?;
        let name = public::name(public)?;
        if *Reader(&answer.parameters).sized()? != name {
            return Err(Malformed("the TPM has loaded another object").into());
        }
        let mut session = match policy {
            None => self.start(parent, Session::HMAC)?,
            Some(policy) => {
                let mut session = self.start(parent, Session::POLICY)?;
                self.satisfy(session.handle, policy)?;
                session.proves_auth = policy.auth;
                session
            }
        };
        session.encrypts_answer = true;
        let authorisation = Authorisation::Session(&mut session, auth);
        let unsealed = self.run(UNSEAL, &[answer.handle], &[&name], authorisation, Writer::new(), false)?;
        let mut reader = Reader(&unsealed.parameters);
        let data = Zeroizing::new(reader.sized()?.to_vec());
        reader.end()?;
        Ok(data)
    }

    fn policy_digest(&mut self, policy: Policy) -> Result<[u8; LEN], Fault> {
        let mut w = Writer::new();
        w.sized(&random()?).sized(&[]).u8(Session::TRIAL).u16(NULL).u16(SHA256);
        let trial = self.run(START_AUTH_SESSION, &[NO_HANDLE, NO_HANDLE], &[], Authorisation::None, w, true)?.handle;
        self.satisfy(trial, policy)?;
        let digest = self.run(POLICY_GET_DIGEST, &[trial], &[], Authorisation::None, Writer::new(), false)?;
        let digest = Reader(&digest.parameters).sized()?.try_into();
        digest.map_err(|_| Malformed("the digest of a policy hasn't 32 bytes").into())
    }

    /// Applies the policy to a session. Whether it is fulfilled shows when the session is used.
    fn satisfy(&mut self, session: u32, policy: Policy) -> Result<(), Fault> {
        let mut w = Writer::new();
        w.sized(&[]).u32(1).u16(SHA256).u8(3).bytes(&policy.pcrs.bitmap());
        self.run(POLICY_PCR, &[session], &[], Authorisation::None, w, false)?;
        if policy.auth {
            self.run(POLICY_AUTH_VALUE, &[session], &[], Authorisation::None, Writer::new(), false)?;
        }
        Ok(())
    }

    /// Starts a session whose key only the parent's holder and this process know.
    fn start(&mut self, parent: &Object, kind: u8) -> Result<Session, Fault> {
        let key = public::point(&parent.public)?;
        let salt = crate::crypt::salt(&key, |bytes| getrandom::fill(bytes).ok())?;
        let (salt, point) = salt.ok_or(Malformed("the parent's point doesn't lie on its curve"))?;
        let mut secret = Writer::new();
        secret.sized(&point.x).sized(&point.y);
        let nonce = random()?;
        let mut w = Writer::new();
        w.sized(&nonce).sized(secret.as_slice()).u8(kind).u16(AES).u16(128).u16(CFB).u16(SHA256);
        let handles = [parent.handle, NO_HANDLE];
        let answer = self.run(START_AUTH_SESSION, &handles, &[], Authorisation::None, w, true)?;
        let mut reader = Reader(&answer.parameters);
        let of_tpm = reader.sized()?;
        reader.end()?;
        Session::new(answer.handle, &salt, &nonce, of_tpm, kind)
    }

    /// Runs a command. `names` are those of its authorised handles. It is repeated while the TPM is busy.
    fn run(
        &mut self,
        command: Command,
        handles: &[u32],
        names: &[&[u8]],
        mut authorisation: Authorisation<'_>,
        parameters: Writer,
        makes_handle: bool,
    ) -> Result<Answer, Fault> {
        if self.broken {
            return Err(Malformed("a command before this one got no answer").into());
        }
        let plain = parameters.done();
        loop {
            match self.run_once(command, handles, names, &mut authorisation, &plain, makes_handle) {
                Err(Fault::Code(_, code)) if code.passes() => {
                    let left = self.transport.deadline.left()?;
                    std::thread::sleep(BUSY.min(left));
                }
                done => return done,
            }
        }
    }

    fn run_once(
        &mut self,
        command: Command,
        handles: &[u32],
        names: &[&[u8]],
        authorisation: &mut Authorisation<'_>,
        plain: &[u8],
        makes_handle: bool,
    ) -> Result<Answer, Fault> {
        let mut parameters = Zeroizing::new(plain.to_vec());
        let mut area = Writer::new();
        match authorisation {
            Authorisation::None => {}
            Authorisation::Empty => {
                area.u32(PASSWORD).sized(&[]).u8(1).sized(&[]);
            }
            Authorisation::Session(session, auth) => {
                session.authorise(&mut area, command.0, names, &mut parameters, auth)?;
            }
        }
        let area = area.done();
        let has_session = !area.is_empty();
        let mut w = Writer::new();
        let area_len = if has_session { 4 + area.len() } else { 0 };
        let len = 10 + 4 * handles.len() + area_len + parameters.len();
        w.u16(if has_session { SESSIONS } else { NO_SESSIONS }).u32(len as u32).u32(command.0);
        for handle in handles {
            w.u32(*handle);
        }
        if has_session {
            w.u32(area.len() as u32).bytes(&area);
        }
        w.bytes(&parameters);

        self.broken = true;
        let bytes = self.transport.ask(w.as_slice())?;
        self.broken = false;

        let mut reader = Reader(&bytes);
        let (tag, _len, code) = (reader.u16()?, reader.u32()?, reader.u32()?);
        if code != 0 {
            return Err(Fault::Code(command.1, Code(code)));
        }
        let handle = if makes_handle { reader.u32()? } else { 0 };
        if makes_handle {
            self.loaded.push(handle);
        }
        if !has_session {
            let expected = Malformed("an answer has a session where the command had none");
            return (tag == NO_SESSIONS)
                .then(|| Answer { handle, parameters: Zeroizing::new(reader.0.to_vec()) })
                .ok_or(expected.into());
        }
        if tag != SESSIONS {
            return Err(Malformed("an answer has no session").into());
        }
        let len = reader.u32()? as usize;
        let mut parameters = Zeroizing::new(reader.take(len)?.to_vec());
        if let Authorisation::Session(session, auth) = authorisation {
            session.check(reader, command.0, &mut parameters, auth)?;
        }
        Ok(Answer { handle, parameters })
    }
}

impl Drop for Tpm {
    /// Flushes loaded objects and sessions: without a resource manager they would stay, and a TPM has room for three objects.
    fn drop(&mut self) {
        while let Some(handle) = self.loaded.pop().filter(|_| !self.broken) {
            let mut w = Writer::new();
            w.u32(handle);
            // The handle of this command is a parameter (Part 3, 28.4).
            if let Err(fault) = self.run(FLUSH_CONTEXT, &[], &[], Authorisation::None, w, false) {
                log::warn!("the TPM keeps the object {handle:#x}, which could not be flushed: {fault:?}");
            }
        }
    }
}
