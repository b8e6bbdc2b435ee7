//! What a client decides above one connection: which connection carries a call.

mod dispatcher;
mod pool;

pub use dispatcher::{
    Action as DispatcherAction, BadPolicy, CallExplanation, CallId, CallSpec, ConnectionId, Covers,
    Cut, Dispatcher, Endpoint, EndpointExplanation, ExchangeId, Explanation, Failure, HeadFacts,
    HeadVerdict, Outcome, Policy, PoolPolicy, Refusal, Retire, Reuse,
};
pub use pool::{Action, ConnId, Destination, Pool, PoolConfig, Verdict, WaiterId, Want};
