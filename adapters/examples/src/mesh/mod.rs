//! A client in a mesh, as a transcript: it finds three servers, spreads calls over them, leaves alone who is
//! dead or sick, and explains itself.

mod steps;
mod watch;

pub use steps::run;
