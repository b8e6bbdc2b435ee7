//! How a pod reaches the API server.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sinew_driver::{BoxError, Error, RestClient, Runtime, Token, Tokens};
use sinew_tls::ClientTls;

/// Where a pod finds its token, its namespace, and whom to trust.
/// <https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/>
pub const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Whom the certificate of the API server names.
const SERVER_NAME: &str = "kubernetes.default.svc";

/// Bytes of a token or of a name, at most.
const MAX_FILE: u64 = 64 * 1024;

/// A token is replaced on disk before its end, and read again this often.
const TOKEN_LIFE: Duration = Duration::from_secs(120);

/// The service account of a pod: a folder with `token`, `namespace` and `ca.crt`, and the place of the API
/// server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceAccount {
    folder: PathBuf,
    url: String,
}

impl ServiceAccount {
    /// That of this pod, as its environment says.
    ///
    /// # Errors
    ///
    /// `KUBERNETES_SERVICE_HOST` or `KUBERNETES_SERVICE_PORT` is missing: this is no pod.
    pub fn in_cluster() -> io::Result<Self> {
        let variable = |name: &str| {
            std::env::var(name).map_err(|why| io::Error::other(format!("{name}: {why}")))
        };
        let host = variable("KUBERNETES_SERVICE_HOST")?;
        let port = variable("KUBERNETES_SERVICE_PORT")?;
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        Ok(Self::at(SERVICE_ACCOUNT, format!("https://{host}:{port}")))
    }

    /// Another folder, and another server.
    pub fn at(folder: impl Into<PathBuf>, url: impl Into<String>) -> Self {
        Self { folder: folder.into(), url: url.into() }
    }

    /// The namespace of the pod.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn namespace(&self) -> io::Result<String> {
        read(&self.folder.join("namespace"))
    }

    /// A client of the API server. It trusts the authorities of the folder, and sends its token, which it
    /// reads again from time to time.
    ///
    /// # Errors
    ///
    /// The authorities cannot be read; the URL is none.
    pub fn client<R: Runtime>(&self, runtime: R) -> Result<RestClient<R>, BoxError> {
        let tls = ClientTls::builder().ca_file(self.folder.join("ca.crt"))?.build()?;
        let path = self.folder.join("token");
        let tokens = Tokens::refreshed(move || {
            let token = token(&path);
            async move { token }
        });
        let builder = RestClient::builder(&self.url).tls(tls).server_name(SERVER_NAME);
        Ok(builder.tokens(tokens).build_on(runtime)?)
    }
}

fn token(path: &Path) -> Result<Token, BoxError> {
    let token = Token::bearer(&read(path)?).map_err(|why: Error| BoxError::from(why))?;
    Ok(token.expires_in(TOKEN_LIFE))
}

fn read(path: &Path) -> io::Result<String> {
    let failed = |why: io::Error| io::Error::new(why.kind(), format!("{}: {why}", path.display()));
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_FILE).read_to_string(&mut text).map_err(failed)?;
    Ok(text.trim().to_owned())
}
