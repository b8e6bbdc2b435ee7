//! What a request says about its trace and its name.

use std::num::{NonZeroU64, NonZeroU128};
use std::sync::Arc;

use sinew_core::Machine;
use sinew_core::Wire;
use sinew_core::head::RequestHead;
use sinew_core::http1::{Server, ServerConfig, ServerEvent};
use sinew_core::observe::{RequestId, TraceContext};
use sinew_core::time::Instant;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn head(fields: &[(&str, &str)]) -> RequestHead {
    let mut server = Server::new(Arc::new(ServerConfig::default()), Instant::ZERO);
    let mut text = String::from("GET / HTTP/1.1\r\nhost: a\r\n");
    for (name, value) in fields {
        text.extend([name, ": ", value, "\r\n"]);
    }
    server.inbox().extend_from_slice((text + "\r\n").as_bytes());
    match server.poll_event(Instant::ZERO) {
        Ok(Some(ServerEvent::Request { head, .. })) => head,
        other => panic!("{other:?}"),
    }
}

fn context(fields: &[(&str, &str)]) -> Option<TraceContext> {
    TraceContext::from_fields(head(fields).fields())
}

fn state(lines: &[&str]) -> Option<String> {
    let mut fields = vec![("traceparent", PARENT)];
    fields.extend(lines.iter().map(|line| ("tracestate", *line)));
    // A bad state does not spoil the parent.
    let Some(context) = context(&fields) else { panic!("no parent") };
    context.tracestate().map(|state| String::from_utf8_lossy(state).into_owned())
}

#[test]
fn a_parent_is_read_and_written_back() {
    let context = context(&[("Traceparent", PARENT)]).unwrap();
    assert_eq!(context.trace_id().get(), 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
    assert_eq!(context.span_id().get(), 0xb7ad_6b71_6920_3331);
    assert!(context.is_sampled());
    assert_eq!(context.traceparent(), PARENT.as_bytes());
    assert_eq!(context.tracestate(), None);
}

#[test]
fn a_child_stays_in_the_trace() {
    let context = context(&[("traceparent", PARENT), ("tracestate", "a=1")]).unwrap();
    let child = context.child(NonZeroU64::new(0xabc).unwrap());
    assert_eq!(child.traceparent(), b"00-0af7651916cd43dd8448eb211c80319c-0000000000000abc-01"[..]);
    assert_eq!(child.tracestate(), Some(&b"a=1"[..]));
}

#[test]
fn a_root_says_whether_it_is_recorded() {
    let (trace, span) = (NonZeroU128::new(1).unwrap(), NonZeroU64::new(2).unwrap());
    for (sampled, random, flags) in
        [(false, false, "00"), (true, false, "01"), (false, true, "02"), (true, true, "03")]
    {
        let root = TraceContext::root(trace, span, sampled, random);
        let text = format!("00-00000000000000000000000000000001-0000000000000002-{flags}");
        assert_eq!(root.traceparent(), text.as_bytes());
        assert_eq!(root.is_sampled(), sampled);
    }
}

/// <https://www.w3.org/TR/trace-context/#versioning-of-traceparent>
#[test]
fn a_later_version_is_read_as_far_as_it_is_known() {
    let later =
        |version, tail| context(&[("traceparent", &format!("{version}{}{tail}", &PARENT[2..]))]);
    for (version, tail) in [("cc", ""), ("01", "-what-the-future-brings")] {
        let context = later(version, tail).unwrap_or_else(|| panic!("{version} {tail}"));
        assert_eq!(context.traceparent(), PARENT.as_bytes());
    }
    for (version, tail) in [("cc", ".what"), ("00", "-more"), ("ff", ""), ("CC", ""), ("0", "")] {
        assert_eq!(later(version, tail), None, "{version} {tail}");
    }
}

#[test]
fn flags_that_nobody_knows_are_not_passed_on() {
    let context = context(&[("traceparent", &format!("{}ff", &PARENT[..53]))]).unwrap();
    assert_eq!(context.traceparent()[53..], b"03"[..]);
}

#[test]
fn a_malformed_parent_starts_a_new_trace() {
    for parent in [
        "",
        "00",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
        "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1x",
    ] {
        assert_eq!(context(&[("traceparent", parent)]), None, "{parent}");
    }
    assert_eq!(context(&[]), None);
    assert_eq!(context(&[("tracestate", "a=1")]), None, "a state alone is nothing");
    assert_eq!(context(&[("traceparent", PARENT), ("traceparent", PARENT)]), None);
}

#[test]
fn the_state_of_all_lines_is_one_list() {
    assert_eq!(state(&["a=1, b=2 ,\t,", "", "t@s=3"]).as_deref(), Some("a=1,b=2,t@s=3"));
    assert_eq!(state(&["a= x y "]).as_deref(), Some("a= x y"));
    assert_eq!(state(&["", " , "]), None);
}

#[test]
fn a_malformed_state_is_dropped_whole() {
    let long_key = format!("{}=1", "k".repeat(257));
    let long_value = format!("k={}", "v".repeat(257));
    let many = (0..32).map(|i| format!("k{i}=1")).collect::<Vec<_>>().join(",");
    for bad in [
        "a",
        "a=",
        "=1",
        "A=1",
        "1a=1",
        "a=1=2",
        "a@1s=1",
        "@s=1",
        "a@=1",
        "a@b@c=1",
        "a@fifteencharacte=1",
        "a=1,a=2",
        "a b=1",
        &long_key,
        &long_value,
        &many,
    ] {
        assert_eq!(state(&["ok=1", bad]), None, "{bad}");
    }
    assert!(state(&[&(0..32).map(|i| format!("k{i}=1")).collect::<Vec<_>>().join(",")]).is_some());
    assert!(state(&["1a@s=1"]).is_some());
}

/// <https://www.w3.org/TR/trace-context/#tracestate-limits>
#[test]
fn a_long_state_loses_its_long_entries_first_and_then_the_oldest() {
    let long = format!("long={}", "v".repeat(200));
    let entries: Vec<String> = (0..5).map(|i| format!("k{i}={}", "v".repeat(97))).collect();
    // 5 x 100 and four commas fit, with the long one they do not.
    let all = format!("{long},{}", entries.join(","));
    assert_eq!(state(&[&all]), Some(entries.join(",")));
    let six = format!("{},k6={}", entries.join(","), "v".repeat(97));
    assert_eq!(state(&[&six]), Some(entries.join(",")));
    assert_eq!(state(&[&long]), Some(long.clone()), "alone it fits");
}

#[test]
fn an_id_is_taken_if_it_is_safe_to_print() {
    let id = |fields: &[(&str, &str)]| RequestId::from_fields(head(fields).fields());
    let sound = "Az-09._~:/+=@";
    assert_eq!(id(&[("X-Request-Id", sound)]).unwrap().as_str(), sound);
    let longest = "i".repeat(128);
    assert_eq!(id(&[("x-request-id", &longest)]).unwrap().as_str(), longest);
    for bad in ["", "two words", "a\"b", "a<b", "a\\b", "a;b", &"i".repeat(129), "\u{e9}"] {
        assert_eq!(id(&[("x-request-id", bad)]), None, "{bad}");
    }
    assert_eq!(id(&[]), None);
    assert_eq!(id(&[("x-request-id", "a"), ("x-request-id", "b")]), None);
    assert_eq!(RequestId::mint(0xab).to_string(), "000000000000000000000000000000ab");
}
