//! Names and values of fields to send, and what their types say about them.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue};

/// The name of a field to send.
pub trait FieldName: AsRef<[u8]> {
    /// Every value of the type is a token: it is not looked at again.
    const IS_TOKEN: bool = false;
}

/// The value of a field to send.
pub trait FieldValue: AsRef<[u8]> {
    /// Every value of the type can stand in a field: it is not looked at again.
    const IS_SOUND: bool = false;
}

impl FieldName for HeaderName {
    const IS_TOKEN: bool = true;
}

impl FieldValue for HeaderValue {
    const IS_SOUND: bool = true;
}

impl<T: FieldName + ?Sized> FieldName for &T {
    const IS_TOKEN: bool = T::IS_TOKEN;
}

impl<T: FieldValue + ?Sized> FieldValue for &T {
    const IS_SOUND: bool = T::IS_SOUND;
}

macro_rules! unchecked {
    ($($text:ty),*) => {$(
        impl FieldName for $text {}
        impl FieldValue for $text {}
    )*};
}

unchecked!(str, [u8], String, Vec<u8>, Box<[u8]>, Bytes, BytesMut);

impl<const N: usize> FieldName for [u8; N] {}
impl<const N: usize> FieldValue for [u8; N] {}
impl FieldName for Cow<'_, [u8]> {}
impl FieldValue for Cow<'_, [u8]> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::grammar::{is_field_value, is_token};

    #[test]
    fn what_is_not_looked_at_again_would_pass() {
        for byte in 0..=255u8 {
            for at in 0..3 {
                let mut text = *b"abc";
                text[at] = byte;
                if let Ok(name) = HeaderName::from_bytes(&text) {
                    assert!(is_token(name.as_ref()), "{byte:#x}");
                }
                if let Ok(value) = HeaderValue::from_bytes(&text) {
                    assert!(is_field_value(value.as_bytes()), "{byte:#x}");
                }
            }
        }
        assert!(HeaderName::from_bytes(b"").is_err());
    }
}
