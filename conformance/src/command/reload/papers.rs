//! Authorities, certificates, and the files that a server reads.

use std::fs;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;

use sinew_conformance::network::certificate::{Authority, Issued, NAME};
use sinew_conformance::network::conversation::Transport;
use sinew_tls::rustls::pki_types::ServerName;
use sinew_tls::{ClientTls, ClientTlsBuilder};

use super::super::Problem;
use super::super::process::Folder;
use super::status;

/// Who asks.
#[derive(Clone, Copy)]
pub(super) enum Client {
    /// Always trusted.
    Stays,
    /// Trusted no more in the end.
    Goes,
}

/// Of whom a server is, and who its clients are.
pub(super) struct Papers {
    folder: Folder,
    /// One an epoch; each has an authority of its own, as the clients have.
    servers: Vec<Issued>,
    stays: Issued,
    goes: Issued,
}

impl Papers {
    /// What a server reads.
    pub(super) const FILES: [&str; 3] = ["cert.pem", "key.pem", "ca.pem"];

    /// For so many epochs.
    pub(super) fn issue(epochs: u32) -> Result<Self, Problem> {
        let issue = |name| Authority::generate()?.issue(name);
        let servers = (0..epochs).map(|_| issue(NAME)).collect::<Result<_, _>>();
        let servers = servers.map_err(Problem::new)?;
        let stays = issue("stays.test").map_err(Problem::new)?;
        let goes = issue("goes.test").map_err(Problem::new)?;
        Ok(Self { folder: Folder::make()?, servers, stays, goes })
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The certificate of an epoch, counted from 1.
    fn server(&self, epoch: u32) -> Result<&Issued, Problem> {
        let place = usize::try_from(epoch).ok().and_then(|epoch| epoch.checked_sub(1));
        place
            .and_then(|place| self.servers.get(place))
            .ok_or_else(|| Problem::new("there is no such epoch"))
    }

    fn identity(&self, client: Client) -> &Issued {
        match client {
            Client::Stays => &self.stays,
            Client::Goes => &self.goes,
        }
    }

    /// Writes the files of an epoch, in which these clients are trusted.
    pub(super) fn put(&self, epoch: u32, trusted: &[Client]) -> Result<(), Problem> {
        let server = self.server(epoch)?;
        let trusted: String =
            trusted.iter().map(|client| self.identity(*client).authority.as_str()).collect();
        let texts = [&server.certificate, &server.key, &trusted];
        Self::FILES.into_iter().zip(texts).try_for_each(|(file, text)| self.restore(file, text))
    }

    /// Breaks a file; what was in it.
    pub(super) fn spoil(&self, file: &str) -> Result<String, Problem> {
        let whole = fs::read_to_string(self.folder().join(file)).map_err(Problem::new)?;
        // As if it was read while somebody wrote it.
        let half = whole.get(..whole.len() / 2).unwrap_or_default();
        self.restore(file, half)?;
        Ok(whole)
    }

    pub(super) fn restore(&self, file: &str, text: &str) -> Result<(), Problem> {
        fs::write(self.folder().join(file), text).map_err(Problem::new)
    }

    /// A client that trusts the certificates of these epochs alone.
    pub(super) fn client(
        &self,
        which: Client,
        epochs: RangeInclusive<u32>,
    ) -> Result<Transport, Problem> {
        let client = self.identity(which);
        let mut builder = ClientTls::builder();
        for epoch in epochs {
            builder = builder.ca_pem(&self.server(epoch)?.authority).map_err(Problem::new)?;
        }
        let builder = builder.identity_pem(&client.certificate, &client.key);
        let tls = builder.and_then(ClientTlsBuilder::build).map_err(Problem::new)?;
        let name = ServerName::try_from(NAME).map_err(Problem::new)?;
        Ok(Transport::Tls(tls.config().clone(), name))
    }

    /// Whether the certificate of this epoch is shown, and not that of the one before.
    pub(super) fn holds(&self, place: SocketAddr, epoch: u32) -> Result<bool, Problem> {
        let is_shown = |epoch: u32| {
            let client = self.client(Client::Stays, epoch..=epoch)?;
            Ok(status(place, &client, "GET /plain", "") == Some(200))
        };
        Ok(is_shown(epoch)? && !is_shown(epoch - 1)?)
    }
}
