//! Numbers of KMIP: tags, operations, states (KMIP 1.4, 9.1.3; KMIP 2.1, 11).

pub(crate) const ACTIVATION_DATE: u32 = 0x42_0001;
pub(crate) const ATTRIBUTE: u32 = 0x42_0008;
pub(crate) const ATTRIBUTE_NAME: u32 = 0x42_000A;
pub(crate) const ATTRIBUTE_VALUE: u32 = 0x42_000B;
pub(crate) const BATCH_COUNT: u32 = 0x42_000D;
pub(crate) const BATCH_ITEM: u32 = 0x42_000F;
pub(crate) const BLOCK_CIPHER_MODE: u32 = 0x42_0011;
pub(crate) const CRYPTOGRAPHIC_ALGORITHM: u32 = 0x42_0028;
pub(crate) const CRYPTOGRAPHIC_LENGTH: u32 = 0x42_002A;
pub(crate) const CRYPTOGRAPHIC_PARAMETERS: u32 = 0x42_002B;
pub(crate) const CRYPTOGRAPHIC_USAGE_MASK: u32 = 0x42_002C;
pub(crate) const DEACTIVATION_DATE: u32 = 0x42_002F;
pub(crate) const INITIAL_DATE: u32 = 0x42_0039;
pub(crate) const IV_COUNTER_NONCE: u32 = 0x42_003D;
pub(crate) const KEY_BLOCK: u32 = 0x42_0040;
pub(crate) const KEY_FORMAT_TYPE: u32 = 0x42_0042;
pub(crate) const KEY_MATERIAL: u32 = 0x42_0043;
pub(crate) const KEY_VALUE: u32 = 0x42_0045;
pub(crate) const KEY_WRAPPING_DATA: u32 = 0x42_0046;
pub(crate) const MAXIMUM_ITEMS: u32 = 0x42_004F;
pub(crate) const MAXIMUM_RESPONSE_SIZE: u32 = 0x42_0050;
pub(crate) const NAME: u32 = 0x42_0053;
pub(crate) const NAME_TYPE: u32 = 0x42_0054;
pub(crate) const NAME_VALUE: u32 = 0x42_0055;
pub(crate) const OBJECT_TYPE: u32 = 0x42_0057;
pub(crate) const OPERATION: u32 = 0x42_005C;
pub(crate) const PROCESS_START_DATE: u32 = 0x42_0067;
pub(crate) const PROTECT_STOP_DATE: u32 = 0x42_0068;
pub(crate) const PROTOCOL_VERSION: u32 = 0x42_0069;
pub(crate) const PROTOCOL_VERSION_MAJOR: u32 = 0x42_006A;
pub(crate) const PROTOCOL_VERSION_MINOR: u32 = 0x42_006B;
pub(crate) const REQUEST_HEADER: u32 = 0x42_0077;
pub(crate) const REQUEST_MESSAGE: u32 = 0x42_0078;
pub(crate) const REQUEST_PAYLOAD: u32 = 0x42_0079;
pub(crate) const RESPONSE_HEADER: u32 = 0x42_007A;
pub(crate) const RESPONSE_MESSAGE: u32 = 0x42_007B;
pub(crate) const RESPONSE_PAYLOAD: u32 = 0x42_007C;
pub(crate) const RESULT_MESSAGE: u32 = 0x42_007D;
pub(crate) const RESULT_REASON: u32 = 0x42_007E;
pub(crate) const RESULT_STATUS: u32 = 0x42_007F;
pub(crate) const REVOCATION_REASON: u32 = 0x42_0081;
pub(crate) const STATE: u32 = 0x42_008D;
pub(crate) const SYMMETRIC_KEY: u32 = 0x42_008F;
pub(crate) const UNIQUE_IDENTIFIER: u32 = 0x42_0094;
pub(crate) const DATA: u32 = 0x42_00C2;
pub(crate) const TAG_LENGTH: u32 = 0x42_00CE;
pub(crate) const ADDITIONAL_DATA: u32 = 0x42_00FE;
pub(crate) const AUTHENTICATION_TAG: u32 = 0x42_00FF;
pub(crate) const ATTRIBUTES: u32 = 0x42_0125;

/// The names in KMIP 1.4 of the attributes that are read here (KMIP 1.4, 3).
pub(crate) const ATTRIBUTE_NAMES: [(&str, u32); 13] = [
    ("Unique Identifier", UNIQUE_IDENTIFIER),
    ("Name", NAME),
    ("Object Type", OBJECT_TYPE),
    ("Cryptographic Algorithm", CRYPTOGRAPHIC_ALGORITHM),
    ("Cryptographic Length", CRYPTOGRAPHIC_LENGTH),
    ("Cryptographic Usage Mask", CRYPTOGRAPHIC_USAGE_MASK),
    ("State", STATE),
    ("Initial Date", INITIAL_DATE),
    ("Activation Date", ACTIVATION_DATE),
    ("Process Start Date", PROCESS_START_DATE),
    ("Protect Stop Date", PROTECT_STOP_DATE),
    ("Deactivation Date", DEACTIVATION_DATE),
    ("Revocation Reason", REVOCATION_REASON),
];

/// Object Type: Symmetric Key.
pub(crate) const OF_SYMMETRIC_KEY: u32 = 2;
/// Cryptographic Algorithm: AES.
pub(crate) const AES: u32 = 3;
/// Block Cipher Mode: GCM.
pub(crate) const GCM: u32 = 9;
/// Name Type: Uninterpreted Text String.
pub(crate) const UNINTERPRETED_TEXT: u32 = 1;
/// Key Format Type: Raw.
pub(crate) const RAW: u32 = 1;
/// Cryptographic Usage Mask.
pub(crate) const MAY_ENCRYPT: u32 = 4;
pub(crate) const MAY_DECRYPT: u32 = 8;
