//! The bytes of a whole server, by who holds them: one cap for all, and what is done before it is reached.

use core::fmt;
use core::time::Duration;

use crate::policy::Priority;

/// Who holds bytes, and what an owner does that is given none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Owner {
    /// What was read and not parsed yet: nothing more is read.
    Inbox,
    /// What is to be written: producers wait.
    Outbox,
    /// Requests that wait to be taken up: they are shed.
    Queue,
    /// Bodies that are kept for a retry: the call is not tried again.
    Replay,
    /// Buckets of clients: newcomers share.
    Limiter,
}

impl Owner {
    /// Every owner.
    pub const ALL: [Self; 5] =
        [Self::Inbox, Self::Outbox, Self::Queue, Self::Replay, Self::Limiter];

    /// A fixed, lower-case name, fit for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inbox => "inbox",
            Self::Outbox => "outbox",
            Self::Queue => "queue",
            Self::Replay => "replay",
            Self::Limiter => "limiter",
        }
    }
}

/// What is done about memory that runs short; each stage with all before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Stage {
    /// Nothing.
    #[default]
    Calm,
    /// Connections are kept idle for a shorter time: [`Ledger::idle`].
    ShortenIdle,
    /// No connection is accepted; clients that take nothing soon make room: [`Ledger::stall`].
    NoConnections,
    /// Requests up to this priority are [shed](crate::reason::Reason::Overloaded).
    Shed(Priority),
}

impl Stage {
    /// Those that [`LedgerConfig::stages`] has a share for, in order. What is critical is never shed for
    /// memory alone.
    pub const ALL: [Self; 6] = [
        Self::ShortenIdle,
        Self::NoConnections,
        Self::Shed(Priority::Bulk),
        Self::Shed(Priority::Low),
        Self::Shed(Priority::Normal),
        Self::Shed(Priority::High),
    ];

    /// A fixed, lower-case name, fit for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::ShortenIdle => "shorten_idle",
            Self::NoConnections => "no_connections",
            Self::Shed(Priority::Bulk) => "shed_bulk",
            Self::Shed(Priority::Low) => "shed_low",
            Self::Shed(Priority::Normal) => "shed_normal",
            Self::Shed(Priority::High) => "shed_high",
            Self::Shed(Priority::Critical) => "shed_critical",
        }
    }

    /// Whether connections are accepted.
    pub fn accepts(self) -> bool {
        self < Self::NoConnections
    }

    /// Whether requests of this priority are shed.
    pub fn sheds(self, priority: Priority) -> bool {
        matches!(self, Self::Shed(up_to) if priority <= up_to)
    }
}

/// How many bytes, and when what is done about them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LedgerConfig {
    /// Bytes of all owners, at most. Default 512 MiB.
    pub cap: u64,
    /// From how much of the cap on each stage of [`Stage::ALL`] begins, in percent, in order. Default 70,
    /// 80, 85, 90, 94, 97.
    pub stages: [u8; Stage::ALL.len()],
    /// A stage ends once so much less than it began with is held, in percent of the cap, so that it does
    /// not come and go. Default 5.
    pub relief: u8,
}

impl Default for LedgerConfig {
    fn default() -> Self {
        Self { cap: 512 << 20, stages: [70, 80, 85, 90, 94, 97], relief: 5 }
    }
}

/// Why a [`LedgerConfig`] makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BadLedger {
    /// Less than 1 MiB serves nobody; more than 2^56 bytes are not there.
    Cap,
    /// The stages are not in order, or not between 1 and 100.
    Stages,
    /// A stage would never end.
    Relief,
}

impl LedgerConfig {
    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<(), BadLedger> {
        if !(1 << 20..=1 << 56).contains(&self.cap) {
            return Err(BadLedger::Cap);
        }
        let [first, .., last] = self.stages;
        if first == 0 || last > 100 || !self.stages.is_sorted() {
            return Err(BadLedger::Stages);
        }
        if self.relief >= first {
            return Err(BadLedger::Relief);
        }
        Ok(())
    }

