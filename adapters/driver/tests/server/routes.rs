//! The server in memory: answers, routes, limits.

use std::time::Duration;

use http::{Method, StatusCode};
use serde::Deserialize;
use sinew_driver::{
    Json, Problem, Request, Response, RestServer, RouteOptions, ServerBuilder, Threads,
};

use crate::support::{Client, Sim};

type Builder = ServerBuilder<Sim, Threads>;

/// A running server and a client of it.
fn serve(build: impl FnOnce(Builder) -> Builder) -> (Sim, Client) {
    let sim = Sim::new();
    let builder = build(sim.server());
    let server = sim.block_on(builder.bind()).unwrap();
    sim.start(server.serve());
    let client = sim.connect();
    (sim, client)
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")
}

fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}")
}

fn ask(sim: &Sim, client: &Client, request: impl AsRef<[u8]>) -> String {
    client.send(request);
    sim.run();
    client.received()
}

async fn hello(request: Request) -> String {
    format!("hello {}", request.param("name").unwrap_or_default())
}

#[test]
fn answers_and_keeps_the_connection() {
    let (sim, client) = serve(|b| b.route(Method::GET, "/hello/{name}", hello));
    for name in ["one", "two"] {
        let answer = ask(&sim, &client, get(&format!("/hello/{name}")));
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("\r\ndate: Sun, 06 Nov 1994 "), "{answer}");
        assert!(answer.contains("\r\ncontent-length: 9\r\n"), "{answer}");
        assert!(answer.ends_with(&format!("\r\n\r\nhello {name}")), "{answer}");
    }
    assert!(!client.is_ended());
}

#[test]
fn pipelined_answers_share_a_write() {
    let (sim, client) = serve(|b| b.route(Method::GET, "/hello/{name}", hello));
    let requests: String = (0..10).map(|i| get(&format!("/hello/{i}"))).collect();
    let answers = ask(&sim, &client, requests);
    let bodies: Vec<&str> = answers.matches("hello ").collect();
    assert_eq!(bodies.len(), 10);
    let order: Vec<usize> = (0..10).map(|i| answers.find(&format!("hello {i}")).unwrap()).collect();
    assert!(order.is_sorted());
    assert_eq!(client.writes(), 1);
}

#[test]
fn head_methods_and_options() {
    let (sim, client) = serve(|b| {
        b.route(Method::GET, "/hello/{name}", hello).route(Method::PUT, "/hello/{name}", hello)
    });
    let head = ask(&sim, &client, "HEAD /hello/x HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(head.contains("content-length: 7\r\n") && head.ends_with("\r\n\r\n"), "{head}");

    let wrong = ask(&sim, &client, post("/hello/x", ""));
    assert!(wrong.starts_with("HTTP/1.1 405 "), "{wrong}");
    assert!(wrong.contains("\r\nallow: GET, HEAD, OPTIONS, PUT\r\n"), "{wrong}");
    assert!(wrong.contains("application/problem+json"), "{wrong}");

    for target in ["/hello/x", "*"] {
        let options = format!("OPTIONS {target} HTTP/1.1\r\nhost: x\r\n\r\n");
        let options = ask(&sim, &client, options);
        assert!(options.starts_with("HTTP/1.1 204 "), "{options}");
        assert!(options.contains("\r\nallow: GET, HEAD, OPTIONS, PUT\r\n"), "{options}");
    }
    assert!(ask(&sim, &client, get("/nothing")).starts_with("HTTP/1.1 404 "));
    for path in ["/hello/%2e%2e", "/hello/a%00", "/hello/a%5cb"] {
        assert!(ask(&sim, &client, get(path)).starts_with("HTTP/1.1 400 "), "{path}");
    }
    assert!(ask(&sim, &client, get("/hello/a%2Fb")).ends_with("hello a/b"));
}

#[test]
fn a_large_body_is_refused_and_the_answer_can_be_read() {
    async fn upload(request: Request) -> Result<String, Problem> {
        let body = request.bytes().await?;
        Ok(body.len().to_string())
    }
    let build = |b: Builder| {
        let options = RouteOptions::new().body_limit(10);
        b.max_request_size(100).route(Method::POST, "/up", upload).route_with(
            Method::POST,
            "/small",
            options,
            upload,
        )
    };
    let (sim, client) = serve(build);
    assert!(ask(&sim, &client, post("/up", &"x".repeat(100))).ends_with("\r\n\r\n100"));
    let declared =
        ask(&sim, &client, "POST /small HTTP/1.1\r\nhost: x\r\ncontent-length: 11\r\n\r\n");
    assert!(declared.starts_with("HTTP/1.1 413 "), "{declared}");
    assert!(declared.contains("connection: close"), "{declared}");
    assert!(client.is_ended() && !client.is_closed(), "lingers");
    client.send("x".repeat(11));
    client.shut();
    sim.run();
    assert!(client.is_closed());

    let (sim, client) = serve(build);
    let chunked = "POST /small HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nb\r\n0123456789a\r\n0\r\n\r\n";
    let answer = ask(&sim, &client, chunked);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1);
}

