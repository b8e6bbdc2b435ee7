//! What a client does with the service, step by step. Every step says what it saw, and is an error
//! when that is not what it should be.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::{join, join_all};
use futures_util::{StreamExt, stream};
use http::StatusCode;
use sinew_core::server::drain::Ending;
use sinew_tls::{ClientTls, Reason, ServerTls};

use super::sinew::{Body, Error, ErrorKind, RestClient, RestServer, ServerHandle};
use super::{Runtime, spawn};
use crate::certs::{Authority, Identity};
use crate::memory;
use crate::pattern;
use crate::quickstart::app::{self, Door, Receipt, Resource};
use crate::transcript::{Outcome, Progress, Transcript, ensure};

/// Whom the client's certificate names.
const CLIENT: &str = "spiffe://quickstart.test/client";

const UPLOAD: u64 = 64 << 20;

/// Certificates, and what is configured from them.
struct Trust {
    authority: Authority,
    server: Identity,
    client: Identity,
}

impl Trust {
    fn mint() -> Outcome<Self> {
        let authority = Authority::mint("quickstart authority")?;
        let server = authority.server(&["localhost", "127.0.0.1", "::1"])?;
        let client = authority.client(CLIENT)?;
        Ok(Self { authority, server, client })
    }

    fn server_tls(&self) -> Outcome<ServerTls> {
        Ok(ServerTls::builder()
            .certificate_pem(&self.server.chain, &self.server.key)?
            .client_ca_pem(self.authority.pem())?
            .build()?)
    }

    fn client_tls(&self) -> Outcome<ClientTls> {
        Ok(ClientTls::builder()
            .ca_pem(self.authority.pem())?
            .identity_pem(&self.client.chain, &self.client.key)?
            .build()?)
    }
}

/// A server that runs, and a client of it.
struct Running {
    address: SocketAddr,
    handle: ServerHandle<Runtime>,
    door: Door,
    client: RestClient,
}

/// All of it.
pub(super) async fn walk(runtime: &str) -> Outcome {
    println!("sinew quickstart on {runtime}: a server and a client in this process, on 127.0.0.1");
    let mut out = Transcript::default();
    let trust = mint(&mut out)?;
    let running = start(&mut out, &trust).await?;
    get(&mut out, &running.client).await?;
    echo(&mut out, &running.client).await?;
    upload(&mut out, &running.client).await?;
    download(&mut out, &running.client).await?;
    no_certificate(&mut out, &trust, &running).await?;
    too_large(&mut out, &running.client).await?;
    wrong_name(&mut out, &trust, &running).await?;
    stop(&mut out, &running).await?;
    println!("\nAll {} steps went as they should.", out.steps());
    Ok(())
}

fn mint(out: &mut Transcript) -> Outcome<Trust> {
    out.step("Certificates, minted in memory");
    let trust = Trust::mint()?;
    out.saw("authority  quickstart authority");
    out.saw("server     localhost, 127.0.0.1, ::1");
    out.saw(format!("client     {CLIENT}"));
    Ok(trust)
}

async fn start(out: &mut Transcript, trust: &Trust) -> Outcome<Running> {
    out.step("A server that asks its clients for a certificate, and a client that has one");
    let door = Door::default();
    let server = app::routes(RestServer::builder(), &door)
        .listen("127.0.0.1:0")
        .tls(trust.server_tls()?)
        .bind()
        .await?;
    let address = server.local_addrs()[0];
    let handle = server.handle();
    spawn(server.serve());
    let client =
        RestClient::builder(format!("https://{address}")).tls(trust.client_tls()?).build()?;
    out.saw(format!("https://{address}"));
    Ok(Running { address, handle, door, client })
}

async fn get(out: &mut Transcript, client: &RestClient) -> Outcome {
    out.step("GET, answered in JSON");
    let response = client.get("/api/resource/42").send().await?;
    let status = response.status();
    let resource: Resource = response.json().await?;
    out.saw(format!("{status}: {resource:?}"));
    ensure(status == StatusCode::OK, "200")?;
    ensure(resource.id == 42, "resource 42")?;
    ensure(resource.asked_by.as_deref() == Some(CLIENT), "the name in the client's certificate")
}

async fn echo(out: &mut Transcript, client: &RestClient) -> Outcome {
    out.step("POST, answered with what was sent");
    let sent = Resource { id: 7, name: "seven".into(), asked_by: None };
    let response = client.post("/api/echo").json(&sent).send().await?;
    let status = response.status();
    let echoed: Resource = response.json().await?;
    out.saw(format!("{status}: {echoed:?}"));
    ensure(status == StatusCode::OK && echoed == sent, "the same back")
}

