//! The subcommands.

#[cfg(feature = "sockets")]
mod audit;
mod check;
mod corpus;
#[cfg(feature = "sockets")]
mod follow;
#[cfg(all(unix, feature = "sockets"))]
mod load;
#[cfg(feature = "sockets")]
mod mesh;
#[cfg(feature = "sockets")]
mod overload;
#[cfg(all(unix, feature = "sockets"))]
mod process;
#[cfg(all(unix, feature = "sockets"))]
mod reload;
#[cfg(all(unix, feature = "sockets"))]
mod restart;
#[cfg(feature = "sockets")]
mod serve;
#[cfg(feature = "sockets")]
mod sockets;
#[cfg(all(target_os = "linux", feature = "sockets"))]
mod stall;
mod storm;

use core::fmt;
use std::process::ExitCode;

/// What `sinew` can do.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Run conformance cases and say how they went; exit code 1 when one failed
    Check(check::Check),
    /// Write the inputs of the cases as seeds for the fuzz targets
    Corpus(corpus::Corpus),
    /// Let many clients meet failing servers in virtual time, and print what their policies do
    Storm(storm::Storm),
    /// Offer real servers more than they can do, and print whom they serve; exit code 1 when a promise is broken
    #[cfg(feature = "sockets")]
    Overload(overload::Overload),
    /// Let a client meet ten real servers that are not all well, and print what each balancer makes of them; exit code 1 when a promise is broken
    #[cfg(feature = "sockets")]
    Mesh(mesh::Mesh),
    /// Follow the endpoints of a service, print what changes, and call it meanwhile; exit code 1 when a call failed
    #[cfg(feature = "sockets")]
    Follow(follow::Follow),
    /// Look after audit logs
    #[cfg(feature = "sockets")]
    Audit(audit::Audit),
    /// Run the reference server until SIGTERM or SIGINT
    #[cfg(feature = "sockets")]
    Serve(serve::Serve),
    /// Replace a server by its successor under steady load, and count what is lost
    #[cfg(all(unix, feature = "sockets"))]
    Restart(restart::Restart),
    /// Replace all that a server goes by under steady load, and count what is lost; exit code 1 when a promise is broken
    #[cfg(all(unix, feature = "sockets"))]
    Reload(reload::Reload),
    /// Let many clients ask a server for large answers and read nothing, and print what it holds
    #[cfg(all(target_os = "linux", feature = "sockets"))]
    Stall(stall::Stall),
}

impl Command {
    pub(crate) fn run(self) -> Result<ExitCode, Problem> {
        match self {
            Self::Check(check) => check.run(),
            Self::Corpus(corpus) => corpus.run(),
            Self::Storm(storm) => storm.run(),
            #[cfg(feature = "sockets")]
            Self::Overload(overload) => overload.run(),
            #[cfg(feature = "sockets")]
            Self::Mesh(mesh) => mesh.run(),
            #[cfg(feature = "sockets")]
            Self::Follow(follow) => follow.run(),
            #[cfg(feature = "sockets")]
            Self::Audit(audit) => audit.run(),
            #[cfg(feature = "sockets")]
            Self::Serve(serve) => serve.run(),
            #[cfg(all(unix, feature = "sockets"))]
            Self::Restart(restart) => restart.run(),
            #[cfg(all(unix, feature = "sockets"))]
            Self::Reload(reload) => reload.run(),
            #[cfg(all(target_os = "linux", feature = "sockets"))]
            Self::Stall(stall) => stall.run(),
        }
    }
}

/// Why a command could not do its work, in words for its user.
#[derive(Debug)]
pub(crate) struct Problem(String);

impl Problem {
    pub(crate) fn new(what: impl fmt::Display) -> Self {
        Self(what.to_string())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
