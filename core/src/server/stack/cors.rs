//! CORS as a layer: answers preflights, and marks every other answer.

use super::{Arrival, Decision, Exchanges, Interest, Layer, Record, ResponseHead, write_lines};
use crate::policy::Stage;
use crate::security::{Cors, CorsKind};

impl Layer for Cors {
    fn stage(&self) -> Stage {
        Stage::Preflight
    }

    fn interest(&self) -> Interest {
        Interest { answers: Exchanges::Every, ..Interest::HEAD }
    }

    fn on_head(&self, arrival: &Arrival<'_>, record: &mut Record) -> Decision {
        let verdict =
            self.check_origin(arrival.head, record.index.origin.of(arrival.head.fields()));
        let kind = verdict.kind();
        record.cors = Some(verdict);
        match kind {
            CorsKind::Preflight => Decision::Answer(Self::PREFLIGHT_STATUS),
            CorsKind::Actual | CorsKind::NotCors => Decision::Continue,
        }
    }

    fn on_response(&self, record: &Record, response: &mut dyn ResponseHead) {
        let Some(verdict) = &record.cors else { return };
        response.retain(&|name| !Self::owns(name));
        self.put_grants(verdict, |name, value| response.append(name, value));
        if let Some(names) = self.vary(verdict) {
            write_lines(response, |lines| lines.put(b"vary: ", names.as_bytes()));
        }
    }
}
