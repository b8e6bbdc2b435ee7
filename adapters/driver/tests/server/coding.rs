//! The server in memory: bodies with a content coding, both ways.

use std::convert::Infallible;
use std::io::{Read as _, Write as _};

use bytes::Bytes;
use flate2::read::{GzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use sinew_core::content_coding::{Coding, Compression, Decompression, FREE, MEMBERS};
use sinew_driver::{Body, Override, Problem, Request, Response, RouteOptions, Sse, SseEvent};

use crate::support::running::{Running, get, seconds, serve, sleep};

/// splitmix64: <https://prng.di.unimi.it/splitmix64.c>
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides as u64).unwrap()
    }

    /// Bytes that repeat themselves here and there.
    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let sides = [2, 16, 256][self.roll(3)];
        let mut bytes: Vec<u8> = Vec::with_capacity(length);
        while bytes.len() < length {
            let run = 1 + self.roll(40);
            let byte = u8::try_from(self.roll(sides)).unwrap();
            bytes.resize((bytes.len() + run).min(length), byte);
        }
        bytes
    }
}

fn coded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::default();
    match coding {
        Coding::Deflate => {
            let mut encoder = ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        _ => {
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
    }
}

fn decoded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match coding {
        Coding::Deflate => ZlibDecoder::new(bytes).read_to_end(&mut plain).unwrap(),
        _ => GzDecoder::new(bytes).read_to_end(&mut plain).unwrap(),
    };
    plain
}

/// Says what came, and which fields say how.
async fn measure(request: Request) -> Result<Response, Problem> {
    let said = ["content-encoding", "content-length"].map(|name| request.header(name).is_some());
    let body = request.bytes().await?;
    Ok(Response::ok(body).header("x-said", format!("{said:?}")))
}

fn unpacking(policy: Decompression, limit: u64) -> Running {
    let limited = RouteOptions::new().body_limit(limit);
    serve(|b, _| b.decompress(policy).route_with(Method::POST, "/", limited, measure))
}

fn post(encoding: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-encoding: {encoding}\r\ncontent-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn ask(server: &Running, request: impl AsRef<[u8]>) -> (String, Vec<u8>) {
    server.client.send(request);
    server.sim.run();
    split(&server.client.received_bytes())
}

/// Head and body; the body without its chunks.
fn split(answer: &[u8]) -> (String, Vec<u8>) {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("no head") + 4;
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let mut rest = &answer[end..];
    if !head.contains("transfer-encoding: chunked") {
        return (head, rest.to_vec());
    }
    let mut body = Vec::new();
    while let Some(at) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..at]).unwrap(), 16).unwrap();
        if size == 0 {
            break;
        }
        body.extend_from_slice(&rest[at + 2..at + 2 + size]);
        rest = &rest[at + 4 + size..];
    }
    (head, body)
}

fn reason((head, body): &(String, Vec<u8>)) -> (u16, String) {
    let document = String::from_utf8(body.clone()).unwrap();
    let reason = document.split("\"reason\":\"").nth(1).unwrap_or(&document);
    (head[9..12].parse().unwrap(), reason.split('"').next().unwrap().to_owned())
}

#[test]
fn coded_bodies_reach_the_handler_unpacked_however_they_are_cut() {
    let server = unpacking(Decompression { max_codings: 2, max_ratio: 2000 }, 1 << 20);
    let mut dice = Dice(0x5eed_0004);
    for round in 0..120 {
        let length = [0, 1, 100, 9_000, 100_000][dice.roll(5)];
        let plain = dice.bytes(length);
        let (encoding, packed) = match dice.roll(4) {
            0 => ("gzip", coded(Coding::Gzip, &plain)),
            1 => ("deflate", coded(Coding::Deflate, &plain)),
            2 => ("x-gzip, deflate", coded(Coding::Deflate, &coded(Coding::Gzip, &plain))),
            _ => {
                // Members behind one another are one body.
                let (a, b) = plain.split_at(dice.roll(plain.len() + 1));
                ("gzip", [coded(Coding::Gzip, a), coded(Coding::Gzip, b)].concat())
            }
        };
        let request = post(encoding, &packed);
        server.client.cut([1, 7, 1000, usize::MAX][dice.roll(4)].max(length / 5000));
        let at = dice.roll(request.len());
        server.client.send(&request[..at]);
        server.sim.run();
        let (head, body) = ask(&server, &request[at..]);
        assert!(head.starts_with("HTTP/1.1 200 "), "{round}: {encoding} {length} {head}");
        assert!(head.contains("x-said: [false, false]"), "{head}");
        assert!(body == plain, "{round}: {encoding} {length}");
    }
}