    fn percent(&self, percent: u8) -> u64 {
        self.cap / 100 * u64::from(percent) + self.cap % 100 * u64::from(percent) / 100
    }
}

/// There are not so many bytes left; nothing was booked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct OverCap {
    /// For whom.
    pub owner: Owner,
    /// So many are left.
    pub left: u64,
}

/// The bytes of a whole server. It allocates nothing: owners ask it first.
///
/// ```
/// use sinew_core::limit::{Ledger, LedgerConfig, Owner, Stage};
/// use sinew_core::policy::Priority;
///
/// let mut ledger = Ledger::new(LedgerConfig { cap: 1 << 20, ..LedgerConfig::default() })?;
/// let stage = ledger.take(Owner::Outbox, 900_000).expect("there is room");
/// assert_eq!(stage, Some(Stage::Shed(Priority::Bulk)));
/// assert!(ledger.take(Owner::Inbox, 200_000).is_err());
/// assert_eq!(ledger.give(Owner::Outbox, 900_000), Some(Stage::Calm));
/// # Ok::<(), sinew_core::limit::BadLedger>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Ledger {
    config: LedgerConfig,
    held: [u64; Owner::ALL.len()],
    /// Accounts in which something is booked.
    accounts: [u64; Owner::ALL.len()],
    used: u64,
    peak: u64,
    stage: Stage,
}

impl Ledger {
    /// Nobody holds anything.
    ///
    /// # Errors
    ///
    /// See [`BadLedger`].
    pub fn new(config: LedgerConfig) -> Result<Self, BadLedger> {
        config.check()?;
        let (held, accounts) = ([0; Owner::ALL.len()], [0; Owner::ALL.len()]);
        Ok(Self { config, held, accounts, used: 0, peak: 0, stage: Stage::Calm })
    }

    /// Books bytes, all or none. The stage, if this changed it: write it into the log, as
    /// [`observe::Event::Pressure`](crate::observe::Event::Pressure).
    ///
    /// # Errors
    ///
    /// They are not there.
    pub fn take(&mut self, owner: Owner, bytes: u64) -> Result<Option<Stage>, OverCap> {
        let left = self.left();
        if bytes > left {
            return Err(OverCap { owner, left });
        }
        self.held[owner as usize] += bytes;
        self.used += bytes;
        self.peak = self.peak.max(self.used);
        Ok(self.look())
    }

    /// Gives bytes back; never more than the owner holds. The stage, if this changed it.
    pub fn give(&mut self, owner: Owner, bytes: u64) -> Option<Stage> {
        let held = &mut self.held[owner as usize];
        let bytes = bytes.min(*held);
        *held -= bytes;
        self.used = self.used.saturating_sub(bytes);
        self.look()
    }

    /// Bytes of an owner.
    pub fn held(&self, owner: Owner) -> u64 {
        self.held[owner as usize]
    }

    /// Bytes of all.
    pub const fn used(&self) -> u64 {
        self.used
    }

    /// Bytes that nobody holds.
    pub const fn left(&self) -> u64 {
        self.config.cap.saturating_sub(self.used)
    }

    /// The most that was ever held at once.
    pub const fn peak(&self) -> u64 {
        self.peak
    }

    /// What is done now.
    pub const fn stage(&self) -> Stage {
        self.stage
    }

    /// How long an idle connection is kept: as configured while all is calm, from there on the shorter the
    /// less is left, down to a tenth.
    pub fn idle(&self, configured: Duration) -> Duration {
        if self.stage < Stage::ShortenIdle {
            return configured;
        }
        let [start, ..] = self.config.stages;
        let start = self.config.percent(start);
        let width = self.config.cap.saturating_sub(start).max(1);
        let into = self.used.saturating_sub(start).min(width);
        // In thousandths, from 1000 to 100.
        let share = 1_000 - u32::try_from(into.saturating_mul(900) / width).unwrap_or(900);
        (configured / 1_000).saturating_mul(share)
    }

