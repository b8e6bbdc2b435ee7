//! Compressors that the connections of a worker share, where windows are forgotten between messages.

#[cfg(feature = "deflate")]
mod shared {
    use std::cell::RefCell;

    use sinew_core::websocket::Connection;
    use sinew_core::websocket::deflate::Pool;

    /// Of each kind, kept by a worker: one serves all connections that agreed on the same; a few may be
    /// different, or half through a message.
    const KEPT: usize = 4;

    thread_local! {
        static POOL: RefCell<Pool> = const { RefCell::new(Pool::new(KEPT)) };
    }

    pub(in crate::upgraded) fn lend(connection: &mut Connection) {
        POOL.with_borrow_mut(|pool| connection.lend(pool));
    }

    pub(in crate::upgraded) fn take_back(connection: &mut Connection) {
        POOL.with_borrow_mut(|pool| connection.give_back(pool));
    }
}

#[cfg(not(feature = "deflate"))]
mod shared {
    use sinew_core::websocket::Connection;

    pub(in crate::upgraded) fn lend(_: &mut Connection) {}

    pub(in crate::upgraded) fn take_back(_: &mut Connection) {}
}

pub(super) use self::shared::{lend, take_back};
