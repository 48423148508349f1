//! The answers of a TPM other than success (TPM 2.0 Library, Part 2, 6.6).

use std::fmt;

/// A TPM_RC other than success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) u32);

/// Errors about a handle, a parameter or a session: bit 7 is set, and the number is in the lower six bits.
const FORMAT_1: u32 = 0x80;

impl Code {
    /// The number without the position of the handle, parameter or session at fault.
    fn plain(self) -> u32 {
        if self.0 & FORMAT_1 != 0 { FORMAT_1 | (self.0 & 0x3F) } else { self.0 }
    }

    /// TPM_RC_AUTH_FAIL and TPM_RC_BAD_AUTH: a wrong authorisation value. After the first the TPM counts.
    pub(crate) fn is_auth(self) -> bool {
        matches!(self.plain(), 0x8E | 0xA2)
    }

    /// TPM_RC_POLICY_FAIL: the machine isn't in the state that the policy demands.
    pub(crate) fn is_policy(self) -> bool {
        self.plain() == 0x9D
    }

    /// TPM_RC_LOCKOUT: too many wrong authorisation values.
    pub(crate) fn is_lockout(self) -> bool {
        self.plain() == 0x921
    }

    /// TPM_RC_INTEGRITY and TPM_RC_BINDING: this TPM didn't make the sealed bytes.
    pub(crate) fn is_integrity(self) -> bool {
        matches!(self.plain(), 0x9F | 0xA5)
    }

    /// TPM_RC_PCR_CHANGED: between the look at the PCRs and their use.
    pub(crate) fn is_pcr_changed(self) -> bool {
        self.plain() == 0x128
    }

    /// TPM_RC_YIELDED, TPM_RC_TESTING, TPM_RC_NV_RATE, TPM_RC_RETRY, TPM_RC_NV_UNAVAILABLE: ask again.
    pub(crate) fn passes(self) -> bool {
        matches!(self.plain(), 0x908 | 0x90A | 0x920 | 0x922 | 0x923)
    }

    /// The action that the error's reader can take.
    fn advice(self) -> &'static str {
        match self.plain() {
            0x921 => "; wait until the TPM counts down, or reset it with tpm2_dictionarylockout --clear-lockout",
            0x902..=0x904 => "; use the kernel's resource manager, /dev/tpmrm0, or flush what others left there",
            0x8E | 0xA2 => "; the authorisation value is wrong",
            0x8B => "; the persistent handle of the parent doesn't exist",
            _ => "",
        }
    }
}

const NAMES: [(u32, &str); 25] = [
    (0x100, "TPM_RC_INITIALIZE"),
    (0x101, "TPM_RC_FAILURE"),
    (0x128, "TPM_RC_PCR_CHANGED"),
    (0x143, "TPM_RC_COMMAND_CODE"),
    (0x84, "TPM_RC_VALUE"),
    (0x8B, "TPM_RC_HANDLE"),
    (0x8E, "TPM_RC_AUTH_FAIL"),
    (0x90, "TPM_RC_PP"),
    (0x92, "TPM_RC_SCHEME"),
    (0x95, "TPM_RC_SIZE"),
    (0x96, "TPM_RC_SYMMETRIC"),
    (0x9D, "TPM_RC_POLICY_FAIL"),
    (0x9F, "TPM_RC_INTEGRITY"),
    (0xA2, "TPM_RC_BAD_AUTH"),
    (0xA3, "TPM_RC_EXPIRED"),
    (0xA5, "TPM_RC_BINDING"),
    (0xA6, "TPM_RC_CURVE"),
    (0x902, "TPM_RC_OBJECT_MEMORY"),
    (0x903, "TPM_RC_SESSION_MEMORY"),
    (0x904, "TPM_RC_MEMORY"),
    (0x910, "TPM_RC_REFERENCE_H0"),
    (0x920, "TPM_RC_NV_RATE"),
    (0x921, "TPM_RC_LOCKOUT"),
    (0x922, "TPM_RC_RETRY"),
    (0x923, "TPM_RC_NV_UNAVAILABLE"),
];

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(code, _)| *code == self.plain()).map_or("the code", |(_, name)| name);
        write!(f, "{name} ({:#x}){}", self.0, self.advice())
    }
}

impl std::error::Error for Code {}
