//! Clients that ask at a fixed rate, and what they were answered.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::transcript::Outcome;

/// A connection that is kept. No retries, no waiting: what is refused is counted.
pub(super) struct Asker(BufReader<TcpStream>);

/// What came of some load.
#[derive(Default)]
pub(super) struct Report {
    /// Answers by status.
    pub(super) answers: BTreeMap<u16, u32>,
    /// How long each answer took, sorted.
    pub(super) took: Vec<Duration>,
    /// From the first request to the last answer.
    pub(super) lasted: Duration,
}

impl Asker {
    pub(super) fn new(address: &str) -> Outcome<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self(BufReader::new(socket)))
    }

    /// The status, and the body.
    pub(super) fn get(&mut self, path: &str) -> Outcome<(u16, String)> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: replica.test\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let status = line.get(9..12).ok_or("no status line")?.parse()?;
        let mut length = 0;
        loop {
            line.clear();
            self.0.read_line(&mut line)?;
            match line.trim_end().split_once(": ") {
                Some(("content-length", value)) => length = value.parse()?,
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok((status, String::from_utf8(body)?))
    }
}

impl Report {
    pub(super) fn count(&self, status: u16) -> u32 {
        self.answers.get(&status).copied().unwrap_or_default()
    }

    pub(super) fn sent(&self) -> u32 {
        self.answers.values().sum()
    }

    pub(super) fn quantile(&self, percent: usize) -> Duration {
        quantile(&self.took, percent)
    }
}

/// Of sorted times.
pub(super) fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    sorted.get(sorted.len() * percent / 100).copied().unwrap_or_default()
}

/// Asks each of the servers at once, so often a second, for so long. Who falls behind catches up.
pub(super) fn load(
    addresses: &[&str],
    path: &'static str,
    per_second: u32,
    time: Duration,
) -> Outcome<Vec<Report>> {
    let asking: Vec<_> = addresses
        .iter()
        .map(|address| {
            let address = (*address).to_owned();
            thread::spawn(move || ask(&address, path, per_second, time))
        })
        .collect();
    asking.into_iter().map(|thread| thread.join().map_err(|_| "a client that panicked")?).collect()
}

fn ask(address: &str, path: &str, per_second: u32, time: Duration) -> Outcome<Report> {
    let mut asker = Asker::new(address)?;
    let mut report = Report::default();
    let began = Instant::now();
    for turn in 0.. {
        let at = Duration::from_secs(turn) / per_second;
        if at >= time {
            break;
        }
        thread::sleep(at.saturating_sub(began.elapsed()));
        let asked = Instant::now();
        let (status, _) = asker.get(path)?;
        report.took.push(asked.elapsed());
        *report.answers.entry(status).or_default() += 1;
    }
    report.lasted = began.elapsed();
    report.took.sort_unstable();
    Ok(report)
}
