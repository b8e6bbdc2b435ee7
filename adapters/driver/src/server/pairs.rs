//! A serde format of text pairs: path parameters, queries, forms.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

type Text<'de> = Cow<'de, str>;

/// What a value is and what it should have been.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Mismatch(String);

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Mismatch {}

impl de::Error for Mismatch {
    fn custom<T: fmt::Display>(why: T) -> Self {
        Self(why.to_string())
    }
}

/// Names with values, in order.
pub(super) struct Pairs<'de>(Vec<(Text<'de>, Text<'de>)>);

impl<'de> Pairs<'de> {
    pub(super) fn new(pairs: Vec<(Text<'de>, Text<'de>)>) -> Self {
        Self(pairs)
    }

    /// The values of one name side by side, names in the order of their first value.
    fn grouped(self) -> Vec<(Text<'de>, Values<'de>)> {
        let mut groups: Vec<(Text<'de>, Values<'de>)> = Vec::with_capacity(self.0.len());
        for (name, value) in self.0 {
            match groups.iter_mut().find(|(known, _)| *known == name) {
                Some((_, values)) => values.rest.push(value),
                None => groups.push((name.clone(), Values { name, first: value, rest: vec![] })),
            }
        }
        groups
    }

    /// The value, where there is exactly one.
    fn only(self) -> Result<Values<'de>, Mismatch> {
        let count = self.0.len();
        let mut pairs = self.0.into_iter();
        match (pairs.next(), pairs.next()) {
            (Some((name, first)), None) => Ok(Values { name, first, rest: vec![] }),
            _ => Err(Mismatch(format!("one value expected, {count} there"))),
        }
    }
}

macro_rules! only_one {
    ($($method:ident),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
            self.only()?.$method(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Pairs<'de> {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_map(MapDeserializer::new(self.grouped().into_iter()))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        let values = self.0.into_iter().map(|(name, first)| Values { name, first, rest: vec![] });
        visitor.visit_seq(SeqDeserializer::new(values))
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        if self.0.len() == len {
            self.deserialize_seq(visitor)
        } else {
            Err(Mismatch(format!("{len} values expected, {} there", self.0.len())))
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        if self.0.is_empty() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_unit()
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.only()?.deserialize_enum(name, variants, visitor)
    }

    only_one!(
        deserialize_bool,
        deserialize_i8,
        deserialize_i16,
        deserialize_i32,
        deserialize_i64,
        deserialize_i128,
        deserialize_u8,
        deserialize_u16,
        deserialize_u32,
        deserialize_u64,
        deserialize_u128,
        deserialize_f32,
        deserialize_f64,
        deserialize_char,
        deserialize_str,
        deserialize_string
    );

    forward_to_deserialize_any! { bytes byte_buf map struct identifier ignored_any }
}

/// The values of one name: at least one.
struct Values<'de> {
    name: Text<'de>,
    first: Text<'de>,
    rest: Vec<Text<'de>>,
}

impl<'de> Values<'de> {
    fn single(self) -> Result<(Text<'de>, Text<'de>), Mismatch> {
        if self.rest.is_empty() {
            Ok((self.name, self.first))
        } else {
            Err(Mismatch(format!("{} is there more than once", self.name)))
        }
    }
}

impl<'de> IntoDeserializer<'de, Mismatch> for Values<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! parsed {
    ($($method:ident $visit:ident $wanted:literal,)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
            let (name, value) = self.single()?;
            match value.parse() {
                Ok(value) => visitor.$visit(value),
                Err(_) => Err(Mismatch(format!(concat!("{} is not ", $wanted), name))),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Values<'de> {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.single()?.1 {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    parsed! {
        deserialize_bool visit_bool "true or false",
        deserialize_i8 visit_i8 "a number from -128 to 127",
        deserialize_i16 visit_i16 "a number that fits 16 bits",
        deserialize_i32 visit_i32 "a number that fits 32 bits",
        deserialize_i64 visit_i64 "a number that fits 64 bits",
        deserialize_i128 visit_i128 "a number that fits 128 bits",
        deserialize_u8 visit_u8 "a number from 0 to 255",
        deserialize_u16 visit_u16 "a number from 0 on that fits 16 bits",
        deserialize_u32 visit_u32 "a number from 0 on that fits 32 bits",
        deserialize_u64 visit_u64 "a number from 0 on that fits 64 bits",
        deserialize_u128 visit_u128 "a number from 0 on that fits 128 bits",
        deserialize_f32 visit_f32 "a number",
        deserialize_f64 visit_f64 "a number",
        deserialize_char visit_char "one character",
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        let Self { name, first, rest } = self;
        let values = std::iter::once(first).chain(rest);
        let values = values.map(move |first| Values { name: name.clone(), first, rest: vec![] });
        visitor.visit_seq(SeqDeserializer::new(values))
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_enum(self.single()?.1.into_deserializer())
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        str string bytes byte_buf unit unit_struct map struct identifier
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde::de::DeserializeOwned;

    use super::*;

    fn read<T: DeserializeOwned>(pairs: &[(&'static str, &'static str)]) -> Result<T, String> {
        let pairs = pairs.iter().map(|&(name, value)| (name.into(), value.into())).collect();
        T::deserialize(Pairs::new(pairs)).map_err(|error| error.to_string())
    }

    #[derive(Deserialize, PartialEq, Debug)]
    #[serde(rename_all = "lowercase")]
    enum Order {
        Up,
        Down,
    }

    #[derive(Deserialize, PartialEq, Debug)]
    struct Wanted {
        id: u32,
        name: Option<String>,
        #[serde(default)]
        tag: Vec<String>,
        order: Order,
    }

    #[test]
    fn a_struct_by_names() {
        let pairs = [
            ("tag", "a"),
            ("id", "7"),
            ("order", "down"),
            ("tag", "b"),
            ("other", "x"),
            ("other", "y"),
        ];
        assert_eq!(
            read(&pairs),
            Ok(Wanted { id: 7, name: None, tag: vec!["a".into(), "b".into()], order: Order::Down })
        );
        assert_eq!(
            read(&[("id", "1"), ("order", "up"), ("name", "n")]).map(|wanted: Wanted| wanted.name),
            Ok(Some("n".into()))
        );
    }

    #[test]
    fn plain_values_and_tuples_in_order() {
        assert_eq!(read(&[("id", "7")]), Ok(7u8));
        assert_eq!(read(&[("id", "x")]), Ok("x".to_owned()));
        assert_eq!(read(&[("a", "x"), ("b", "true")]), Ok(("x".to_owned(), true)));
        assert_eq!(read(&[]), Ok(()));
        assert_eq!(read(&[("a", "1"), ("b", "2")]), Ok(vec![1u8, 2]));
    }

    #[test]
    fn mismatches_name_what_was_sent() {
        let id: Result<u8, _> = read(&[("id", "-1")]);
        assert_eq!(id, Err("id is not a number from 0 to 255".into()));
        let twice: Result<Wanted, _> = read(&[("id", "1"), ("id", "2"), ("order", "up")]);
        assert_eq!(twice, Err("id is there more than once".into()));
        let missing: Result<Wanted, _> = read(&[("id", "1")]);
        assert_eq!(missing, Err("missing field `order`".into()));
        let tuple: Result<(u8, u8), _> = read(&[("a", "1")]);
        assert_eq!(tuple, Err("2 values expected, 1 there".into()));
    }
}
