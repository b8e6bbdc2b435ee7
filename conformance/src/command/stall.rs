//! `sinew stall`: many clients that ask a real server process for large answers and read nothing of them.
//!
//! What the server holds for all connections is counted by its ledger, which has a cap; what the process
//! takes in all is asked of the kernel. Others ask meanwhile: first while each of the many still has
//! megabytes of its answer copied into the kernel, which takes the processor, and then while nothing moves.

use std::fs;
use std::io::Write as _;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use sinew_conformance::network::adapter::Adapter;
use sinew_conformance::network::conversation::{Patience, Transport};
use sinew_conformance::network::line::Line;

use super::Problem;
use super::load::{Habit, Load, Tally};
use super::process::{Folder, Server, name, on_each};

/// Others: clients, and what they ask for in a second, all together.
const OTHERS: (u32, u32) = (8, 200);

/// Others alone, before the first client stops reading.
const BEFORE: Duration = Duration::from_secs(1);

/// For so long the kernel is still given what it takes for those that read nothing: megabytes for each.
const FILL: Duration = Duration::from_secs(5);

/// What each of those asks for that read nothing.
const REQUEST: &[u8] = b"GET /stream/1073741824 HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Arguments of `sinew stall`.
#[derive(clap::Args)]
pub(crate) struct Stall {
    /// The runtime; each of them, if unsaid
    #[arg(long, value_enum)]
    runtime: Option<Adapter>,
    /// Clients that read nothing
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=8_000))]
    clients: u32,
    /// Mebibytes that the server may hold for all of its connections
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    memory: u32,
    /// Seconds for which nothing is read
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Over TLS
    #[arg(long)]
    tls: bool,
}

impl Stall {
    pub(crate) fn run(&self) -> Result<ExitCode, Problem> {
        on_each(self.runtime, |runtime| self.on(runtime))
    }

    /// Whether it stayed under its cap, and others had all of their answers once nothing moved.
    fn on(&self, runtime: Adapter) -> Result<bool, Problem> {
        let mut out = std::io::stdout().lock();
        let mut say = |line: String| writeln!(out, "{line}").map_err(Problem::new);
        let folder = Folder::make()?;
        let mut arguments = vec!["--memory".to_owned(), self.memory.to_string()];
        let transport = if self.tls {
            arguments.extend(["--tls".to_owned(), folder.path().display().to_string()]);
            folder.issue()?
        } else {
            Transport::Plain
        };
        let mut server = Server::start(runtime, &arguments)?;
        say(format!(
            "{}, {}: {} clients read nothing, cap {} MiB",
            name(runtime),
            if self.tls { "TLS" } else { "plaintext" },
            self.clients,
            self.memory
        ))?;
        let (clients, rate) = OTHERS;
        let others = || Load::start(server.place, &transport, Habit::Keeps, clients, rate);
        let filling = others();
        thread::sleep(BEFORE);
        let idle = memory_of(server.id(), "VmRSS")?;
        let stalled = self.open(&server, &transport);
        thread::sleep(FILL);
        let filling = filling.stop();
        let others = others();
        thread::sleep(Duration::from_secs(self.seconds));
        let tally = others.stop();
        let (held, peak) = (memory_of(server.id(), "VmRSS")?, memory_of(server.id(), "VmHWM")?);
        let open = stalled.len();
        drop(stalled);
        let id = server.id().to_string();
        Command::new("kill").args(["-INT", &id]).status().map_err(Problem::new)?;
        server.hear()?;
        let report = server.hear()?;
        let of_ledger = report.strip_prefix("held at most: ").and_then(|bytes| bytes.parse().ok());
        let of_ledger: u64 =
            of_ledger.ok_or_else(|| Problem::new(format!("no report: {report:?}")))?;
        say(format!("  {open} of them were let in"))?;
        say(format!("  ledger    {} KiB at most", of_ledger / 1024))?;
        say(format!("  resident  {held} KiB, {peak} KiB at most, {idle} KiB before"))?;
        say(format!("  others    while the kernel takes what it can: {filling}"))?;
        say(format!("  others    from then on: {tally}\n"))?;
        let Tally { failed, answered, .. } = tally;
        let is_under = of_ledger <= u64::from(self.memory) << 20;
        Ok(is_under && failed.is_empty() && answered > 0)
    }

    /// Connections that asked, and read nothing. Who is not let in while memory is short comes no more.
    fn open(&self, server: &Server, transport: &Transport) -> Vec<Line> {
        let patience = Patience { answer: Duration::from_secs(1), ..Patience::default() };
        let connect = |_| {
            let mut line = transport.connect(server.place, patience).ok()?;
            line.say(REQUEST, patience.answer);
            Some(line)
        };
        (0..self.clients).filter_map(connect).collect()
    }
}

/// What the kernel says of a process, in KiB: `proc_pid_status(5)`.
fn memory_of(process: u32, what: &str) -> Result<u64, Problem> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).map_err(Problem::new)?;
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    kib.ok_or_else(|| Problem::new(format!("no {what} of the server")))
}