#[derive(Deserialize)]
struct Order {
    id: u32,
}

#[test]
fn typed_reading_fails_in_plain_words() {
    async fn order(request: Request) -> Result<String, Problem> {
        let (shop,): (u8,) = request.path()?;
        let Order { id } = request.json().await?;
        Ok(format!("{shop}/{id}"))
    }
    async fn echo(request: Request) -> Result<Json<u32>, Problem> {
        Ok(Json(request.query::<Order>()?.id))
    }
    let (sim, client) =
        serve(|b| b.route(Method::POST, "/{shop}", order).route(Method::GET, "/echo", echo));
    let json = |path: &str, media_type: &str, body: &str| {
        let length = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {media_type}\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    };
    let text = "application/json; charset=utf-8";
    assert!(ask(&sim, &client, json("/7", text, r#"{"id":1}"#)).ends_with("\r\n\r\n7/1"));
    for (request, status) in [
        (json("/300", text, r#"{"id":1}"#), 400),
        (json("/7", text, "{"), 400),
        (json("/7", text, r#"{"id":"x"}"#), 422),
        (json("/7", "text/plain", r#"{"id":1}"#), 415),
        (get("/echo"), 400),
        (get("/echo?id=x"), 400),
    ] {
        let answer = ask(&sim, &client, &request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}\n{answer}");
        assert!(answer.contains("application/problem+json"), "{answer}");
    }
    let answer = ask(&sim, &client, json("/7", text, "17"));
    let said = r#""detail":"invalid type: integer `17`, expected an object at line 1 column 2","path":".""#;
    assert!(answer.contains(said), "{answer}");
    let answer = ask(&sim, &client, get("/echo?id=5"));
    assert!(answer.contains("application/json") && answer.ends_with("\r\n\r\n5"), "{answer}");
}

#[test]
fn an_answer_that_cannot_be_sent_becomes_a_500() {
    async fn bad(_: Request) -> Response {
        Response::ok("x").header("x-note", "a\r\nset-cookie: b")
    }
    async fn contradiction(_: Request) -> Response {
        Response::ok("x").header(http::header::CONTENT_LENGTH, 7)
    }
    async fn interim(_: Request) -> StatusCode {
        StatusCode::CONTINUE
    }
    async fn switch(_: Request) -> Response {
        Response::new(StatusCode::SWITCHING_PROTOCOLS).header(http::header::UPGRADE, "x")
    }
    for path in ["/bad", "/contradiction", "/interim", "/switch"] {
        let (sim, client) = serve(|b| {
            b.route(Method::GET, "/bad", bad)
                .route(Method::GET, "/contradiction", contradiction)
                .route(Method::GET, "/interim", interim)
                .route(Method::GET, "/switch", switch)
        });
        let upgrade = "host: x\r\nconnection: upgrade\r\nupgrade: x\r\n";
        let answer = ask(&sim, &client, get(path).replace("host: x\r\n", upgrade));
        assert!(answer.starts_with("HTTP/1.1 500 "), "{path}: {answer}");
        assert!(!answer.contains("set-cookie"), "{answer}");
        assert!(client.is_ended());
    }
}

#[test]
fn what_makes_no_sense_is_refused_at_bind() {
    let sim = Sim::new();
    let refused = |builder: Builder| {
        let error = sim.block_on(builder.bind()).err().map(|error| error.to_string());
        error.expect("bind() took it")
    };
    let plain = || RestServer::builder_on(sim.clone()).listen("127.0.0.1:0");
    assert!(refused(plain()).contains("allow_plaintext"));
    let ok = || plain().allow_plaintext();
    assert!(refused(ok().max_connections(0)).contains("max_connections"));
    let twice = ok().route(Method::GET, "/{a}", hello).route(Method::GET, "/{b}", hello);
    assert!(refused(twice).contains("/{b}"));
    assert!(refused(ok().route(Method::GET, "x", hello)).contains("malformed"));
    assert!(refused(ok().handler_timeout(Some(Duration::ZERO))).contains("handler_timeout"));
    assert!(refused(ok().listen("nonsense")).contains("nonsense"));
}

#[test]
fn the_address_is_told() {
    let sim = Sim::new();
    let server = sim.block_on(sim.server::<Threads>().listen("[::1]:0").bind());
    // A machine without IPv6 cannot bind the second one.
    if let Ok(server) = server {
        let addresses = server.local_addrs();
        assert_eq!(addresses.len(), 2);
        assert!(addresses.iter().all(|address| address.port() != 0));
        assert!(addresses[0].is_ipv4() && addresses[1].is_ipv6());
    }
}

#[test]
fn a_file_that_nobody_listens_on_is_taken_over_and_removed() {
    let folder = std::env::temp_dir().join(format!("sinew-listen-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("socket");
    let place = format!("unix:{}", path.display());
    let sim = Sim::new();
    let bind = || {
        let builder: Builder = RestServer::builder_on(sim.clone());
        sim.block_on(builder.listen(place.clone()).bind())
    };
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "left over");
    let server = bind().unwrap();
    assert!(server.local_addrs().is_empty());
    // The simulated listener does not hold the socket open, so a real one stands in for it.
    std::fs::remove_file(&path).unwrap();
    let held = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let error = bind().err().unwrap();
    let wanted =
        sinew_driver::ErrorKind::Listen(place.as_str().into(), std::io::ErrorKind::AddrInUse);
    assert_eq!(*error.kind(), wanted);
    assert_eq!(error.to_string(), format!("cannot listen on {place}: address in use"));
    drop(held);
    drop(server);
    assert!(!path.exists(), "removed with its server");
    std::fs::remove_dir(&folder).unwrap();
}

#[cfg(unix)]
#[test]
fn a_socket_has_a_path() {
    let sim = Sim::new();
    let builder: Builder = RestServer::builder_on(sim.clone());
    let error = sim.block_on(builder.listen("unix:").bind()).err().unwrap();
    assert!(error.to_string().contains("neither host:port nor unix:/path"), "{error}");
    let builder: Builder = RestServer::builder_on(sim.clone());
    assert_eq!(builder.listen("unix:").check().unwrap_err().to_string(), error.to_string());
    let builder: Builder = RestServer::builder_on(sim);
    assert!(builder.listen("unix:/tmp/sinew").check().is_ok());
}

#[test]
fn a_socket_handed_over_is_recognised() {
    let sim = Sim::new();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let builder: Builder = RestServer::builder_on(sim.clone());
    let server = sim.block_on(builder.allow_plaintext().listen_fd(tcp.into()).bind()).unwrap();
    assert_eq!(server.local_addrs(), [address]);
    let builder: Builder = RestServer::builder_on(sim.clone());
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    assert!(sim.block_on(builder.allow_plaintext().listen_fd(udp.into()).bind()).is_err());
}
