//! Changes of protocol: <https://www.rfc-editor.org/rfc/rfc9110#section-7.8>

#[test]
fn todo() {}
