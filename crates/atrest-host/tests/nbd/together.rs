//! Requests that come together, cut anywhere on their way.

use std::collections::HashMap;

use super::client::*;
use super::{large, serve};

const AT: u64 = 16 << 10;

/// A request as it is sent.
fn request(cookie: u64, kind: u16, len: usize, data: &[u8]) -> Vec<u8> {
    let header = [
        &0x2560_9513u32.to_be_bytes()[..],
        &0u16.to_be_bytes(),
        &kind.to_be_bytes(),
        &cookie.to_be_bytes(),
        &(cookie * AT).to_be_bytes(),
        &(len as u32).to_be_bytes(),
    ];
    [&header.concat()[..], data].concat()
}

/// Each whole request is answered before the rest of the next one comes: nothing waits in the server.
#[test]
fn requests_are_answered_before_more_come() {
    let world = serve(large());
    let mut client = Client::go(&world.socket, false);
    let mut seed = 1u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    // Each at a place of its own, so that it doesn't matter which is done first.
    let (mut sent, mut ends, mut expected) = (Vec::new(), Vec::new(), HashMap::new());
    for cookie in 0..300 {
        let (len, at) = (512 * (1 + random(16)), (cookie * AT) as usize);
        let writes = random(2) == 0;
        let data: Vec<u8> = if writes { (0..len).map(|_| random(256) as u8).collect() } else { Vec::new() };
        sent.extend(request(cookie, u16::from(writes), len, &data));
        ends.push(sent.len());
        let answer = if writes { Vec::new() } else { world.disk.content(at, len) };
        expected.insert(cookie, (answer, (at, data)));
    }
    let (mut begin, mut answered) = (0, 0);
    while begin < sent.len() {
        let end = (begin + 1 + random(30 << 10)).min(sent.len());
        client.send(&sent[begin..end]);
        while answered < ends.iter().filter(|&&of| of <= end).count() {
            let header = client.take(16).expect("a reply to each request that was sent as a whole");
            assert_eq!(header[..8], [&0x6744_6698u32.to_be_bytes()[..], &[0; 4]].concat());
            let cookie = u64::from_be_bytes(header[8..].try_into().unwrap());
            let (answer, (at, data)) = expected.remove(&cookie).expect("one reply for each");
            assert_eq!(client.take(answer.len()).unwrap(), answer, "request {cookie}");
            assert_eq!(world.disk.content(at, data.len()), data, "request {cookie}");
            answered += 1;
        }
        begin = end;
    }
    assert!(expected.is_empty());
    // A goodbye behind requests doesn't cost their answers.
    let last = [request(1, WRITE, 512, &[7; 512]), request(2, READ, 512, &[]), request(3, DISCONNECT, 0, &[])];
    client.send(&last.concat());
    assert_eq!(client.take(16 + 16 + 512).unwrap().len(), 544);
    assert!(client.is_cut_off());
    assert_eq!(world.disk.content(AT as usize, 512), [7; 512]);
}
