//! A server under test: bound to a free port of the loopback, running, with or without mutual TLS.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use sinew_core::resilience::RetryPolicy;
use sinew_core::server::drain::Ending;
use sinew_driver::{DrainReport, RestServerConfig, ServerBuilder, ServerHandle, Spawn};
use sinew_examples::certs::{Authority, Identity};
use sinew_tls::{ClientTls, Options, ServerTls};

use super::app;
use crate::rt;

/// More than a connection takes on a machine that has other things to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) type Builder = ServerBuilder<rt::Runtime, rt::Mode>;

/// Whom the client's certificate names.
pub(crate) const CLIENT: &str = "spiffe://acme.test/ns/shop/sa/cart";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Security {
    Plain,
    Mutual,
}

impl Security {
    /// The URL of a server at this address.
    pub(crate) fn url(self, address: SocketAddr) -> String {
        match self {
            Self::Plain => format!("http://{address}"),
            Self::Mutual => format!("https://{address}"),
        }
    }
}

pub(crate) const BOTH: [Security; 2] = [Security::Plain, Security::Mutual];

/// What is minted once for all tests of a process.
pub(crate) struct Pki {
    pub(crate) authority: Authority,
    pub(crate) server: Identity,
    pub(crate) client: Identity,
}

pub(crate) fn pki() -> &'static Pki {
    static PKI: OnceLock<Pki> = OnceLock::new();
    PKI.get_or_init(|| {
        let authority = Authority::mint("sinew test authority").unwrap();
        let server = authority.server(&["localhost", "127.0.0.1", "::1"]).unwrap();
        let client = authority.client(CLIENT).unwrap();
        Pki { authority, server, client }
    })
}

/// A server that asks everyone for a certificate of the test authority.
pub(crate) fn server_tls(identity: &Identity) -> ServerTls {
    let builder = ServerTls::builder().certificate_pem(&identity.chain, &identity.key).unwrap();
    builder.client_ca_pem(pki().authority.pem()).unwrap().build().unwrap()
}

/// A client that trusts the test authority and shows its certificate.
pub(crate) fn client_tls() -> ClientTls {
    let patient = Options { handshake_timeout: PATIENCE, ..Options::CLIENT };
    let builder = ClientTls::builder().ca_pem(pki().authority.pem()).unwrap().options(patient);
    builder.identity_pem(&pki().client.chain, &pki().client.key).unwrap().build().unwrap()
}

/// The default configuration, with a change.
pub(crate) fn config(change: impl FnOnce(&mut RestServerConfig)) -> RestServerConfig {
    let mut config = RestServerConfig::default();
    change(&mut config);
    config
}

/// A running server. It goes on until the test ends, or until it is stopped.
pub(crate) struct Site {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) operators: Vec<SocketAddr>,
    pub(crate) handle: ServerHandle<rt::Runtime>,
    pub(crate) security: Security,
}

impl Site {
    /// The test application with the default configuration.
    pub(crate) async fn start(security: Security) -> Self {
        Self::with(security, RestServerConfig::default()).await
    }

    /// The test application.
    pub(crate) async fn with(security: Security, config: RestServerConfig) -> Self {
        let builder = app::routes(rt::RestServer::builder().config(config));
        Self::run(security, builder.listen("127.0.0.1:0")).await
    }

    /// Whatever was built.
    pub(crate) async fn run(security: Security, builder: Builder) -> Self {
        let builder = match security {
            Security::Plain => builder.allow_plaintext(),
            Security::Mutual => builder.tls(server_tls(&pki().server)),
        };
        Self::bound(security, builder).await
    }

    /// What was built, with or without TLS already.
    pub(crate) async fn bound(security: Security, builder: Builder) -> Self {
        let server = builder.bind().await.unwrap();
        let site = Self {
            addresses: server.local_addrs().to_vec(),
            operators: server.admin_addrs().to_vec(),
            handle: server.handle(),
            security,
        };
        rt::Runtime::default().spawn(server.serve());
        site
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Where the first listener is.
    pub(crate) fn url(&self) -> String {
        self.security.url(self.address())
    }

    /// Stops, with plenty of time.
    pub(crate) async fn stop(&self) -> DrainReport {
        self.handle.stop(Duration::from_secs(20)).await
    }
}

/// Connections that were idle, that finished what they did, and that were cut.
pub(crate) fn ended(report: &DrainReport) -> (u64, u64, u64) {
    let idle = report.count(Ending::Idle) + report.count(Ending::Left);
    (idle, report.count(Ending::Finished) + report.count(Ending::Told), report.lost())
}

/// A client of this site, with the certificate of the test client where TLS is asked for.
pub(crate) fn client_of(site: &Site) -> rt::RestClient {
    client_for(site.security, &site.url())
}

/// The same, of any URL.
pub(crate) fn client_for(security: Security, url: &str) -> rt::RestClient {
    match security {
        Security::Plain => client_to(url),
        Security::Mutual => client_with(url, client_tls()),
    }
}

/// A client in plaintext.
pub(crate) fn client_to(url: &str) -> rt::RestClient {
    let builder = once(rt::RestClient::builder(url)).allow_plaintext();
    builder.allow_plaintext_tokens().build().unwrap()
}

/// A client under TLS.
pub(crate) fn client_with(url: &str, tls: ClientTls) -> rt::RestClient {
    once(rt::RestClient::builder(url)).tls(tls).build().unwrap()
}

/// Patient, and content with the first answer: the tests ask what that is.
fn once(builder: rt::ClientBuilder) -> rt::ClientBuilder {
    let once = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
    builder.connect_timeout(PATIENCE).retry(once)
}
