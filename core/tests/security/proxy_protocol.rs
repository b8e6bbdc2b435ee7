//! The PROXY protocol, however it is cut.

use std::net::SocketAddr;

use bytes::BytesMut;
use proptest::prelude::*;
use sinew_core::security::{BadProxyHeader, ProxyHeader, ProxyProtocol};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn protocol() -> ProxyProtocol {
    ProxyProtocol::new(["10.0.0.0/8".parse().unwrap()], ProxyProtocol::LIMIT)
}

fn header(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, block].concat()
}

/// What comes out if the input comes in these pieces, and what is left of it.
fn decode<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Result<Option<ProxyHeader>, BadProxyHeader>, Vec<u8>) {
    let protocol = protocol();
    let mut inbox = BytesMut::new();
    let mut found = Ok(None);
    for piece in pieces {
        inbox.extend_from_slice(piece);
        if found == Ok(None) {
            let before = inbox.clone();
            found = protocol.decode(&mut inbox);
            if !matches!(found, Ok(Some(_))) {
                assert_eq!(inbox, before, "taken too early");
                assert_eq!(protocol.decode(&mut inbox), found, "not the same again");
            }
        }
    }
    (found, inbox.to_vec())
}

/// Whole, byte by byte, cut once anywhere, each with bytes behind it.
fn all_ways(input: &[u8], expected: Result<ProxyHeader, BadProxyHeader>) {
    let behind = b"GET / HTTP/1.1\r\n";
    let long = [input, behind].concat();
    let left = if expected.is_ok() { &behind[..] } else { &long[..] };
    let expected = (expected.map(Some), left.to_vec());
    assert_eq!(decode([&long[..]].into_iter()), expected, "{input:?}");
    assert_eq!(decode(long.chunks(1)), expected, "{input:?} byte by byte");
    for cut in 0..long.len() {
        let (head, tail) = long.split_at(cut);
        assert_eq!(decode([head, tail].into_iter()), expected, "{input:?} cut at {cut}");
    }
}

fn proxied(source: &str, destination: &str) -> ProxyHeader {
    let address = |text: &str| -> SocketAddr { text.parse().unwrap() };
    ProxyHeader::Proxied { source: address(source), destination: address(destination) }
}

const V4: &[u8] = &[192, 0, 2, 1, 10, 0, 0, 1, 0x1f, 0x90, 0, 80];

fn v6() -> Vec<u8> {
    let mut block = vec![0; 36];
    block[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    block[15] = 7;
    block[31] = 1;
    block[32..].copy_from_slice(&[0, 1, 1, 0xbb]);
    block
}

#[test]
fn a_header_says_whose_connection_it_is() {
    let client = proxied("192.0.2.1:8080", "10.0.0.1:80");
    all_ways(&header(0x21, 0x11, V4), Ok(client));
    all_ways(&header(0x21, 0x21, &v6()), Ok(proxied("[2001:db8::7]:1", "[::1]:443")));
    // Behind the addresses stands what nobody reads: here a name, and garbage.
    let with_tlvs = [V4, &[0x02, 0, 4], b"a.io", &[0xff; 5]].concat();
    all_ways(&header(0x21, 0x11, &with_tlvs), Ok(client));
    all_ways(&header(0x21, 0x31, &[b'/'; 216]), Ok(ProxyHeader::Unknown));
    all_ways(&header(0x21, 0x00, b""), Ok(ProxyHeader::Unknown));
    all_ways(&header(0x21, 0x00, b"whatever"), Ok(ProxyHeader::Unknown));
    // An IPv4 address is one, whatever it comes in.
    let mut mapped = v6();
    mapped[..16].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1]);
    all_ways(&header(0x21, 0x21, &mapped), Ok(proxied("192.0.2.1:1", "[::1]:443")));
}

#[test]
fn a_proxy_may_speak_for_itself() {
    for family in [0x00, 0x11, 0x21, 0x12, 0xff] {
        all_ways(&header(0x20, family, b""), Ok(ProxyHeader::Local));
        all_ways(&header(0x20, family, V4), Ok(ProxyHeader::Local));
    }
}

#[test]
fn what_is_wrong_is_refused_at_once() {
    use BadProxyHeader::{Command, Family, Signature, TooLong, Truncated, Version};
    all_ways(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", Err(Signature));
    all_ways(b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\n", Err(Signature));
    all_ways(&header(0x11, 0x11, V4), Err(Version));
    all_ways(&header(0x31, 0x11, V4), Err(Version));
    all_ways(&header(0x22, 0x11, V4), Err(Command));
    for family in [0x01, 0x10, 0x12, 0x13, 0x22, 0x32, 0x41, 0xff] {
        all_ways(&header(0x21, family, &[0; 216]), Err(Family));
    }
    all_ways(&header(0x21, 0x11, &V4[..11]), Err(Truncated));
    all_ways(&header(0x21, 0x21, &[0; 35]), Err(Truncated));
    all_ways(&header(0x21, 0x31, &[0; 215]), Err(Truncated));
    let room = ProxyProtocol::LIMIT - 16;
    all_ways(&header(0x20, 0x00, &vec![0; room + 1]), Err(TooLong));
    let longest = header(0x20, 0x00, &vec![0; room]);
    assert_eq!(decode([&longest[..]].into_iter()), (Ok(Some(ProxyHeader::Local)), Vec::new()));
    // Nobody waits for what is too long to be taken.
    let declared = [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat();
    assert_eq!(decode([&declared[..]].into_iter()).0, Err(TooLong));
}

#[test]
fn only_proxies_are_expected_to_send_one() {
    assert!(protocol().is_expected("10.1.2.3".parse().unwrap()));
    assert!(protocol().is_expected("::ffff:10.1.2.3".parse().unwrap()));
    assert!(!protocol().is_expected("192.0.2.1".parse().unwrap()));
}

proptest! {
    /// Nearly a header, cut anyhow.
    #[test]
    fn cuts_change_nothing(
        command in prop_oneof![4 => Just(0x21), 1 => any::<u8>()],
        family in prop_oneof![4 => prop::sample::select(vec![0_u8, 0x11, 0x21, 0x31]), 1 => any::<u8>()],
        block in prop::collection::vec(any::<u8>(), 0..300),
        flip in prop::option::weighted(0.2, (0..16_usize, any::<u8>())),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut input = header(command, family, &block);
        if let Some((at, byte)) = flip {
            input[at] = byte;
        }
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(input.len())).collect();
        cuts.extend([0, input.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| &input[pair[0]..pair[1]]);
        prop_assert_eq!(decode(pieces), decode([&input[..]].into_iter()));
    }
}
