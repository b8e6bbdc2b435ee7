//! A server with every policy, and a walk through what it refuses.
//!
//! ```text
//! cargo run --release --example server                        # serves on 127.0.0.1:8080, metrics on :9090
//! cargo run --release --example server -- 127.0.0.1:9000      # serves there
//! cargo run --release --example server -- --walk              # asks it, step by step, and ends
//! ```
//!
//! The server is in `src/server.rs`; `docs/server.md` walks through it with curl.

use std::process::ExitCode;

use http::Method;
use sinew_driver::BoxError;
use sinew_examples::server::{ORIGIN, READER, WRITER, admin, build};
use sinew_prometheus::Metrics;
use sinew_tokio::{Call, RestClient, RestServer, TokioRuntime};

#[tokio::main]
async fn main() -> ExitCode {
    let argument = std::env::args().nth(1);
    let done = match argument.as_deref() {
        Some("--walk") => walk().await,
        place => serve(place.unwrap_or("127.0.0.1:8080")).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(place: &str) -> Result<(), BoxError> {
    let metrics = Metrics::new();
    let builder = RestServer::builder().allow_plaintext();
    let server = build(builder, &metrics)?.listen(place).bind().await?;
    for address in server.local_addrs() {
        println!("listening on http://{address}");
    }
    tokio::spawn(operators(&metrics, ADMIN).await?.serve());
    println!("metrics on http://{ADMIN}/metrics");
    server.serve().await;
    Ok(())
}

/// Where operators ask for metrics.
const ADMIN: &str = "127.0.0.1:9090";

async fn operators(metrics: &Metrics, place: &str) -> Result<RestServer, BoxError> {
    let builder = RestServer::builder().allow_plaintext();
    Ok(admin(builder, metrics).listen(place).bind().await?)
}

/// Fields of answers that a step shows.
const SHOWN: [&str; 6] = [
    "www-authenticate",
    "allow",
    "accept",
    "retry-after",
    "ratelimit",
    "access-control-allow-methods",
];

async fn walk() -> Result<(), BoxError> {
    let metrics = Metrics::new();
    let server = build(RestServer::builder().allow_plaintext(), &metrics)?.listen("127.0.0.1:0");
    let server = server.bind().await?;
    let address = *server.local_addrs().first().ok_or("no address")?;
    tokio::spawn(server.serve());
    let client = RestClient::builder(format!("http://{address}")).allow_plaintext().build()?;
    let read = |path: &str| client.get(path).header("x-api-key", READER);
    let write = |body: &'static str| {
        let call = client.put("/orders/7").header("x-api-key", WRITER);
        call.header("content-type", "application/json").body(body)
    };
    let preflight = client
        .request(Method::OPTIONS, "/orders/7")
        .header("origin", ORIGIN)
        .header("access-control-request-method", "PUT");
    let much = format!("{{\"item\":\"{}\",\"count\":1}}", "x".repeat(2000));
    let steps = [
        ("anyone may ask for its health", client.get("/health"), 200),
        ("orders are not for strangers", client.get("/orders/7"), 401),
        ("nor is what is not there", client.get("/nowhere"), 401),
        ("a key that nobody knows", client.get("/orders/7").header("x-api-key", "guess"), 401),
        ("the reader may read", read("/orders/7"), 200),
        ("and not write", client.put("/orders/7").header("x-api-key", READER).body("{}"), 403),
        ("who is known learns what is missing", read("/nowhere"), 404),
        (
            "and which methods there are",
            client.request(Method::DELETE, "/orders/7").header("x-api-key", WRITER),
            405,
        ),
        ("a path that could be read in two ways", read("/orders/%2e%2e/health"), 400),
        ("an order is JSON", write("a=b").header("content-type", "text/plain"), 415),
        ("and not too long", write("").body(much), 413),
        ("and has what an order has", write(r#"{"item":"x","count":"many"}"#), 422),
        ("then it is taken", write(r#"{"item":"x","count":2}"#), 204),
        ("but not too often", write(r#"{"item":"x","count":2}"#), 429),
        ("a page asks before it writes", preflight, 204),
    ];
    let mut wrong = 0;
    for (what, call, wanted) in steps {
        wrong += u32::from(!step(what, call, wanted).await?);
    }
    let admin = operators(&metrics, "127.0.0.1:0").await?;
    let address = *admin.local_addrs().first().ok_or("no address")?;
    tokio::spawn(admin.serve());
    let client = RestClient::builder(format!("http://{address}")).allow_plaintext().build()?;
    let counted = client.get("/metrics").send().await?.text().await?;
    println!("\nAnd what was counted:");
    for line in counted.lines().filter(|line| line.starts_with("sinew_server_refusals_total")) {
        println!("         {line}");
    }
    let refused =
        r#"sinew_server_refusals_total{stage="limit",reason="rate_limited",mode="enforce"} 1"#;
    wrong += u32::from(!counted.lines().any(|line| line == refused));
    if wrong == 0 { Ok(()) } else { Err(format!("{wrong} steps went otherwise").into()) }
}

/// Makes a call and shows what came of it.
async fn step(what: &str, call: Call<TokioRuntime>, wanted: u16) -> Result<bool, BoxError> {
    let response = call.send().await?;
    let status = response.status().as_u16();
    let mark = if status == wanted { "  " } else { "! " };
    println!("{mark}{status}  {what}");
    for name in SHOWN {
        if let Some(value) = response.header(name) {
            println!("         {name}: {}", String::from_utf8_lossy(value.as_bytes()));
        }
    }
    if (400..500).contains(&status) {
        println!("         {}", response.text().await?);
    }
    Ok(status == wanted)
}
