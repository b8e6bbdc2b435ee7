//! hyper on tokio, with the flush that it offers for pipelining, plain or under mutual TLS.

use std::convert::Infallible;
use std::io::{Error, Result};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use sinew_bench_peers::{HELLO, announce, certificates, runtime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

async fn answer(
    request: Request<Incoming>,
) -> std::result::Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(Bytes::from_static(HELLO)));
    if request.uri().path() == "/plain" {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    } else {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    Ok(response)
}

async fn serve(io: impl AsyncRead + AsyncWrite + Unpin) {
    let connection = http1::Builder::new()
        .pipeline_flush(true)
        .serve_connection(TokioIo::new(io), service_fn(answer));
    let _ = connection.await;
}

fn mutual(dir: &Path) -> Result<TlsAcceptor> {
    let open = |name| dir.join(name);
    let chain = CertificateDer::pem_file_iter(open("cert.pem")).map_err(Error::other)?;
    let chain = chain.collect::<std::result::Result<_, _>>().map_err(Error::other)?;
    let key = PrivateKeyDer::from_pem_file(open("key.pem")).map_err(Error::other)?;
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(open("ca.pem")).map_err(Error::other)?;
    roots.add(authority).map_err(Error::other)?;
    let provider = Arc::new(ring::default_provider());
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(Error::other)?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::other)?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .map_err(Error::other)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn main() -> Result<()> {
    runtime()?.block_on(async {
        let tls = certificates().map(|dir| mutual(&dir)).transpose()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        announce(listener.local_addr()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            match tls.clone() {
                None => tokio::spawn(serve(stream)),
                Some(tls) => tokio::spawn(async move {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream).await;
                    }
                }),
            };
        }
    })
}