#[test]
fn a_body_with_a_byte_that_is_wrong_or_missing_is_refused() {
    let mut dice = Dice(0x5eed_0005);
    let server = unpacking(Decompression::default(), 1 << 20);
    for round in 0..200 {
        let length = dice.roll(3000);
        let plain = dice.bytes(length);
        let coding = Coding::ALL[dice.roll(2)];
        let mut packed = coded(coding, &plain);
        let cut = dice.roll(2) == 0;
        if cut {
            packed.truncate(dice.roll(packed.len()));
        } else {
            let at = dice.roll(packed.len());
            packed[at] ^= 1 << dice.roll(8);
        }
        if packed.is_empty() {
            continue;
        }
        let answer = ask(&server, post(coding.name(), &packed));
        // A flag, a time, a name in the head of a member say nothing about the bytes; a changed
        // back-reference may blow the body up.
        if answer.0.starts_with("HTTP/1.1 200 ") {
            assert!(answer.1 == plain && !cut, "{round}");
            continue;
        }
        let (status, reason) = reason(&answer);
        assert!(
            (status, reason.as_str()) == (400, "bad_encoding") || status == 413,
            "{round}: {status} {reason}"
        );
    }
}

#[test]
fn what_follows_the_end_of_a_stream_is_refused() {
    let server = unpacking(Decompression::default(), 1 << 20);
    for coding in Coding::ALL {
        let mut packed = coded(coding, b"hello");
        packed.extend_from_slice(b"more");
        let answer = ask(&server, post(coding.name(), &packed));
        assert_eq!(reason(&answer), (400, "bad_encoding".into()), "{coding:?}");
    }
    let members = |count: u32| coded(Coding::Gzip, b"").repeat(count as usize);
    assert!(ask(&server, post("gzip", &members(MEMBERS))).0.starts_with("HTTP/1.1 200 "));
    let answer = ask(&server, post("gzip", &members(MEMBERS + 1)));
    assert_eq!(reason(&answer), (400, "bad_encoding".into()));
    // Deflate data without its wrapper is not what the name stands for.
    let raw = &coded(Coding::Deflate, b"hello")[2..];
    assert_eq!(reason(&ask(&server, post("deflate", raw))), (400, "bad_encoding".into()));
}

#[test]
fn bombs_are_defused() {
    let zeros = vec![0; 4 << 20];
    let bomb = coded(Coding::Gzip, &zeros);
    assert!(bomb.len() < 8 << 10);
    let server = unpacking(Decompression::default(), 1 << 30);
    let answer = ask(&server, post("gzip", &bomb));
    assert_eq!(reason(&answer), (413, "body_too_large".into()));
    // A bomb in a bomb: each layer is held to it.
    let twice = unpacking(Decompression { max_codings: 2, ..Decompression::default() }, 1 << 30);
    let answer = ask(&twice, post("gzip, gzip", &coded(Coding::Gzip, &bomb)));
    assert_eq!(reason(&answer), (413, "body_too_large".into()));
    // Small bodies may repeat themselves.
    let small = coded(Coding::Gzip, &vec![0; usize::try_from(FREE).unwrap()]);
    let (head, body) = ask(&server, post("gzip", &small));
    assert!(head.starts_with("HTTP/1.1 200 ") && body.len() as u64 == FREE, "{head}");
}

#[test]
fn the_body_limit_holds_for_what_comes_out() {
    let server = unpacking(Decompression::default(), 1000);
    let body = |length| coded(Coding::Gzip, &vec![b'x'; length]);
    assert!(ask(&server, post("gzip", &body(1000))).0.starts_with("HTTP/1.1 200 "));
    let answer = ask(&server, post("gzip", &body(1001)));
    assert_eq!(reason(&answer), (413, "body_too_large".into()));
}

#[test]
fn a_coding_that_is_not_known_is_a_415_that_names_those_that_are() {
    let server = unpacking(Decompression::default(), 1000);
    for encoding in ["br", "gzip, gzip", "gzip;q=1", "chunked"] {
        let (head, body) = ask(&server, post(encoding, b""));
        // Without a body there is nothing to refuse.
        assert!(head.starts_with("HTTP/1.1 200 "), "{body:?}");
        let answer = ask(&server, post(encoding, b"x"));
        assert_eq!(reason(&answer), (415, "unsupported_media_type".into()), "{encoding}");
        assert!(answer.0.contains("accept-encoding: gzip, deflate\r\n"), "{}", answer.0);
    }
}