async fn upload(out: &mut Transcript, client: &RestClient) -> Outcome {
    out.step("64 MiB up, produced as the server takes them");
    let started = Instant::now();
    let progress = Progress::of(UPLOAD, "up");
    let pieces = stream::iter(pattern::pieces(UPLOAD)).map(move |piece| {
        progress.add(piece.len() as u64);
        Ok::<Bytes, Error>(piece)
    });
    let response = client.put("/upload").body(Body::stream(pieces)).send().await?;
    let receipt: Receipt = response.json().await?;
    out.saw(format!("{receipt:?} in {:.2?}", started.elapsed()));
    ensure(receipt == Receipt { bytes: UPLOAD, intact: true }, "every byte in its place")
}

async fn download(out: &mut Transcript, client: &RestClient) -> Outcome {
    out.step("64 MiB down, read piece by piece");
    let started = Instant::now();
    let mut response = client.get(&format!("/download/{UPLOAD}")).send().await?;
    let progress = Progress::of(UPLOAD, "down");
    let mut read = 0;
    let mut intact = true;
    while let Some(piece) = response.chunk().await? {
        intact &= pattern::matches(read, &piece);
        read += piece.len() as u64;
        progress.add(piece.len() as u64);
    }
    out.saw(format!("{read} bytes, intact: {intact}, in {:.2?}", started.elapsed()));
    out.saw(format!("peak memory of the whole process: {}", memory::peak_in_words()));
    ensure(read == UPLOAD && intact, "every byte in its place")?;
    let held = memory::peak().is_some_and(|bytes| bytes >= UPLOAD);
    ensure(!held, "memory far below the size of the bodies")
}

async fn no_certificate(out: &mut Transcript, trust: &Trust, running: &Running) -> Outcome {
    out.step("A client without a certificate");
    let tls = ClientTls::builder().ca_pem(trust.authority.pem())?.build()?;
    let url = format!("https://{}", running.address);
    let stranger = RestClient::builder(url).tls(tls).build()?;
    let refusal = refused(stranger.get("/api/resource/42").send().await)?;
    out.saw(format!("refused: {refusal}"));
    ensure(is_tls(&refusal, Reason::NoClientCertificate), "a refusal for want of a certificate")
}

async fn too_large(out: &mut Transcript, client: &RestClient) -> Outcome {
    out.step("A body over the limit of 1 MiB");
    let response = client.post("/api/echo").body(pattern::body(UPLOAD)).send().await?;
    let status = response.status();
    out.saw(format!("{status}: {}", response.text().await?));
    ensure(status == StatusCode::PAYLOAD_TOO_LARGE, "413")
}

async fn wrong_name(out: &mut Transcript, trust: &Trust, running: &Running) -> Outcome {
    out.step("A server whose certificate has another name");
    let impostor = trust.authority.server(&["elsewhere.test"])?;
    let tls = ServerTls::builder()
        .certificate_pem(&impostor.chain, &impostor.key)?
        .client_ca_pem(trust.authority.pem())?
        .build()?;
    let server = app::routes(RestServer::builder(), &running.door)
        .listen("127.0.0.1:0")
        .tls(tls)
        .bind()
        .await?;
    let url = format!("https://{}", server.local_addrs()[0]);
    let handle = server.handle();
    spawn(server.serve());
    let client = RestClient::builder(url).tls(trust.client_tls()?).build()?;
    let refusal = refused(client.get("/api/resource/42").send().await)?;
    handle.stop(Duration::from_secs(5)).await;
    out.saw(format!("refused: {refusal}"));
    ensure(is_tls(&refusal, Reason::NameMismatch), "a refusal because of the name")
}

async fn stop(out: &mut Transcript, running: &Running) -> Outcome {
    out.step("Stopping with three calls in flight");
    let Running { handle, door, client, .. } = running;
    let calls = join_all((0..3).map(|_| async {
        let response = client.get("/door").send().await?;
        Ok::<_, Error>((response.status(), response.text().await?))
    }));
    let stopping = async {
        door.crowd(3).await;
        out.saw("three handlers are at work; the server is told to stop");
        let release = async {
            handle.stopping().await;
            door.open();
        };
        join(handle.stop(Duration::from_secs(10)), release).await.0
    };
    let (answers, report) = join(calls, stopping).await;
    for answer in answers {
        let (status, text) = answer?;
        out.saw(format!("{status}: {}", text.trim_end()));
        ensure(status == StatusCode::OK, "every call answered")?;
    }
    out.saw(format!(
        "connections: {} finished their call, {} were idle, {} were cut",
        report.count(Ending::Finished),
        report.count(Ending::Idle),
        report.lost()
    ));
    ensure(report.count(Ending::Finished) == 3 && report.lost() == 0, "three drained, none cut")?;
    let refusal = refused(client.get("/api/resource/42").send().await)?;
    out.saw(format!("a call after that: {refusal}"));
    Ok(())
}

/// The error of a call that must not succeed.
fn refused<T>(answer: Result<T, Error>) -> Outcome<Error> {
    answer.err().ok_or_else(|| "the call went through, and must not".into())
}

fn is_tls(error: &Error, reason: Reason) -> bool {
    matches!(error.kind(), ErrorKind::Tls(failure) if failure.reason == reason)
}
