//! The names of a request: id, trace, address.

use core::num::{NonZeroU64, NonZeroU128};

use http::HeaderName;

use super::{Arrival, Decision, Exchanges, Interest, Layer, Record, ResponseHead, write_lines};
use crate::head::Place;
use crate::observe::{RequestId, TraceContext, request_id};
use crate::policy::Stage;
use crate::security::TrustedProxies;

static X_REQUEST_ID: HeaderName = HeaderName::from_static(request_id::FIELD);

/// Gives each request an id and a place in a trace, those that it brings where they are sound, and
/// finds out where it comes from. The id goes out with the answer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Identify {
    /// The proxies in front of the server, if there are any.
    pub proxies: Option<TrustedProxies>,
}

impl Layer for Identify {
    fn stage(&self) -> Stage {
        Stage::Identify
    }

    fn interest(&self) -> Interest {
        Interest { answers: Exchanges::Every, ..Interest::HEAD }
    }

    fn on_head(&self, arrival: &Arrival<'_>, record: &mut Record) -> Decision {
        let fields = arrival.head.fields();
        let (number, index) = (arrival.number, record.index);
        let id = RequestId::given_or_minted(fields, index.request_id, number);
        record.request_id = Some(id);
        let states = (index.tracestate != Place::Nowhere).then_some(fields);
        // The span of this server: below the one that called, or the first one of a trace.
        let span = NonZeroU64::new(number as u64).unwrap_or(NonZeroU64::MIN);
        let trace = TraceContext::below(index.traceparent.of(fields), states, span);
        record.context.trace = Some(trace.unwrap_or_else(|| {
            let trace = NonZeroU128::new(number.rotate_left(64)).unwrap_or(NonZeroU128::MIN);
            TraceContext::root(trace, span, false, true)
        }));
        let security = &mut record.security;
        security.peer.clone_from(&arrival.peer.name);
        security.peer_address = arrival.peer.address;
        match &self.proxies {
            None => security.client_address = arrival.peer.address,
            Some(proxies) => look_behind(proxies, arrival, record),
        }
        Decision::Continue
    }

    fn on_response(&self, record: &Record, response: &mut dyn ResponseHead) {
        if let Some(id) = &record.request_id
            && !response.contains(&X_REQUEST_ID)
        {
            // A layer of the same kind may have written it.
            write_lines(response, |lines| lines.put_once(b"x-request-id: ", id.as_bytes()));
        }
    }
}

/// Whom a request is from that may come from a proxy. Apart, so that servers without proxies do not pay
/// for it.
#[inline(never)]
fn look_behind(proxies: &TrustedProxies, arrival: &Arrival<'_>, record: &mut Record) {
    let peer = arrival.peer.address;
    record.security.client_address = match proxies.forwarded(peer, arrival.head.fields()) {
        Some(forwarded) => {
            let client = forwarded.client;
            let says_more = forwarded.proto.is_some() || forwarded.host.is_some();
            record.forwarded = says_more.then(|| Box::new(forwarded));
            client
        }
        None => peer.map(|peer| peer.to_canonical()),
    };
}
