//! A Redis of our own, to be killed and started again.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sinew_redis::RedisConfig;
use sinew_tls::ClientTls;

use crate::certs::Authority;
use crate::transcript::Outcome;

/// The user of an ACL that may do what a lease takes, and nothing else.
const USER: &str =
    "user limits on >pass%word ~sinew:quota:* +ping +select +evalsha +eval +time +get +set";

/// A server with one user, on a port in plaintext, one under TLS, and a socket.
pub(super) struct Redis {
    child: Child,
    directory: tempfile::TempDir,
    port: u16,
    tls_port: u16,
}

/// How it is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    Tls,
    Tcp,
    Unix,
}

impl Way {
    pub(super) const ALL: [Self; 3] = [Self::Tls, Self::Tcp, Self::Unix];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Tls => "TLS",
            Self::Tcp => "TCP",
            Self::Unix => "Unix socket",
        }
    }
}

impl Redis {
    pub(super) fn start() -> Outcome<Self> {
        let directory = tempfile::Builder::new().prefix("sinew-redis-").tempdir()?;
        let authority = Authority::mint("shared limits authority")?;
        let identity = authority.server(&["localhost", "127.0.0.1"])?;
        fs::write(directory.path().join("ca.pem"), authority.pem())?;
        fs::write(directory.path().join("redis.pem"), &identity.chain)?;
        fs::write(directory.path().join("redis.key"), &identity.key)?;
        let (port, tls_port) = (free_port()?, free_port()?);
        let child = launch(&directory, port, tls_port)?;
        Ok(Self { child, directory, port, tls_port })
    }

    /// Without a word to anybody.
    pub(super) fn kill(&mut self) -> Outcome {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// With nothing in it.
    pub(super) fn restart(&mut self) -> Outcome {
        self.child = launch(&self.directory, self.port, self.tls_port)?;
        Ok(())
    }

    /// The URL, and whom to trust there.
    pub(super) fn url(&self, way: Way) -> String {
        match way {
            Way::Tls => format!("rediss://limits:pass%25word@localhost:{}", self.tls_port),
            Way::Tcp => format!("redis://limits:pass%25word@127.0.0.1:{}", self.port),
            Way::Unix => format!("unix:{}", self.directory.path().join("socket").display()),
        }
    }

    pub(super) fn authority(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.kill();
    }
}

/// The configuration for a URL of [`Redis::url`].
pub(super) fn config(url: &str, authority: &str) -> Outcome<RedisConfig> {
    let mut config = RedisConfig::from_url(url)?;
    if url.starts_with("rediss:") {
        config = config.tls(&ClientTls::builder().ca_file(authority)?.build()?);
    }
    if url.starts_with("unix:") {
        config.user = Some("limits".to_owned());
        config.password = Some("pass%word".to_owned());
    }
    // A machine that does other things, too.
    config.reply_timeout = Duration::from_secs(5);
    Ok(config)
}

/// A port that nobody has right now.
fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Ready when it says so.
fn launch(directory: &tempfile::TempDir, port: u16, tls_port: u16) -> Outcome<Child> {
    let file = |name: &str| directory.path().join(name).display().to_string();
    let text = [
        "bind 127.0.0.1".to_owned(),
        format!("port {port}\ntls-port {tls_port}\ntls-auth-clients no"),
        format!("tls-ca-cert-file {}", file("ca.pem")),
        format!("tls-cert-file {}\ntls-key-file {}", file("redis.pem"), file("redis.key")),
        format!("unixsocket {}\nunixsocketperm 700\ndir {}", file("socket"), file("")),
        format!("save \"\"\nappendonly no\nuser default off\n{USER}\n"),
    ];
    fs::write(file("redis.conf"), text.join("\n"))?;
    let program = std::env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
    let mut command = Command::new(&program);
    command.arg(file("redis.conf")).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|why| format!("{program}: {why}"))?;
    let mut said = BufReader::new(child.stdout.take().ok_or("no output")?);
    let mut line = String::new();
    // Redis 7 and Valkey begin with a capital letter, older ones do not; all ports are open then.
    while !line.contains("eady to accept connections") {
        line.clear();
        if said.read_line(&mut line)? == 0 {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("{program} does not start").into());
        }
    }
    // It must not stand still because nobody reads what it says.
    std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
    Ok(child)
}
