//! Heads of messages, indexed over one block of bytes: nothing is copied, nothing is hashed.
//!
//! A head moves into the handler; `http` types are built from it on demand. It keeps the block that
//! it was read into alive: [`RequestHead::detach`] copies it out for those who keep one for long.

mod fields;
mod index;
mod lines;
mod name;
mod request;
mod response;
mod target;
mod websocket_key;

pub use fields::Fields;
pub(crate) use fields::{Span, SpanTable, slice};
pub(crate) use index::{Index, Place, Single};
pub use lines::Lines;
pub(crate) use name::{NameFilter, is_name, same_name};
pub use request::RequestHead;
pub use response::ResponseHead;
pub use target::TargetForm;
pub(crate) use target::{Scanned, Target, is_host, is_plain_origin};
pub(crate) use websocket_key::{WEBSOCKET_KEY, websocket_key};
