//! A chat over WebSocket: a server, its page, and two clients.
//!
//! ```text
//! cargo run --release --example chat             # open the page in a browser; SIGINT stops it
//! cargo run --release --example chat -- --walk   # two clients talk, step by step, and it ends
//! ```
//!
//! What it does is in `src/chat/`.

use std::process::ExitCode;

use futures_util::future::join3;
use sinew_driver::BoxError;
use sinew_examples::chat;
use sinew_tokio::Signals;

const ADDRESS: &str = "127.0.0.1:8080";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [] => serve(ADDRESS).await,
        ["--listen", address] => serve(address).await,
        ["--walk"] => chat::walk().await,
        _ => {
            eprintln!("usage: chat [--walk | --listen HOST:PORT]");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nDeviation: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(address: &str) -> Result<(), BoxError> {
    let server = chat::server(address).bind().await?;
    let address = *server.local_addrs().first().ok_or("no address")?;
    println!("open http://{address}/ in a browser, in two windows; SIGINT stops");
    let handle = server.handle();
    let leaving = handle.drain_on(Signals::listen()?);
    let greeters = chat::greeters(format!("http://{address}"));
    let ((), report, _) = join3(server.serve(), leaving, greeters).await;
    println!("{report}");
    Ok(())
}
