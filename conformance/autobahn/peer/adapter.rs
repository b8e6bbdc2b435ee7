//! The `RestClient` of an adapter.

use std::path::Path;

use sinew_conformance::network::adapter::{Adapter, Work};
use sinew_conformance::websocket::echo;
use sinew_core::http1;
use sinew_core::websocket::Message;
use sinew_core::websocket::handshake::ClientHandshake;
use sinew_driver::server::Conn;
use sinew_driver::{RestClient, RestClientConfig, Runtime, Spawn, Task, Threads};
use sinew_tls::{ClientTls, Tls};

use crate::{COUNT, Failure, case, report};

/// Goes through all cases, one after the other, and has the report written.
pub(crate) fn visit(runtime: Adapter, server: &str, ca: Option<&Path>) -> Result<(), Failure> {
    let mut config = RestClientConfig::new(server.replacen("ws", "http", 1));
    config.allow_plaintext = ca.is_none();
    config.mtls_config = match ca {
        Some(path) => Some(ClientTls::builder().ca_file(path)?.build()?),
        None => None,
    };
    let agent = format!("{runtime:?}").to_lowercase();
    runtime.run(Visit { config, agent })?
}

struct Visit {
    config: RestClientConfig,
    agent: String,
}

impl Work for Visit {
    type Outcome = Result<(), Failure>;

    async fn on<R>(self, runtime: R) -> Self::Outcome
    where
        R: Runtime
            + Spawn<Task>
            + Spawn<Conn<http1::Server, R, Threads>>
            + Spawn<Conn<Tls<http1::Server>, R, Threads>>,
    {
        let Self { config, agent } = self;
        let client =
            RestClient::<R>::builder(config.base_url.clone()).config(config).build_on(runtime)?;
        let told = converse(&client, COUNT).await?.ok_or("how many cases, is not told")?;
        let count = match &told {
            Message::Text(text) => text.as_str().parse()?,
            Message::Binary(_) => return Err("the number of cases is a text".into()),
        };
        for number in 1..=count {
            converse(&client, &case(number, &agent)).await?;
        }
        converse(&client, &report(&agent)).await?;
        println!("{count} cases");
        Ok(())
    }
}

/// Sends back what comes, to the end, whatever that is; the first message.
async fn converse<R: Runtime>(
    client: &RestClient<R>,
    target: &str,
) -> Result<Option<Message>, Failure> {
    let deflate = Some(echo::deflate());
    let handshake = ClientHandshake { deflate, ..ClientHandshake::default() };
    let call = client.websocket(target).handshake(handshake).config(echo::config());
    let mut socket = call.connect().await?;
    let mut first = None;
    while let Ok(Some(message)) = socket.recv().await {
        first.get_or_insert_with(|| message.clone());
        if socket.send(message).await.is_err() {
            break;
        }
    }
    Ok(first)
}
