//! Errors that the store answers with.

use std::fmt;

/// An error that the store answered with.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Refusal {
    code: Code,
    text: Box<str>,
}

/// What kind of a [`Refusal`], by its first word, or by that of the command of a script that failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Code {
    /// `NOSCRIPT`: the script is sent in full then, and the store remembers it.
    NoScript,
    /// `LOADING`: it reads its data from the disk.
    Loading,
    /// `READONLY`: it is a replica.
    ReadOnly,
    /// `MASTERDOWN`: a replica that does not hear its master.
    MasterDown,
    /// `BUSY`: a script runs for too long.
    Busy,
    /// `OOM`: it is out of memory, and may evict nothing.
    OutOfMemory,
    /// `NOAUTH`, `WRONGPASS`: no credentials, or wrong ones.
    Credentials,
    /// `NOPERM`: the user may not do this; see [`RedisStore`](crate::RedisStore) for what is needed.
    Permission,
    /// `MOVED`, `ASK`, `CLUSTERDOWN`, `CROSSSLOT`, `TRYAGAIN`: a node of a cluster, which is not supported.
    Cluster,
    /// `MISCONF`: it cannot save, and takes no writes until it can.
    CannotSave,
    /// Anything else; the text says what.
    Other,
}

impl Refusal {
    /// Reads the text behind the `-`.
    pub(crate) fn read(text: &[u8]) -> Self {
        // What is no text, or would start a line of a log, is not shown.
        let text = String::from_utf8_lossy(text).replace(|c: char| c.is_control(), "\u{fffd}");
        let code = match (first_word(&text), text.split_once(": -")) {
            // Before Redis 7, `ERR Error running script (call to f_...): @user_script:1: -OOM ...`.
            ("ERR", Some((_, inner))) => Code::named(first_word(inner)),
            (word, _) => Code::named(word),
        };
        Self { code, text: text.into() }
    }

    /// What kind.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// What the store said, at most 1 KiB. The codes that older versions use for many things, such as
    /// `ERR`, say more here.
    pub fn text(&self) -> &str {
        &self.text
    }
}

fn first_word(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}

impl Code {
    fn named(word: &str) -> Self {
        match word {
            "NOSCRIPT" => Self::NoScript,
            "LOADING" => Self::Loading,
            "READONLY" => Self::ReadOnly,
            "MASTERDOWN" => Self::MasterDown,
            "BUSY" => Self::Busy,
            "OOM" => Self::OutOfMemory,
            "NOAUTH" | "WRONGPASS" => Self::Credentials,
            "NOPERM" => Self::Permission,
            "MOVED" | "ASK" | "CLUSTERDOWN" | "CROSSSLOT" | "TRYAGAIN" => Self::Cluster,
            "MISCONF" => Self::CannotSave,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the store refuses: {}", self.text)
    }
}

impl std::error::Error for Refusal {}
