//! The service for others: curl, a browser, a load generator.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use futures_util::future::join;
use sinew_tls::ServerTls;

use super::sinew::{RestServer, Signals};
use crate::certs::Authority;
use crate::quickstart::app::{self, Door};
use crate::transcript::Outcome;

const PLACE: &str = "127.0.0.1:8443";

/// Serves until SIGTERM or SIGINT, then stops in good order. A second signal cuts what still runs.
pub(super) async fn serve(runtime: &str) -> Outcome {
    let authority = Authority::mint("quickstart authority")?;
    let identity = authority.server(&["localhost", "127.0.0.1"])?;
    let client = authority.client("spiffe://quickstart.test/curl")?;
    let tls = ServerTls::builder()
        .certificate_pem(&identity.chain, &identity.key)?
        .client_ca_pem(authority.pem())?
        .build()?;
    let door = Door::default();
    let server = app::routes(RestServer::builder(), &door).listen(PLACE).tls(tls).bind().await?;
    let handle = server.handle();
    let signals = Signals::listen()?;

    // Only this user can enter the folder. It goes when the server has stopped.
    let folder = tempfile::Builder::new().prefix("sinew-quickstart-").tempdir()?;
    write(folder.path(), "ca.pem", authority.pem())?;
    write(folder.path(), "client.pem", &client.chain)?;
    write(folder.path(), "client.key", &client.key)?;
    explain(runtime, folder.path());

    let release = async {
        handle.stopping().await;
        println!("stopping; calls in flight have 25 s");
        // Nobody shall wait for a door that nobody opens.
        door.open();
    };
    let ((), (report, ())) = join(server.serve(), join(handle.drain_on(signals), release)).await;
    println!("stopped: {report}");
    folder.close()?;
    Ok(())
}

/// Writes a file that only this user can read, and that was not there before.
fn write(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(folder.join(name))?.write_all(text.as_bytes())
}

fn explain(runtime: &str, folder: &Path) {
    let folder = folder.display();
    println!("sinew quickstart on {runtime}: serving on https://{PLACE}");
    println!("certificates and key: {folder}");
    println!();
    println!("Try, in another terminal:");
    println!("  D={folder}");
    println!("  alias c='curl --cacert $D/ca.pem --cert $D/client.pem --key $D/client.key'");
    println!("  c https://{PLACE}/api/resource/42");
    println!(
        "  c -H 'content-type: application/json' -d '{{\"hello\":1}}' https://{PLACE}/api/echo"
    );
    println!("  c https://{PLACE}/download/100000000 | c -T - https://{PLACE}/upload");
    println!("  head -c 2000000 /dev/zero | c --data-binary @- https://{PLACE}/api/echo   # 413");
    println!(
        "  curl --cacert $D/ca.pem https://{PLACE}/api/resource/42   # no certificate: refused"
    );
    println!();
    println!("Ctrl-C, or SIGTERM, stops it.");
}
