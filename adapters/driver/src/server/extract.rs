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
    /// is not what the type asks for (the member `path` says where), and those of
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
    Problem::because(reason).detail(format!("{part}: {why}"))
}

/// Bytes that are not JSON, or JSON that is not what was asked for. The words are serde's about the
/// client's own document.
fn misfit(error: &serde_json::Error, path: Option<String>) -> Problem {
    if error.is_data() {
        let problem = Problem::because(Reason::InvalidBody).detail(error.to_string());
        return match path {
            Some(path) => problem.with("path", path),
            None => problem,
        };
    }
    let at = format!("line {} column {}", error.line(), error.column());
    Problem::because(Reason::MalformedRequest).detail(format!("the body is not JSON at {at}"))
}
