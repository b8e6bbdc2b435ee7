//! Bodies with a content coding, over sockets.

use std::io::{Read, Write};

use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::Method;
use sinew_core::content_coding::{Compression, Decompression};
use sinew_driver::{Body, Problem, Request, Response, RouteOptions};

use super::app::{is_pattern, pattern, pieces};
use super::each;
use super::site::{Site, client_of};
use crate::rt;

const LENGTH: usize = 3 << 20;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

async fn site(security: super::site::Security) -> Site {
    async fn echo(request: Request) -> Result<Response, Problem> {
        Ok(Response::ok(request.into_body()).header("content-type", "text/plain"))
    }
    async fn collect(request: Request) -> Result<String, Problem> {
        Ok(request.bytes().await?.len().to_string())
    }
    // The pattern repeats itself every 251 bytes.
    let policy = Decompression { max_ratio: 300, ..Decompression::default() };
    let large = RouteOptions::new().body_limit(1 << 30);
    let builder = rt::RestServer::builder()
        .listen("127.0.0.1:0")
        .compress(Compression::default())
        .decompress(policy)
        .route(Method::POST, "/collect", collect)
        .route_with(Method::POST, "/echo", large, echo);
    Site::run(security, builder).await
}

#[test]
fn bodies_are_unpacked_and_answers_packed_while_they_pass() {
    each(async |security| {
        let site = site(security).await;
        let packed = gzip(&pattern(0, LENGTH));
        let cut: Vec<_> = packed.chunks(1000).map(<[u8]>::to_vec).map(bytes::Bytes::from).collect();
        let body = futures_util::stream::iter(cut.into_iter().map(Ok::<_, std::io::Error>));
        let call = client_of(&site).post("/echo").header("content-encoding", "gzip");
        let call = call.header("accept-encoding", "gzip, br").body(Body::stream(body));
        let answer = call.send().await.unwrap();
        assert_eq!(answer.header("content-encoding").unwrap(), "gzip");
        assert_eq!(answer.header("vary").unwrap(), "accept-encoding");
        let mut plain = Vec::new();
        GzDecoder::new(&answer.bytes().await.unwrap()[..]).read_to_end(&mut plain).unwrap();
        assert!(plain.len() == LENGTH && is_pattern(0, &plain));

        // Only one of the two is coded.
        let body = futures_util::stream::iter(pieces(100_000).map(Ok::<_, std::io::Error>));
        let call = client_of(&site).post("/echo").body(Body::stream(body));
        let answer = call.send().await.unwrap();
        assert!(answer.header("content-encoding").is_none());
        assert!(is_pattern(0, &answer.bytes().await.unwrap()));
    });
}

#[test]
fn what_cannot_be_unpacked_is_refused() {
    each(async |security| {
        let site = site(security).await;
        let client = client_of(&site);
        let bomb = gzip(&vec![0; 64 << 20]);
        let many = gzip(&pattern(0, (1 << 20) + 1));
        for (coding, body, status, reason) in [
            ("gzip", b"no gzip".to_vec(), 400, "bad_encoding"),
            ("gzip", gzip(b"cut")[..10].to_vec(), 400, "bad_encoding"),
            ("gzip", bomb, 413, "body_too_large"),
            ("gzip", many, 413, "body_too_large"),
            ("br", b"br".to_vec(), 415, "unsupported_media_type"),
            ("gzip, gzip", gzip(&gzip(b"twice")), 415, "unsupported_media_type"),
        ] {
            let call = client.post("/collect").header("content-encoding", coding).body(body);
            let answer = call.send().await.unwrap();
            let known = answer.header("accept-encoding").map(|value| value == "gzip, deflate");
            assert_eq!(known, (status == 415).then_some(true), "{coding}");
            assert_eq!(answer.status().as_u16(), status, "{coding} {reason}");
            let document: serde_json::Value = answer.json().await.unwrap();
            assert_eq!(document["reason"], reason);
        }
    });
}
