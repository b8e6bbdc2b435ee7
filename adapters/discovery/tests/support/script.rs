//! A server whose every answer the test gives, and what a client learns from it.

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use http::{Method, StatusCode};
use sinew_discovery::{EndpointSetConfig, Source, follow};
use sinew_smol::{Request, Response, RestClient, RestServer, SmolRuntime};
use sinew_tls::ServerTls;
use smol::channel::{Receiver, Sender, bounded, unbounded};

/// Where nothing happens for so long, nothing will.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server whose every answer the test gives.
pub(crate) struct Script {
    pub(crate) url: String,
    asked: Receiver<Asked>,
    _serving: smol::Task<()>,
}

/// A request that waits for its answer.
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) fields: http::HeaderMap,
    pub(crate) body: String,
    answer: Sender<Response>,
}

impl Script {
    pub(crate) async fn start() -> Self {
        Self::start_over(None).await
    }

    pub(crate) async fn start_over(tls: Option<ServerTls>) -> Self {
        let (ask, asked) = unbounded();
        let handler = move |mut request: Request| {
            let ask = ask.clone();
            async move {
                let (answer, answered) = bounded(1);
                let mut body = Vec::new();
                while let Ok(Some(bytes)) = request.body_mut().chunk().await {
                    body.extend_from_slice(&bytes);
                }
                let asked = Asked {
                    method: request.method().clone(),
                    target: request.target().to_owned(),
                    fields: request.headers().clone(),
                    body: String::from_utf8(body).unwrap(),
                    answer,
                };
                let _ = ask.send(asked).await;
                answered.recv().await.unwrap_or_else(|_| Response::new(StatusCode::BAD_GATEWAY))
            }
        };
        let (scheme, builder) = match tls {
            Some(tls) => ("https", RestServer::builder().tls(tls)),
            None => ("http", RestServer::builder().allow_plaintext()),
        };
        let server = builder
            .listen("127.0.0.1:0")
            .route(Method::GET, "/{*path}", handler.clone())
            .route(Method::PUT, "/{*path}", handler)
            .bind()
            .await
            .unwrap();
        let url = format!("{scheme}://{}", server.local_addrs()[0]);
        let serving = smol::spawn(async move {
            server.serve().await;
        });
        Self { url, asked, _serving: serving }
    }

    pub(crate) fn client(&self) -> RestClient {
        // More than a connection takes on a machine that has other things to do.
        let builder = RestClient::builder(&self.url).allow_plaintext().connect_timeout(PATIENCE);
        builder.build().unwrap()
    }

    pub(crate) async fn next(&self) -> Asked {
        in_time(async { self.asked.recv().await.unwrap() }).await
    }
}

impl Asked {
    pub(crate) fn answer(self, response: Response) {
        let _ = self.answer.try_send(response);
    }

    pub(crate) fn json(self, body: &str) {
        self.answer(Response::ok(body.to_owned()));
    }

    pub(crate) fn status(self, status: u16) {
        self.answer(Response::new(StatusCode::from_u16(status).unwrap()));
    }

    /// A pair of its query, as it is written.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.find(|(its, _)| *its == name).map(|(_, value)| value)
    }

    pub(crate) fn path(&self) -> &str {
        self.target.split_once('?').map_or(&self.target, |(path, _)| path)
    }
}

pub(crate) async fn in_time<T>(work: impl Future<Output = T>) -> T {
    smol::future::or(work, async {
        smol::Timer::after(PATIENCE).await;
        panic!("nothing happens");
    })
    .await
}

/// Follows `source` while `script` runs, which hears what is told.
pub(crate) async fn followed<F: Future<Output = ()>>(
    source: impl Source,
    script: impl FnOnce(Receiver<String>) -> F,
) {
    let client = RestClient::builder("http://a.test").allow_plaintext().build().unwrap();
    let (tell, told) = unbounded();
    let tell = RefCell::new(tell);
    let report = |news: sinew_discovery::News| {
        let _ = tell.borrow_mut().try_send(news.to_string());
    };
    let following =
        pin!(follow(&SmolRuntime, &client, source, EndpointSetConfig::default(), report));
    smol::future::or(script(told), following).await;
}

pub(crate) async fn next(told: &Receiver<String>) -> String {
    in_time(async { told.recv().await.unwrap() }).await
}
