//! Answers of a server, for [`Fake`](super::fake::Fake).

/// The answers of PyKMIP 0.11 for the object 1 named `disks`; the one of Decrypt has the DEK of `conformance`.
pub fn sound(request: &[u8]) -> Vec<u8> {
    let text = match operation(request) {
        0x08 => include_str!("../answers/locate-1.4.hex"),
        0x0A => include_str!("../answers/get.hex"),
        0x0B => include_str!("../answers/attributes-1.4.hex"),
        0x1F => include_str!("../answers/encrypt.hex"),
        0x20 => include_str!("../answers/decrypt.hex"),
        other => panic!("{other:#x}"),
    };
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// The number after the tag and type of Operation.
pub fn operation(request: &[u8]) -> u8 {
    let at = request.windows(5).position(|window| window == b"\x42\x00\x5c\x05\x00").unwrap();
    request[at + 11]
}

/// The answer with other bytes in one place, and as many.
pub fn altered(answer: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    let found: Vec<_> = (0..answer.len()).filter(|at| answer[*at..].starts_with(from)).collect();
    let [at] = found[..] else { panic!("{} times", found.len()) };
    assert_eq!(from.len(), to.len());
    [&answer[..at], to, &answer[at + from.len()..]].concat()
}

/// The bytes of the first field of this tag and of the type Byte String.
pub fn bytes_of(request: &[u8], tag: [u8; 3]) -> Vec<u8> {
    let start = [&tag[..], &[8]].concat();
    let at = request.windows(4).position(|window| window == start).unwrap();
    let len = u32::from_be_bytes(request[at + 4..at + 8].try_into().unwrap()) as usize;
    request[at + 8..at + 8 + len].to_vec()
}

/// An answer to this request that the server won't do it, for a reason.
pub fn refusal(request: &[u8], reason: u32, text: &str) -> Vec<u8> {
    let field = |tag: u32, kind: u8, value: &[u8]| {
        let mut bytes = tag.to_be_bytes()[1..].to_vec();
        bytes.push(kind);
        bytes.extend((value.len() as u32).to_be_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    };
    let number = |tag, kind, value: u32| field(tag, kind, &value.to_be_bytes());
    let item = [
        number(0x42_005C, 5, operation(request).into()),
        number(0x42_007F, 5, 1),
        number(0x42_007E, 5, reason),
        field(0x42_007D, 7, text.as_bytes()),
    ];
    let version = [number(0x42_006A, 2, 1), number(0x42_006B, 2, 4)].concat();
    let header = [field(0x42_0069, 1, &version), number(0x42_000D, 2, 1)].concat();
    let message = [field(0x42_007A, 1, &header), field(0x42_000F, 1, &item.concat())].concat();
    field(0x42_007B, 1, &message)
}