#[test]
fn nothing_is_unpacked_unless_asked_for() {
    let packed = coded(Coding::Gzip, b"hello");
    let off = RouteOptions::new().decompress(Override::Off);
    let own = RouteOptions::new().decompress(Override::Own(Decompression::default()));
    let server = serve(|b, _| b.route(Method::POST, "/", measure));
    assert_eq!(ask(&server, post("gzip", &packed)).1, packed);
    assert_eq!(ask(&server, post("br", &packed)).1, packed);
    let server = serve(|b, _| {
        b.decompress(Decompression::default()).route_with(Method::POST, "/", off, measure)
    });
    assert_eq!(ask(&server, post("gzip", &packed)).1, packed);
    let server = serve(|b, _| b.route_with(Method::POST, "/", own, measure));
    assert_eq!(ask(&server, post("gzip", &packed)).1, b"hello");
}

#[test]
fn a_coded_body_that_breaks_on_its_way_into_a_call_is_still_the_clients() {
    use sinew_driver::RestClient;
    let server = serve(|b, sim| {
        let client = RestClient::builder("http://192.0.2.1:80").allow_plaintext().build_on(sim);
        let client = client.unwrap();
        b.decompress(Decompression::default()).route(Method::POST, "/", move |request: Request| {
            let body = Body::wrap(request.into_body());
            let call = client.post("/").body(body).send();
            async move { Ok::<_, Problem>(call.await?.status()) }
        })
    });
    let answer = ask(&server, post("gzip", b"this is no gzip at all"));
    assert_eq!(reason(&answer), (400, "bad_encoding".into()));
}

fn text(length: usize) -> String {
    "the same words again and again, ".chars().cycle().take(length).collect()
}

fn accepting(path: &str, codings: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\naccept-encoding: {codings}\r\n\r\n")
}

fn pieces(mut dice: Dice, whole: &[u8]) -> Body {
    let mut rest = Bytes::copy_from_slice(whole);
    let pieces = std::iter::from_fn(move || {
        (!rest.is_empty()).then(|| rest.split_to(dice.roll(rest.len()) + 1))
    });
    Body::stream(stream::iter(pieces.map(Ok::<_, Infallible>)))
}

#[test]
fn answers_come_in_the_coding_that_the_client_likes() {
    let mut dice = Dice(0x5eed_0006);
    let wholes: Vec<Vec<u8>> =
        [1024, 16 << 10, 17 << 10, 300 << 10].map(|length| dice.bytes(length)).into();
    let (full, streamed) = (wholes.clone(), wholes.clone());
    let server = serve(|b, _| {
        b.compress(Compression::default())
            .route(Method::GET, "/full/{n}", move |request: Request| {
                let bytes = full[request.path::<usize>().unwrap()].clone();
                async move { Response::ok(bytes).header("content-type", "text/plain") }
            })
            .route(Method::GET, "/stream/{n}", move |request: Request| {
                let n = request.path::<usize>().unwrap();
                let body = pieces(Dice(n as u64), &streamed[n]);
                async move { Response::ok(body).header("content-type", "text/plain") }
            })
    });
    for (n, whole) in wholes.iter().enumerate() {
        for (way, known_length) in [("full", n < 2), ("stream", false)] {
            let path = format!("/{way}/{n}");
            for coding in Coding::ALL {
                let (head, body) = ask(&server, accepting(&path, coding.name()));
                let named = format!("content-encoding: {}\r\n", coding.name());
                assert!(
                    head.contains(&named) && head.contains("vary: accept-encoding\r\n"),
                    "{head}"
                );
                assert_eq!(head.contains("content-length: "), known_length, "{path}: {head}");
                assert!(decoded(coding, &body) == *whole, "{path} {coding:?}");
                // HEAD says what GET says.
                let asked = accepting(&path, coding.name()).replace("GET ", "HEAD ");
                let (of_head, nothing) = ask(&server, asked);
                assert_eq!((of_head, nothing.len()), (head, 0), "{path}");
            }
            let (head, body) = ask(&server, accepting(&path, "gzip;q=0"));
            assert!(!head.contains("content-encoding") && head.contains("vary: accept-encoding"));
            assert!(body == *whole, "{path}");
        }
    }
}

