//! Typed reading of a request: path, query, form, JSON, text.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;
use sinew_core::reason::Reason;

use super::pairs::{self, Pairs};
use super::problem::Problem;
use super::request::Request;

impl Request {
    /// The parameters of the route: a struct by their names, a tuple in their order, or a plain
    /// value where there is one.
    ///
    /// # Errors
    ///
    /// 400, where a value is not what the type asks for.
    pub fn path<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let pairs = self.params().map(|(name, value)| (Cow::Borrowed(name), value)).collect();
        T::deserialize(Pairs::new(pairs))
            .map_err(|why| unfit(Reason::MalformedRequest, "path", &why))
    }

    /// The query, as a struct or a map. A name that comes more than once is a sequence.
    ///
    /// # Errors
    ///
    /// 400, where a value is missing or not what the type asks for.
    pub fn query<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let query = self.raw_query().unwrap_or_default();
        let pairs = form_urlencoded::parse(query.as_bytes()).collect();
        T::deserialize(Pairs::new(pairs))
            .map_err(|why| unfit(Reason::MalformedRequest, "query", &why))
    }

    /// The body, as `application/x-www-form-urlencoded`.
    ///
    /// # Errors
    ///
    /// 415 for another `content-type`, 422 where a value is missing or not what the type asks for,
    /// and those of [`bytes`](Self::bytes).
    pub async fn form<T: DeserializeOwned>(self) -> Result<T, Problem> {
        self.expect_type(|media_type| media_type == "application/x-www-form-urlencoded")?;
        let body = self.bytes().await?;
        let pairs = form_urlencoded::parse(&body).collect();
        T::deserialize(Pairs::new(pairs)).map_err(|why| unfit(Reason::InvalidBody, "form", &why))
    }

    /// The body, as JSON.
    ///
    /// # Errors
    ///
    /// 415 for a `content-type` that is not JSON, 400 for bytes that are not JSON, 422 for JSON that
    /// is not what the type asks for (the member `path` says where; `.` is all of it), and those of
    /// [`bytes`](Self::bytes).
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, Problem> {
        self.expect_type(|media_type| {
            let subtype = media_type.strip_prefix("application/").unwrap_or_default();
            subtype == "json" || subtype.ends_with("+json")
        })?;
        let body = self.bytes().await?;
        let mut json = serde_json::Deserializer::from_slice(&body);
        let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let path = error.path().to_string();
            misfit(&error.into_inner(), Some(path))
        })?;
        json.end().map_err(|error| misfit(&error, None))?;
        Ok(value)
    }

    /// The whole body.
    ///
    /// # Errors
    ///
    /// 413 above the route's limit, 408 when it came too slowly, 400 when it was cut or malformed.
    pub async fn bytes(self) -> Result<Bytes, Problem> {
        let limit = self.0.body_limit;
        Ok(self.0.body.collect(limit).await?)
    }

    /// The whole body as text.
    ///
    /// # Errors
    ///
    /// 400 for bytes that are not UTF-8, and those of [`bytes`](Self::bytes).
    pub async fn text(self) -> Result<String, Problem> {
        let body = self.bytes().await?;
        String::from_utf8(body.into()).map_err(|_| {
            Problem::because(Reason::MalformedRequest).detail("the body is not UTF-8 text")
        })
    }

    /// Fails with 415 unless the media type, in lower case and without parameters, is accepted.
    fn expect_type(&self, accepts: impl FnOnce(&str) -> bool) -> Result<(), Problem> {
        let value = self.header_str(CONTENT_TYPE.as_str()).unwrap_or_default();
        let media_type = value.split(';').next().unwrap_or_default().trim();
        if accepts(&media_type.to_ascii_lowercase()) {
            Ok(())
        } else {
            Err(Problem::because(Reason::UnsupportedMediaType))
        }
    }
}

/// A value of the client that is not what was asked for. The words name its own fields and values.
fn unfit(reason: Reason, part: &str, why: &pairs::Mismatch) -> Problem {
    Problem::because(reason).detail(format!("{part}: {}", without_types(&why.to_string())))
}

/// Bytes that are not JSON, or JSON that is not what was asked for. The words are serde's about the
/// client's own document.
fn misfit(error: &serde_json::Error, path: Option<String>) -> Problem {
    if error.is_data() {
        let problem =
            Problem::because(Reason::InvalidBody).detail(without_types(&error.to_string()));
        return match path {
            Some(path) => problem.with("path", path),
            None => problem,
        };
    }
    let at = format!("line {} column {}", error.line(), error.column());
    Problem::because(Reason::MalformedRequest).detail(format!("the body is not JSON at {at}"))
}

