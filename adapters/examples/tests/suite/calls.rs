//! Calls as an application makes them.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::app::Item;
use super::site::{CLIENT, Security};
use super::{both, status_of};

#[test]
fn json_comes_and_goes() {
    both(async |site, client| {
        let response = client.get("/items/42").send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.header("content-type").unwrap(), "application/json");
        let item: Item = response.json().await.unwrap();
        assert_eq!(item, Item { id: 42, name: "item 42".into() });

        let sent = Item { id: 7, name: "sieben ½".into() };
        let response = client.post("/items").json(&sent).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::CREATED);
        assert_eq!(response.json::<Item>().await.unwrap(), Item { id: 8, ..sent });
        assert_eq!(site.handle.connections(), 1);
    });
}

#[test]
fn what_does_not_fit_is_refused_with_a_problem() {
    both(async |_, client| {
        for (body, media_type, status) in [
            (r#"{"id":1"#, "application/json", 400),
            (r#"{"id":"one","name":"x"}"#, "application/json", 422),
            (r#"{"id":1,"name":"x"}"#, "text/plain", 415),
        ] {
            let call = client.post("/items").header("content-type", media_type).body(body);
            let response = call.send().await.unwrap();
            assert_eq!(response.status(), status, "{body}");
            assert_eq!(response.header("content-type").unwrap(), "application/problem+json");
            let problem: Value = response.json().await.unwrap();
            assert_eq!(problem["status"], json!(status));
        }
        assert_eq!(status_of(client.get("/items/many")).await, 400);
    });
}

#[test]
fn parameters_queries_and_forms_are_decoded_once() {
    both(async |_, client| {
        let item: Item = client.get("/items/%34%32").send().await.unwrap().json().await.unwrap();
        assert_eq!(item.id, 42);

        let call = client.get("/search").query(&[("q", "a b&c=d"), ("page", "2"), ("raw", "%34")]);
        let found: BTreeMap<String, String> = call.send().await.unwrap().json().await.unwrap();
        let found: Vec<_> = found.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(found, [("page", "2"), ("q", "a b&c=d"), ("raw", "%34")]);

        let sent = Item { id: 9, name: "a+b & ü".into() };
        let response = client.post("/form").form(&sent).send().await.unwrap();
        assert_eq!(response.json::<Item>().await.unwrap(), sent);
    });
}

#[test]
fn head_has_the_fields_of_get_and_no_body() {
    both(async |site, client| {
        let response = client.head("/text").send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.header("content-length").unwrap(), "11");
        assert_eq!(response.bytes().await.unwrap(), "");
        // Nothing of a body is left on the connection.
        assert_eq!(client.get("/text").send().await.unwrap().text().await.unwrap(), "plain words");
        assert_eq!(site.handle.connections(), 1);
    });
}

#[test]
fn missing_paths_and_wrong_methods() {
    both(async |_, client| {
        assert_eq!(status_of(client.get("/nowhere")).await, 404);

        let response = client.delete("/items/1").send().await.unwrap();
        assert_eq!(response.status(), 405);
        assert_eq!(response.header("allow").unwrap(), "GET, HEAD, OPTIONS");

        let response = client.request(Method::OPTIONS, "/items/1").send().await.unwrap();
        assert_eq!(response.status(), 204);
        assert_eq!(response.header("allow").unwrap(), "GET, HEAD, OPTIONS");
    });
}

#[test]
fn the_handler_knows_whom_the_certificate_names() {
    both(async |site, client| {
        let response = client.get("/peer").send().await.unwrap();
        match site.security {
            Security::Plain => assert_eq!(response.status(), 404),
            Security::Mutual => assert_eq!(response.text().await.unwrap(), CLIENT),
        }
    });
}

#[test]
fn calls_in_a_row_share_a_connection() {
    both(async |site, client| {
        for id in 0..50 {
            let item: Item =
                client.get(&format!("/items/{id}")).send().await.unwrap().json().await.unwrap();
            assert_eq!(item.id, id);
        }
        assert_eq!(site.handle.connections(), 1);
    });
}

#[test]
fn calls_side_by_side_get_the_right_answers() {
    both(async |site, client| {
        let calls = (0..40).map(|id| {
            let call = client.get(&format!("/items/{id}")).send();
            async move { call.await.unwrap().json::<Item>().await.unwrap().id }
        });
        let ids: Vec<u32> = join_all(calls).await;
        assert_eq!(ids, (0..40).collect::<Vec<_>>());
        assert!(site.handle.connections() <= 40);
    });
}
