//! What has to pass a proxy unharmed, whichever it is.

use core::convert::Infallible;
use core::future::Future;
use core::num::{NonZeroU64, NonZeroU128};
use core::pin::Pin;
use core::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use sinew_core::observe::{RequestId, TraceContext};
use sinew_core::propagation::CallContext;
use sinew_core::websocket::{CloseCode, Message};
use sinew_driver::{Body, RestClient, Runtime, WebSocket};

use crate::Failure;

/// A body that no proxy keeps whole: 32 MiB.
const LARGE: u64 = 32 << 20;

/// A WebSocket message of many frames' size: 1 MiB.
const LARGE_MESSAGE: usize = 1 << 20;

type Seen = Result<String, Failure>;

#[derive(clap::Args)]
pub(crate) struct Pass {
    /// The proxy sends no more of a request once its answer began
    #[arg(long)]
    one_way: bool,
}

impl Pass {
    /// Prints a line a check; whether all hold.
    pub(crate) async fn all<R: Runtime>(self, client: &RestClient<R>) -> bool {
        let mut all = true;
        all &= said("one after the other", in_a_row(client)).await;
        all &= said("a large body up, of no stated length", up(client, false)).await;
        all &= said("a large body up, of a stated length", up(client, true)).await;
        all &= said("a large body down", down(client)).await;
        if !self.one_way {
            all &= said("a body there and back at once", there_and_back(client)).await;
        }
        all &= said("a body that waits for 100", expecting(client)).await;
        all &= said("names of a request", names(client)).await;
        all &= said("events as they come", events(client)).await;
        all &= said("a WebSocket", socket(client)).await;
        all
    }
}

async fn said(what: &str, check: impl Future<Output = Seen>) -> bool {
    match check.await {
        Ok(seen) => println!("ok {what}: {seen}"),
        Err(why) => {
            println!("FAILED {what}: {why}");
            return false;
        }
    }
    true
}

async fn in_a_row<R: Runtime>(client: &RestClient<R>) -> Seen {
    for _ in 0..50 {
        let text = client.get("/plain").no_retry().send().await?.error_for_status()?.text().await?;
        if text != "Hello, World!" {
            return Err(format!("{text:?}").into());
        }
    }
    Ok("50 answers".into())
}

async fn up<R: Runtime>(client: &RestClient<R>, stated: bool) -> Seen {
    let mut call = client.post("/sink").body(Body::stream(Pattern::new(LARGE)));
    if stated {
        call = call.body(Bytes::from(Pattern::new(LARGE).flatten()));
    }
    let text = call.send().await?.error_for_status()?.text().await?;
    let wanted = format!("{{\"bytes\":{LARGE}}}");
    if text == wanted { Ok(text) } else { Err(text.into()) }
}

async fn down<R: Runtime>(client: &RestClient<R>) -> Seen {
    let mut response = client.get(&format!("/stream/{LARGE}")).send().await?.error_for_status()?;
    let mut bytes = 0;
    while let Some(chunk) = response.chunk().await? {
        bytes += chunk.len() as u64;
    }
    if bytes == LARGE { Ok(format!("{bytes} bytes")) } else { Err(format!("{bytes} bytes").into()) }
}

async fn there_and_back<R: Runtime>(client: &RestClient<R>) -> Seen {
    let call = client.post("/echo").body(Body::stream(Pattern::new(LARGE)));
    let mut response = call.send().await?.error_for_status()?;
    let mut at = 0;
    while let Some(chunk) = response.chunk().await? {
        if !chunk.iter().zip(at..).all(|(byte, at)| *byte == byte_at(at)) {
            return Err(format!("other bytes behind {at}").into());
        }
        at += chunk.len() as u64;
    }
    if at == LARGE { Ok(format!("{at} bytes")) } else { Err(format!("{at} bytes").into()) }
}

async fn expecting<R: Runtime>(client: &RestClient<R>) -> Seen {
    let call = client.post("/sink").body("held back").expect_continue();
    let text = call.send().await?.error_for_status()?.text().await?;
    if text == r#"{"bytes":9}"# { Ok(text) } else { Err(text.into()) }
}

/// Trace, name and time of a call arrive, so that one trace goes through client, proxy and server.
async fn names<R: Runtime>(client: &RestClient<R>) -> Seen {
    let trace = NonZeroU128::MIN.saturating_add(0x5133);
    let context = CallContext {
        trace: Some(TraceContext::root(trace, NonZeroU64::MIN, true, true)),
        request_id: Some(RequestId::mint(0x5133)),
        ..CallContext::default()
    };
    let id = context.request_id.as_ref().map_or("", RequestId::as_str).to_owned();
    let call = client.get("/headers").context(&context).header("x-neighbour", "a, b");
    let fields: Vec<(String, String)> = call.send().await?.error_for_status()?.json().await?;
    let value =
        |name: &str| fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    let arrived = [
        ("traceparent", value("traceparent").is_some_and(|v| v.contains(&format!("{trace:032x}")))),
        ("x-request-id", value("x-request-id") == Some(&id)),
        ("sinew-timeout-ms", value("sinew-timeout-ms").is_some()),
        ("x-neighbour", value("x-neighbour") == Some("a, b")),
    ];
    let lost: Vec<&str> = arrived.iter().filter(|(_, held)| !held).map(|(name, _)| *name).collect();
    if lost.is_empty() {
        return Ok(arrived.map(|(name, _)| name).join(", "));
    }
    Err(format!("changed or lost: {} of {fields:?}", lost.join(", ")).into())
}

/// A proxy that waited for more of the answer would wait for ever.
async fn events<R: Runtime>(client: &RestClient<R>) -> Seen {
    let mut events = client.get("/events").send().await?.events()?;
    for _ in 0..3 {
        let event = events.next().await.ok_or("an end")??;
        if event.data != "tick" {
            return Err(format!("{event:?}").into());
        }
    }
    Ok("3 events".into())
}

async fn socket<R: Runtime>(client: &RestClient<R>) -> Seen {
    let mut socket = client.websocket("/ws").connect().await?;
    for number in 0..100 {
        exchange(&mut socket, Message::text(format!("message {number}"))).await?;
    }
    let large: Vec<u8> = (0..LARGE_MESSAGE as u64).map(byte_at).collect();
    exchange(&mut socket, Message::binary(large)).await?;
    let closed = socket.close(CloseCode::NORMAL, "enough").await?;
    if closed.code != CloseCode::NORMAL {
        return Err(format!("{closed:?}").into());
    }
    Ok("101 messages and a close".into())
}

async fn exchange(socket: &mut WebSocket, message: Message) -> Result<(), Failure> {
    socket.send(message.clone()).await?;
    let back = socket.recv().await?.ok_or("closed")?;
    if back == message { Ok(()) } else { Err("another message came back".into()) }
}

/// So many bytes of which every position is known.
struct Pattern {
    at: u64,
    end: u64,
}

impl Pattern {
    fn new(end: u64) -> Self {
        Self { at: 0, end }
    }

    fn flatten(self) -> Vec<u8> {
        (self.at..self.end).map(byte_at).collect()
    }
}

/// The period is a prime, so that no power of two hides a mistake.
fn byte_at(position: u64) -> u8 {
    (position % 251) as u8
}

impl Stream for Pattern {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.end.min(self.at + 16_384);
        if self.at == next {
            return Poll::Ready(None);
        }
        let piece: Vec<u8> = (self.at..next).map(byte_at).collect();
        self.at = next;
        Poll::Ready(Some(Ok(piece.into())))
    }
}
