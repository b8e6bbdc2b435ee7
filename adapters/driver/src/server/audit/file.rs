//! Files of audit lines: appended to, rotated by size, begun where the last one ended.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use sinew_auth::{AuditChain, ChainHead, Crypto, MAX_LINE};

use super::writer::Out;
use crate::error::Error;

/// The file that is written to.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    /// `None`: it could not be opened yet after a rotation.
    file: Option<File>,
    /// Bytes of whole lines.
    len: u64,
    rotate_at: u64,
    keep: u32,
}

/// A file, and where it goes on.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: LogFile,
    pub(super) chain: Option<AuditChain>,
    /// What was there did not end as it was written, and was put aside.
    pub(super) broken_end: bool,
}

/// How a file ends.
enum Ending {
    Empty,
    /// With a whole line, behind which the chain goes on, if there is one.
    Line(Option<AuditChain>),
    /// With something else: a line that was cut, or one that is not of the chain.
    Broken,
}

impl LogFile {
    pub(super) fn open(
        path: PathBuf,
        rotate_at: u64,
        keep: u32,
        crypto: Option<Crypto>,
    ) -> Result<Opened, Error> {
        let failed = |why: &dyn std::fmt::Display| {
            Error::config(format!("audit: cannot write {}: {why}", path.display()))
        };
        // To open a pipe that nobody reads would block.
        if fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
            return Err(failed(&"it is no file; give a writer instead"));
        }
        let ending = ending(&path, crypto.as_ref()).map_err(|error| failed(&error))?;
        let broken_end = matches!(ending, Ending::Broken);
        if broken_end {
            rotate(&path, keep).map_err(|error| failed(&error))?;
        }
        let fresh = crypto.map(|crypto| AuditChain::new(crypto, ChainHead::GENESIS));
        let chain = match ending {
            Ending::Line(chain) => chain,
            Ending::Empty | Ending::Broken => fresh,
        };
        let (file, len) = append(&path).map_err(|error| failed(&error))?;
        let file = Self { path, file: Some(file), len, rotate_at, keep };
        Ok(Opened { file, chain, broken_end })
    }

    /// The file, with room for so many bytes where it is not empty.
    fn ready(&mut self, bytes: u64) -> io::Result<&mut File> {
        let is_full = self.len > 0 && self.len.saturating_add(bytes) > self.rotate_at;
        if let Some(file) = self.file.take_if(|_| is_full) {
            file.sync_all()?;
            rotate(&self.path, self.keep)?;
        }
        match &mut self.file {
            Some(file) => Ok(file),
            none => {
                let (file, len) = append(&self.path)?;
                self.len = len;
                Ok(none.insert(file))
            }
        }
    }
}

impl Out for LogFile {
    fn put(&mut self, lines: &[u8]) -> io::Result<()> {
        let bytes = lines.len() as u64;
        let written = self.ready(bytes)?.write_all(lines);
        match (&written, &self.file) {
            (Ok(()), _) => self.len += bytes,
            // What is written of it would stand there twice.
            (Err(_), Some(file)) => file.set_len(self.len)?,
            (Err(_), None) => {}
        }
        written
    }

    fn close(&mut self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), File::sync_all)
    }
}

/// Opens a file at its end.
fn append(path: &Path) -> io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    let len = file.metadata()?.len();
    Ok((file, len))
}

/// Makes room for a new file: each one gets the next number, and the last one goes.
fn rotate(path: &Path, keep: u32) -> io::Result<()> {
    let numbered = |n: u32| {
        let mut name = path.as_os_str().to_owned();
        if n > 0 {
            name.push(format!(".{n}"));
        }
        PathBuf::from(name)
    };
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    match fs::remove_file(numbered(keep)) {
        Err(error) if !gone(&error) => return Err(error),
        _ => {}
    }
    for n in (0..keep).rev() {
        match fs::rename(numbered(n), numbered(n + 1)) {
            Err(error) if !gone(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// How the file ends that is there.
fn ending(path: &Path, crypto: Option<&Crypto>) -> io::Result<Ending> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ending::Empty),
        opened => opened?,
    };
    let len = file.metadata()?.len();
    let most = MAX_LINE as u64 + 1;
    file.seek(SeekFrom::Start(len.saturating_sub(most)))?;
    let mut tail = Vec::new();
    file.take(most).read_to_end(&mut tail)?;
    let Some(lines) = tail.strip_suffix(b"\n") else {
        return Ok(if tail.is_empty() { Ending::Empty } else { Ending::Broken });
    };
    let last = lines.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(match crypto.map(|crypto| AuditChain::behind(crypto.clone(), last)) {
        None => Ending::Line(None),
        Some(Ok(chain)) => Ending::Line(Some(chain)),
        Some(Err(_)) => Ending::Broken,
    })
}