#[test]
fn what_a_producer_says_before_it_sleeps_is_sent() {
    let server = serve(|b, sim| {
        b.compress(Compression::default()).route(Method::GET, "/", move |_| {
            let sim = sim.clone();
            let words = stream::iter(["first ", "second"]).then(move |word| {
                let sim = sim.clone();
                async move {
                    sleep(sim, seconds(1)).await;
                    Ok::<_, Infallible>(Bytes::from_static(word.as_bytes()))
                }
            });
            let body = Body::stream(words);
            async move { Response::ok(body).header("content-type", "text/plain") }
        })
    });
    let mut all = server.ask(accepting("/", "gzip")).into_bytes();
    let read = |all: &[u8]| {
        let (_, body) = split(all);
        let mut plain = [0; 100];
        let mut taken = 0;
        let mut decoder = GzDecoder::new(&body[..]);
        while let Ok(read @ 1..) = decoder.read(&mut plain[taken..]) {
            taken += read;
        }
        String::from_utf8(plain[..taken].to_vec()).unwrap()
    };
    for said in ["first ", "first second"] {
        server.sim.advance(seconds(1));
        all.extend(server.client.received_bytes());
        assert_eq!(read(&all), said);
    }
    assert!(all.ends_with(b"0\r\n\r\n"));
}

#[test]
fn event_streams_trailers_and_small_answers_stay_as_they_are() {
    async fn events(
        _: Request,
    ) -> Sse<impl futures_util::Stream<Item = Result<SseEvent, Infallible>>> {
        Sse::new(stream::iter([Ok(SseEvent::data(text(2000)))]))
    }
    let server = serve(|b, _| {
        let mut trailers = HeaderMap::new();
        trailers.insert(HeaderName::from_static("x-sum"), HeaderValue::from_static("1"));
        b.compress(Compression::default())
            .route(Method::GET, "/events", events)
            .route(Method::GET, "/small", async |_| text(1023))
            .route(Method::GET, "/trailers", move |_| {
                let answer = Response::ok(text(5000)).header("content-type", "text/plain");
                std::future::ready(answer.trailers(trailers.clone()))
            })
    });
    let (head, body) = ask(&server, accepting("/events", "gzip"));
    assert!(!head.contains("content-encoding") && body.starts_with(b"data: "), "{head}");
    let (head, body) = ask(&server, accepting("/small", "gzip"));
    assert!(!head.contains("content-encoding") && !head.contains("vary"), "{head}");
    assert_eq!(body, text(1023).into_bytes());
    server.client.send(accepting("/trailers", "gzip"));
    server.sim.run();
    let answer = server.client.received_bytes();
    assert!(answer.ends_with(b"0\r\nx-sum: 1\r\n\r\n"));
    assert_eq!(decoded(Coding::Gzip, &split(&answer).1), text(5000).into_bytes());
}

#[test]
fn nothing_is_packed_unless_asked_for() {
    let off = RouteOptions::new().compress(Override::Off);
    let own = RouteOptions::new().compress(Override::Own(Compression { min_size: 1, level: 9 }));
    let server = serve(|b, _| {
        b.compress(Compression::default())
            .route_with(Method::GET, "/off", off, async |_| text(5000))
            .route_with(Method::GET, "/own", own.clone(), async |_| text(30))
    });
    assert!(!server.ask(accepting("/off", "gzip")).contains("content-encoding"));
    assert!(ask(&server, accepting("/own", "gzip")).0.contains("content-encoding: gzip"));
    let server = serve(|b, _| {
        b.route(Method::GET, "/", async |_| text(5000)).route_with(
            Method::GET,
            "/own",
            own,
            async |_| text(30),
        )
    });
    assert!(!server.ask(accepting("/", "gzip")).contains("content-encoding"));
    assert!(!server.ask(get("/own")).contains("content-encoding"));
    assert!(ask(&server, accepting("/own", "gzip")).0.contains("content-encoding: gzip"));
}

#[test]
fn codings_that_make_no_sense_are_refused_at_bind() {
    let sim = crate::support::Sim::new();
    let refused = |builder: crate::support::running::Builder| {
        sim.block_on(builder.bind()).err().unwrap().to_string()
    };
    let level = |level| Compression { level, ..Compression::default() };
    for bad in [level(0), level(10)] {
        assert!(refused(sim.server().compress(bad)).contains("level"));
        let route = RouteOptions::new().compress(Override::Own(bad));
        let builder = sim.server().route_with(Method::GET, "/", route, async |_| "x");
        assert!(refused(builder).contains("level"));
    }
    let codings = Decompression { max_codings: 0, ..Decompression::default() };
    assert!(refused(sim.server().decompress(codings)).contains("max_codings"));
    let ratio = Decompression { max_ratio: 0, ..Decompression::default() };
    assert!(refused(sim.server().decompress(ratio)).contains("max_ratio"));
}
