//! Tables of whatever a machine keeps track of: places, the lists through them, and their timers.
//! Every operation takes constant time, or logarithmic for timers.

mod fifo;
mod list;
mod slab;
mod timers;

pub(crate) use fifo::Fifo;
pub(crate) use list::{Link, List};
pub(crate) use slab::{Key, Slab};
pub(crate) use timers::Timers;
