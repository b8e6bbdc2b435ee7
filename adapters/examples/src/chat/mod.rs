//! A chat: a page, a socket for everyone who looks at it, and two clients without a browser.

use std::time::Duration;

use futures_util::future::join;
use http::Method;
use serde::{Deserialize, Serialize};
use sinew_driver::websocket::{Limits, Overflow, WebSocketConfig};
use sinew_tokio::{
    Error, Message, Request, Response, RestClient, RestServer, Sockets, TokioRuntime, WebSocket,
    WebSocketOptions,
};

use crate::transcript::{Outcome, Transcript, ensure};

const PAGE: &str = include_str!("page.html");

/// Bytes that somebody may say at once.
const LONGEST: usize = 4096;

/// What somebody says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Said {
    /// Who.
    pub name: String,
    /// What.
    pub text: String,
}

impl Said {
    fn new(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), text: text.to_owned() }
    }
}

/// The server, to be bound. Everything that somebody says goes to all.
pub fn server(address: &str) -> sinew_driver::ServerBuilder<TokioRuntime, sinew_driver::Threads> {
    let sockets = Sockets::default();
    let limits = Limits { frame: LONGEST, message: LONGEST, ..Limits::default() };
    // Who cannot keep up hears the latest.
    let overflow = Overflow::DropOldest;
    let config = WebSocketConfig { limits, overflow, ..WebSocketConfig::default() };
    let options = WebSocketOptions::new().config(config).sockets(&sockets);
    RestServer::builder()
        .listen(address)
        .allow_plaintext()
        .route(Method::GET, "/", async |_: Request| {
            Response::ok(PAGE).header("content-type", "text/html; charset=utf-8")
        })
        .websocket_with("/chat", options, move |_: Request, socket: WebSocket| {
            talk(sockets.clone(), socket)
        })
}

async fn talk(sockets: Sockets, mut socket: WebSocket) -> Result<(), Error> {
    while let Some(said) = socket.recv_json::<Said>().await? {
        let said = serde_json::to_string(&said).unwrap_or_default();
        sockets.broadcast(Message::text(said));
    }
    Ok(())
}

/// A page, two clients and a stop, as a transcript.
///
/// # Errors
///
/// The first thing that did not go as it should.
pub async fn walk() -> Outcome {
    let mut transcript = Transcript::default();
    let server = server("127.0.0.1:0").bind().await?;
    let address = *server.local_addrs().first().ok_or("no address")?;
    let handle = server.handle();
    let serving = tokio::spawn(server.serve());
    let client = RestClient::builder(format!("http://{address}")).allow_plaintext().build()?;

    transcript.step("The page comes from the server that it talks to");
    let page = client.get("/").send().await?;
    transcript.saw(format_args!("GET / {}", page.status()));
    ensure(page.text().await?.contains("new WebSocket"), "a page that opens a socket")?;

    transcript.step("Two clients open sockets");
    let mut ada = client.websocket("/chat").connect().await?;
    let mut bob = client.websocket("/chat").connect().await?;
    transcript.saw(format_args!("{} connections", handle.connections()));

    transcript.step("What one says, both hear");
    for (who, text) in [("ada", "hello"), ("bob", "hello, ada"), ("ada", "grüße aus 東京")] {
        let said = Said::new(who, text);
        if who == "ada" {
            ada.send_json(&said).await?;
        } else {
            bob.send_json(&said).await?;
        }
        for (name, socket) in [("ada", &mut ada), ("bob", &mut bob)] {
            let heard: Option<Said> = socket.recv_json().await?;
            ensure(heard.as_ref() == Some(&said), format_args!("{name} to hear {said:?}"))?;
        }
        transcript.saw(format_args!("{who}: {text}"));
    }

    transcript.step("A page of another origin is refused");
    let foreign = client.websocket("/chat").header("origin", "https://elsewhere.test");
    let refused = foreign.connect().await.err().ok_or("it was let in")?;
    transcript.saw(refused);

    transcript.step("Who says too much at once is told so");
    let mut eve = client.websocket("/chat").connect().await?;
    eve.send_json(&Said::new("eve", &"x".repeat(LONGEST))).await?;
    ensure(eve.recv().await?.is_none(), "the end of the socket")?;
    let closed = eve.closed().ok_or("not closed")?;
    transcript.saw(format_args!("closed with {}", closed.code));
    ensure(closed.code.as_u16() == 1009, "1009")?;

    transcript.step("At the stop everyone is told, one after the other");
    let listen = async {
        let (a, b) = join(ada.recv(), bob.recv()).await;
        Ok::<_, Error>((a?, b?))
    };
    let (heard, report) = join(listen, handle.stop(Duration::from_secs(2))).await;
    ensure(heard? == (None, None), "the end of both sockets")?;
    for socket in [&ada, &bob] {
        let closed = socket.closed().ok_or("not closed")?;
        transcript.saw(format_args!("closed with {}", closed.code));
        ensure(closed.code.as_u16() == 1001, "1001")?;
    }
    transcript.saw(format_args!("{report:?}"));
    ensure(report.lost() == 0, "nobody to be cut")?;
    serving.await?;
    println!("\nAll {} steps went as they should.", transcript.steps());
    Ok(())
}

/// Two clients who greet whoever comes: so that a page is not alone.
///
/// # Errors
///
/// A server that cannot be reached.
pub async fn greeters(url: String) -> Result<(), Error> {
    let client = RestClient::builder(url).allow_plaintext().build()?;
    let greet = async |name: &str, heard: &str, answer: &str| {
        let mut socket = client.websocket("/chat").connect().await?;
        socket.send_json(&Said::new(name, "here I am")).await?;
        while let Some(said) = socket.recv_json::<Said>().await? {
            if said.name != "ada" && said.name != "bob" && said.text.contains(heard) {
                socket.send_json(&Said::new(name, answer)).await?;
            }
        }
        Ok(())
    };
    let (ada, bob) =
        join(greet("ada", "", "I heard you"), greet("bob", "?", "good question")).await;
    ada.and(bob)
}
