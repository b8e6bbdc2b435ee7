//! A server with every policy, and a walk through what it refuses.
//!
//! ```text
//! cargo run --release --example server                            # as adapters/examples/server.toml says
//! cargo run --release --example server -- --config FILE           # as this file says
//! cargo run --release --example server -- --check-config FILE     # what would be in force, or what is wrong
//! cargo run --release --example server -- --walk                  # asks it, step by step, and ends
//! ```
//!
//! What it does is in `src/server.rs`, what operators decide in `server.toml`; `docs/server.md` walks
//! through it with curl. SIGTERM stops it in good order, SIGHUP
//! makes it read its file again.

use std::pin::pin;
use std::process::ExitCode;

use futures_util::StreamExt as _;
use futures_util::future::{Either, join, select};
use http::Method;
use sinew_config::Config;
use sinew_driver::{BoxError, ServerBuilder, Threads};
use sinew_examples::server::{CONFIG, ORIGIN, READER, WRITER, build};
use sinew_prometheus::Metrics;
use sinew_tokio::{Call, Hangups, RestClient, RestServer, Signals, TokioRuntime};

const USAGE: &str = "usage: server [--walk | --config FILE | --check-config FILE]";

/// The command line, or the configuration, makes no sense.
const REFUSED: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [] | ["--config" | "--check-config", _] => {
            let (path, metrics) = (arguments.get(1).copied(), Metrics::new());
            let configured = configure(path, &metrics);
            match configured {
                Err(error) => {
                    eprintln!("{error}");
                    return ExitCode::from(REFUSED);
                }
                Ok((config, mut builder)) if arguments.contains(&"--check-config") => {
                    let in_force = config.in_force(builder.config_mut());
                    if let Err(error) = builder.check() {
                        eprintln!("{error}");
                        return ExitCode::from(REFUSED);
                    }
                    print!("{in_force}");
                    Ok(())
                }
                Ok((_, builder)) => serve(builder, path, &metrics).await,
            }
        }
        ["--walk"] => walk().await,
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(REFUSED);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

type Configured = (Config, ServerBuilder<TokioRuntime, Threads>);

/// The server as the file says, or as the sample does.
fn configure(path: Option<&str>, metrics: &Metrics) -> Result<Configured, BoxError> {
    let config = match path {
        Some(path) => Config::from_file(path)?,
        None => Config::parse("server.toml", "", CONFIG)?,
    };
    let builder = config.apply(build(RestServer::builder(), metrics))?;
    Ok((config, builder))
}

async fn serve(
    builder: ServerBuilder<TokioRuntime, Threads>,
    path: Option<&str>,
    metrics: &Metrics,
) -> Result<(), BoxError> {
    let server = builder.bind().await?;
    for address in server.local_addrs() {
        println!("listening on {address}");
    }
    for address in server.admin_addrs() {
        println!("metrics on http://{address}/metrics");
    }
    let handle = server.handle();
    let signals = Signals::listen()?;
    let (reloader, mut hangups) = (server.reloader(), Hangups::listen()?);
    let reloading = async {
        while hangups.next().await.is_some() {
            let next = || configure(path, metrics).map(|(_, builder)| builder);
            match reloader.reload(next).await {
                Ok(epoch) => println!("reloaded: {epoch}"),
                Err(error) => eprintln!("not reloaded: {error}"),
            }
        }
    };
    let serving = join(server.serve(), handle.drain_on(signals));
    if let Either::Left((((), report), _)) = select(pin!(serving), pin!(reloading)).await {
        println!("stopped: {report}");
    }
    Ok(())
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
    let (_, builder) = configure(None, &Metrics::new())?;
    let builder = builder.listen_only(["127.0.0.1:0"]);
    let server = builder.amend_admin(|admin| admin.listen_only(["127.0.0.1:0"])).bind().await?;
    let address = *server.local_addrs().first().ok_or("no address")?;
    let operators = *server.admin_addrs().first().ok_or("no address for operators")?;
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
    let client = RestClient::builder(format!("http://{operators}")).allow_plaintext().build()?;
    let counted = client.get("/metrics").no_retry().send().await?.text().await?;
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
    let response = call.no_retry().send().await?;
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
