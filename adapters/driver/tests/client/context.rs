//! The client in memory: what a call inherits from the request that causes it.

use std::num::{NonZeroU64, NonZeroU128};

use http::Method;
use sinew_core::observe::{RequestId, TraceContext};
use sinew_core::policy::Mode;
use sinew_core::propagation::{CallContext, Propagated, Propagation};
use sinew_core::server::Identify;
use sinew_driver::{Problem, Request, RestClient, Runtime as _};

use crate::support::Sim;
use crate::support::calling::{calling, failed, millis};
use crate::support::running::serve;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// What a handler's call carries when its request carries this.
fn relayed(fields: &str, propagation: Propagation) -> String {
    async fn relay(
        client: RestClient<Sim>,
        propagation: Propagation,
        request: Request,
    ) -> Result<String, Problem> {
        let context = propagation.inherit(&request.context());
        Ok(client.get("/").context(&context).send().await?.text().await?)
    }
    let server = serve(|builder, sim| {
        let client = RestClient::builder("http://192.0.2.1:80").allow_plaintext();
        let client = client.build_on(sim).unwrap();
        builder
            .layer_in(Mode::Enforce, Identify::default())
            .route(Method::GET, "/", move |r| relay(client.clone(), propagation.clone(), r))
    });
    server.ask(format!("GET / HTTP/1.1\r\nhost: x\r\n{fields}\r\n"));
    server.sim.accepted().received()
}

#[test]
fn a_call_for_a_request_carries_its_trace_and_its_name_and_no_credential() {
    let fields = format!(
        "traceparent: 00-{TRACE}-b7ad6b7169203331-01\r\ntracestate: a=1,b=2\r\n\
         x-request-id: mine\r\nauthorization: Bearer secret\r\ncookie: secret\r\n"
    );
    let head = relayed(&fields, Propagation::default());
    assert!(head.contains(&format!("traceparent: 00-{TRACE}-")), "{head}");
    assert!(!head.contains("b7ad6b7169203331"), "the parent is this server: {head}");
    assert!(head.contains("tracestate: a=1,b=2\r\n") && head.contains("x-request-id: mine\r\n"));
    assert!(!head.contains("secret"), "{head}");

    let nothing = relayed(&fields, Propagation::only([]));
    assert!(!nothing.contains("x-request-id") && !nothing.contains("tracestate"), "{nothing}");
    assert!(!nothing.contains(TRACE), "{nothing}");
    let name = relayed(&fields, Propagation::only([Propagated::RequestId]));
    assert!(name.contains("x-request-id: mine\r\n") && !name.contains(TRACE), "{name}");

    // Without any of it the server gives the request a name and starts a trace.
    let head = relayed("", Propagation::default());
    assert!(head.contains("traceparent: 00-") && head.contains("x-request-id: "), "{head}");
}

#[test]
fn a_field_that_is_given_stands() {
    let world = calling(|client| client);
    let own = format!("00-{TRACE}-00000000000000ff-00");
    let (trace_id, span_id) = (NonZeroU128::MIN, NonZeroU64::MIN);
    let context = CallContext {
        trace: Some(TraceContext::root(trace_id, span_id, true, true)),
        request_id: Some(RequestId::mint(7)),
        ..CallContext::default()
    };
    let call = world.client.get("/").context(&context).header("traceparent", own.as_str());
    world.start(call.header("x-request-id", "mine"));
    let head = world.sim.accepted().received();
    let counts = ["traceparent", "x-request-id"].map(|name| head.matches(name).count());
    assert_eq!(counts, [1, 1], "{head}");
    assert!(head.contains(&own) && head.contains("x-request-id: mine\r\n"), "{head}");
}

#[test]
fn a_call_ends_no_later_than_its_request() {
    let world = calling(|client| client);
    let deadline = Some(world.sim.now() + millis(30));
    let context = CallContext { deadline, ..CallContext::default() };
    let outcome = world.start(world.client.get("/").context(&context));
    world.sim.advance(millis(29));
    assert!(outcome.take().is_none());
    world.sim.advance(millis(1));
    assert!(failed(&outcome).is_timeout());
}
