//! The application of the servers that the suite runs: it answers with what it received.

use http::{HeaderMap, Method, StatusCode, Version};
use serde::{Deserialize, Serialize};
use sinew_driver::{IntoResponse, Problem, Request, Response};

use crate::application::{handshake_refusal, offers_websocket};
use crate::case::Octets;
use crate::transcript::{Lines, Message, Start};

/// A body is mirrored up to this size; the limit under test is the server's own.
const MOST: u64 = 1 << 30;

/// A request, as its answer tells it.
#[derive(Serialize, Deserialize)]
struct Seen {
    method: String,
    target: Octets,
    authority: Option<String>,
    old: bool,
    headers: Vec<(Octets, Octets)>,
    body: Octets,
    trailers: Option<Vec<(Octets, Octets)>>,
}

/// Answers with the request; switches to WebSocket when asked properly, and opens a tunnel for
/// CONNECT. What comes behind the switch is sent back.
///
/// # Errors
///
/// Those of the request body.
pub async fn answer(request: Request) -> Result<Response, Problem> {
    let head = request.head();
    let offered = head.upgrade().is_some_and(offers_websocket);
    if *head.method() == Method::CONNECT {
        return Ok(carry(request, Response::new(StatusCode::OK)).await);
    }
    if offered && let Some(status) = handshake_refusal(head) {
        return Ok(Response::new(status).header("sec-websocket-version", "13"));
    }
    let mut seen = Seen {
        method: head.method().as_str().to_owned(),
        target: Octets(head.target().as_bytes().to_vec()),
        authority: head.authority().map(str::to_owned),
        old: head.version() == Version::HTTP_10,
        headers: head
            .fields()
            .iter()
            .map(|(name, value)| (octets(name.to_lowercase()), octets(value)))
            .collect(),
        body: Octets::default(),
        trailers: None,
    };
    if offered {
        let answer = Response::new(StatusCode::SWITCHING_PROTOCOLS).header("upgrade", "websocket");
        return Ok(carry(request, answer).await);
    }
    let (body, trailers) = request.into_body().collect_with_trailers(MOST).await?;
    seen.body = Octets(body.to_vec());
    seen.trailers = trailers.as_ref().map(lines);
    let text = serde_json::to_vec(&seen)?;
    Ok(Response::ok(text).header("content-type", "application/json"))
}

/// Takes the connection over and sends back what comes.
async fn carry(request: Request, answer: Response) -> Response {
    match request.upgrade(answer).await {
        Ok(connection) => {
            while let Ok(Some(bytes)) = connection.read().await {
                if connection.write(bytes).await.is_err() {
                    break;
                }
            }
            Response::new(StatusCode::OK)
        }
        Err(error) => Problem::from(error).into_response(),
    }
}

fn octets(bytes: impl AsRef<[u8]>) -> Octets {
    Octets(bytes.as_ref().to_vec())
}

fn lines(fields: &HeaderMap) -> Vec<(Octets, Octets)> {
    fields.iter().map(|(name, value)| (octets(name.as_str()), octets(value.as_bytes()))).collect()
}

/// Reads the body of such an answer.
pub fn read(body: &[u8]) -> Option<Message> {
    let seen: Seen = serde_json::from_slice(body).ok()?;
    let plain = |fields: Vec<(Octets, Octets)>| -> Lines {
        let name = |octets: Octets| String::from_utf8_lossy(&octets.0).into_owned();
        fields.into_iter().map(|(n, value)| (name(n), value.0)).collect()
    };
    Some(Message {
        start: Start::Request {
            method: seen.method,
            target: String::from_utf8_lossy(&seen.target.0).into_owned(),
            authority: seen.authority,
        },
        version: if seen.old { "1.0" } else { "1.1" },
        headers: plain(seen.headers),
        body: seen.body.0,
        trailers: seen.trailers.map(plain),
        complete: true,
    })
}
