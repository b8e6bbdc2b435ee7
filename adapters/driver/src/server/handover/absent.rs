//! Nothing is ever handed over.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::super::control::Control;
use crate::error::Error;
use crate::runtime::StdListener;

#[derive(Debug)]
pub(in super::super) struct Handover(Infallible);

impl Handover {
    pub(in super::super) fn begin(_: &Path) -> Result<Self, Error> {
        Err(Error::config("listeners are handed over on Unix only"))
    }

    pub(in super::super) fn handed(&self) -> Arc<AtomicBool> {
        match self.0 {}
    }

    pub(in super::super) fn take(&mut self, _: &str) -> Option<StdListener> {
        match self.0 {}
    }

    pub(in super::super) fn offer(&mut self, _: &str, _: &StdListener) -> io::Result<()> {
        match self.0 {}
    }

    pub(in super::super) fn start(self, _: &Arc<Control>) -> io::Result<Infallible> {
        match self.0 {}
    }
}
