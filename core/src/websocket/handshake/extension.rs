//! `Sec-WebSocket-Extensions`: <https://www.rfc-editor.org/rfc/rfc6455#section-9.1>

use super::is_token;
use crate::head::Fields;

/// One extension of a list, with its parameters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Extension<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) parameters: Vec<(&'a [u8], Option<&'a [u8]>)>,
}

/// All extensions in all lines; `None` where a line breaks the grammar.
pub(crate) fn parse(fields: &Fields) -> Option<Vec<Extension<'_>>> {
    let mut all = Vec::new();
    for line in fields.get_all("sec-websocket-extensions") {
        // No token holds a comma or a semicolon, and a quoted value has to be a token.
        for element in line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if !element.is_empty() {
                all.push(one(element)?);
            }
        }
    }
    Some(all)
}

fn one(element: &[u8]) -> Option<Extension<'_>> {
    let mut parts = element.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let name = parts.next().filter(|name| is_token(name))?;
    let parameters = parts.map(parameter).collect::<Option<_>>()?;
    Some(Extension { name, parameters })
}

fn parameter(text: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let Some(equals) = text.iter().position(|byte| *byte == b'=') else {
        return is_token(text).then_some((text, None));
    };
    let (name, value) = (text[..equals].trim_ascii_end(), text[equals + 1..].trim_ascii_start());
    let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    let value = unquoted.unwrap_or(value);
    (is_token(name) && is_token(value)).then_some((name, Some(value)))
}
