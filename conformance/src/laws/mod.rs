//! The laws on one input, for tests and fuzzers.

mod exchanges;
mod framing;
mod heads;
mod sending;

pub use exchanges::{Scene, check_exchanges};
pub use heads::{Compared, check_request_head, check_response_head};
pub use sending::check_sending;

use http::Method;
use sinew_core::error::Fault;
use sinew_core::http1::{ClientConfig, ServerConfig};

use crate::case::Behaviour;
use crate::end::Breach;
use crate::feed::Script;
use crate::run::{Asked, fetch_script, serve_script};
use crate::suite::describe;
use crate::transcript::Transcript;

/// An input and the ways in which it is cut, beside being left whole.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// Whether the sender shuts its writing side behind them.
    pub eof: bool,
    /// For each further run, the lengths of the pieces.
    pub cuts: Vec<Vec<usize>>,
}

/// Requests on a server machine: laws 3, 4, 5 and 6, and framing as the reference has it.
pub fn check_requests(config: &ServerConfig, input: &Input<'_>) -> Result<(), Breach> {
    let run = |pieces| {
        let mut script = Script::new(input.bytes, pieces, input.eof);
        Ok(serve_script(config.clone(), Behaviour::Whole, &mut script))
    };
    let whole = same_however_cut(input, run)?;
    check_answers(&whole)?;
    framing::check_requests(&whole, input)
}

/// Responses on a client machine: laws 3, 4 and 6, and framing as the reference has it.
pub fn check_responses(
    config: &ClientConfig,
    method: &Method,
    input: &Input<'_>,
) -> Result<(), Breach> {
    let run = |pieces| {
        let mut script = Script::new(input.bytes, pieces, input.eof);
        let asked = Asked { method: method.clone(), fields: &Vec::new(), body: 0 };
        fetch_script(config.clone(), &asked, &mut script).map_err(Breach)
    };
    let whole = same_however_cut(input, run)?;
    framing::check_response(&whole, method, input)
}

fn same_however_cut(
    input: &Input<'_>,
    run: impl Fn(Vec<usize>) -> Result<Transcript, Breach>,
) -> Result<Transcript, Breach> {
    let whole = run(vec![input.bytes.len()])?;
    if let Some(breach) = whole.breach {
        return Err(breach);
    }
    for pieces in &input.cuts {
        let cut = run(pieces.clone())?;
        if let Some(breach) = cut.breach {
            return Err(breach);
        }
        if cut != whole {
            let (cut, whole) = (describe(&cut), describe(&whole));
            return Err(Breach(format!("cut:   {cut}\nwhole: {whole}")));
        }
    }
    Ok(whole)
}

/// Law 5, and one answer for one request.
fn check_answers(run: &Transcript) -> Result<(), Breach> {
    let broken = |what: &str| Err(Breach(format!("{what}: {}", describe(run))));
    let answers = run.written.iter().filter(|answer| !answer.is_interim()).count();
    let by_the_machine = run.error.and_then(|error| error.status());
    if answers != run.complete() + usize::from(by_the_machine.is_some()) {
        return broken("requests and answers do not match");
    }
    let Some(status) = by_the_machine else { return Ok(()) };
    match run.last_answer() {
        Some(answer) if answer.status() == status.as_u16() && answer.says_close() => {}
        _ => return broken("the error is not answered with its status and close"),
    }
    if run.error.is_some_and(|error| error.fault() != Fault::Peer) {
        return broken("the input is not the peer's fault");
    }
    Ok(())
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), Breach> {
    if holds { Ok(()) } else { Err(Breach(what())) }
}