    /// How long a client may take nothing of what is booked for it: as [`idle`](Self::idle) says, while
    /// connections are accepted. Then nobody is to be kept out by who takes nothing: a tenth of
    /// `configured` for an account with its even share of all that its owner holds, or more, and two
    /// tenths for a smaller one. So those go first that hold most, and none goes any more once
    /// connections are accepted again.
    pub fn stall(&self, configured: Duration, account: &Account) -> Duration {
        let idle = self.idle(configured);
        if self.stage.accepts() {
            return idle;
        }
        let owner = account.owner as usize;
        let is_large = account.booked.saturating_mul(self.accounts[owner]) >= self.held[owner];
        idle.min(configured / 10 * if is_large { 1 } else { 2 })
    }

    fn look(&mut self) -> Option<Stage> {
        let stages = || Stage::ALL.into_iter().zip(self.config.stages);
        let above = |used: u64| {
            let reached = |(_, share): &(Stage, u8)| used >= self.config.percent(*share);
            stages().take_while(reached).last().map_or(Stage::Calm, |(stage, _)| stage)
        };
        let relief = self.config.percent(self.config.relief);
        // It rises at once, and falls no further than to what it would be with the relief on top.
        let stage = self.stage.clamp(above(self.used), above(self.used.saturating_add(relief)));
        let changed = stage != self.stage;
        self.stage = stage;
        changed.then_some(stage)
    }
}

/// The bytes of one connection, or of anything else whose size changes all the time: booked in steps, so
/// that the ledger, which is shared, is asked seldom.
#[derive(Debug)]
#[must_use = "what is not closed is booked for ever"]
pub struct Account {
    owner: Owner,
    booked: u64,
}

impl Account {
    /// Bytes of a step.
    pub const STEP: u64 = 16 * 1024;

    /// Nothing is booked.
    pub const fn new(owner: Owner) -> Self {
        Self { owner, booked: 0 }
    }

    /// Bytes that are booked: what is held, and one step more at most when it was settled.
    pub const fn booked(&self) -> u64 {
        self.booked
    }

    /// Whether so many bytes have to be settled: more than are booked, or two steps less.
    pub const fn is_due(&self, held: u64) -> bool {
        held > self.booked || self.booked - held >= 2 * Self::STEP
    }

    /// Books so many bytes, rounded up to a step. The stage, if this changed it.
    ///
    /// # Errors
    ///
    /// They are not there; what was booked stays so.
    pub fn settle(&mut self, ledger: &mut Ledger, held: u64) -> Result<Option<Stage>, OverCap> {
        let wanted = held.div_ceil(Self::STEP).saturating_mul(Self::STEP);
        let stage = if wanted > self.booked {
            ledger.take(self.owner, wanted - self.booked)?
        } else {
            ledger.give(self.owner, self.booked - wanted)
        };
        self.count(ledger, wanted);
        self.booked = wanted;
        Ok(stage)
    }

    /// Gives everything back. The stage, if this changed it.
    pub fn close(self, ledger: &mut Ledger) -> Option<Stage> {
        self.count(ledger, 0);
        ledger.give(self.owner, self.booked)
    }

    /// It is about to hold so many bytes.
    fn count(&self, ledger: &mut Ledger, wanted: u64) {
        let accounts = &mut ledger.accounts[self.owner as usize];
        match (self.booked, wanted) {
            (0, 1..) => *accounts += 1,
            (1.., 0) => *accounts = accounts.saturating_sub(1),
            _ => {}
        }
    }
}

impl fmt::Display for OverCap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes are left, too few for the {}", self.left, self.owner.name())
    }
}

impl core::error::Error for OverCap {}

impl fmt::Display for BadLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cap => "the cap of all bytes is between 1 MiB and 2^56 bytes",
            Self::Stages => "the stages are between 1 and 100 percent, in order",
            Self::Relief => "the relief is below the first stage",
        })
    }
}

impl core::error::Error for BadLedger {}