/// The kinds of types that serde names in what it expects, and what they are to a caller.
const KINDS: [(&str, &str); 10] = [
    ("struct ", "an object"),
    ("struct variant ", "an object"),
    ("internally tagged enum ", "an object"),
    ("adjacently tagged enum ", "an object"),
    ("tuple struct ", "an array"),
    ("tuple variant ", "an array"),
    ("unit struct ", "no value"),
    ("unit variant ", "no value"),
    ("newtype variant ", "a value"),
    ("enum ", "one of several values"),
];

/// What serde says of a mismatch, without the names that types have in the program.
fn without_types(message: &str) -> String {
    const UNTAGGED: &str = " of untagged enum ";
    const EXPECTED: &str = ", expected ";
    if message.starts_with("data did not match any variant")
        && let Some((said, name)) = message.split_once(UNTAGGED)
    {
        return format!("{said}{}", behind_name(name));
    }
    // What the caller sent stands in front of it.
    let Some((said, expected)) = message.rsplit_once(EXPECTED) else { return message.to_owned() };
    // The longest one, as a struct is not a struct variant.
    let kinds = KINDS.iter().filter_map(|(kind, word)| Some((word, expected.strip_prefix(kind)?)));
    match kinds.min_by_key(|(_, name)| name.len()) {
        Some((word, name)) => format!("{said}{EXPECTED}{word}{}", behind_name(name)),
        None => message.to_owned(),
    }
}

/// What follows the name of a type.
fn behind_name(text: &str) -> &str {
    &text[text.find(' ').unwrap_or(text.len())..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[expect(dead_code, reason = "they are only read")]
    mod types {
        use super::Deserialize;

        #[derive(Deserialize)]
        pub(super) struct Secret {
            id: u8,
        }
        #[derive(Deserialize)]
        pub(super) struct SecretPair(u8, u8);
        #[derive(Deserialize)]
        pub(super) struct SecretUnit;
        #[derive(Deserialize)]
        pub(super) enum SecretKind {
            Unit,
            Tuple(u8, u8),
            Named { id: u8 },
            One(u8),
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        pub(super) enum SecretUntagged {
            One(u8),
            Two(u8, u8),
        }
        #[derive(Deserialize)]
        #[serde(tag = "secret")]
        pub(super) enum SecretTagged {
            One { id: u8 },
        }
        #[derive(Deserialize)]
        #[serde(tag = "t", content = "c")]
        pub(super) enum SecretAdjacent {
            One(u8),
        }
    }

    fn said<T: DeserializeOwned>(text: &str) -> String {
        let error = serde_json::from_str::<T>(text).err().expect("it fits");
        without_types(&error.to_string())
    }

    #[test]
    fn what_is_said_of_a_mismatch_names_no_type() {
        use types::*;
        for text in ["1", "\"s\"", "[]", "[1,\"s\"]", "{}", "null", "\"Tuple\"", "{\"Unit\":1}"]
            .into_iter()
            .chain(["{\"Tuple\":1}", "{\"Named\":1}", "{\"One\":[]}", "{\"t\":1}", "[[1]]"])
        {
            for said in [
                serde_json::from_str::<Secret>(text).err(),
                serde_json::from_str::<SecretPair>(text).err(),
                serde_json::from_str::<SecretUnit>(text).err(),
                serde_json::from_str::<SecretKind>(text).err(),
                serde_json::from_str::<SecretUntagged>(text).err(),
                serde_json::from_str::<SecretTagged>(text).err(),
                serde_json::from_str::<SecretAdjacent>(text).err(),
            ]
            .into_iter()
            .flatten()
            {
                let neutral = without_types(&said.to_string());
                assert!(!neutral.contains("Secret"), "{text}: {neutral}");
            }
        }
        assert_eq!(
            said::<Secret>("\", expected struct X\""),
            "invalid type: string \", expected struct X\", expected an object at line 1 column 21"
        );
        assert_eq!(
            said::<SecretPair>("[1]"),
            "invalid length 1, expected an array with 2 elements at line 1 column 3"
        );
        assert_eq!(said::<SecretUntagged>("null"), "data did not match any variant");
        assert_eq!(said::<u8>("null"), "invalid type: null, expected u8 at line 1 column 4");
    }
}
