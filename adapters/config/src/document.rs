//! A file as it is written: where each setting stands, and what in it fits no setting.

use std::ops::Range;
use std::{fmt, iter, mem};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer};

use crate::problem::{Place, Problem, Problems};

/// The text of a file, its settings by name and place, and what is wrong with them so far.
#[derive(Debug)]
pub(crate) struct Document<'t> {
    name: String,
    text: &'t str,
    root: DeTable<'t>,
    problems: Vec<(usize, Problem)>,
}

impl<'t> Document<'t> {
    pub(crate) fn parse(name: &str, text: &'t str) -> Self {
        let (root, errors) = DeTable::parse_recoverable(text);
        let root = root.into_inner();
        let mut document = Self { name: name.to_owned(), text, root, problems: Vec::new() };
        for error in errors {
            let at = error.span().map_or(0, |span| span.start);
            document.note(at, String::new(), error.message().to_owned(), Vec::new());
        }
        document
    }

    /// Reads the settings. One that cannot be read is noted and left out, and the rest read again, so
    /// that all mistakes are told at once.
    pub(crate) fn read<T: DeserializeOwned>(&mut self) -> Option<T> {
        // After an error of syntax nobody knows which settings belong together.
        if !self.problems.is_empty() {
            return None;
        }
        let mut rest = self.root.clone();
        loop {
            let table = Spanned::new(0..self.text.len(), rest.clone());
            let error = match T::deserialize(Deserializer::from(table)) {
                Ok(settings) => return self.problems.is_empty().then_some(settings),
                Err(error) => error,
            };
            let span = error.span().unwrap_or(0..self.text.len());
            let (why, known) = plain(error.message());
            self.note_at(&trace(&self.root, &span), span.start, why, known);
            let steps = trace(&rest, &span);
            if !remove(&mut rest, &steps) {
                return None;
            }
        }
    }

    /// Notes what makes no sense about a setting, given as `section.name`; of one that is not there,
    /// the place of its section is told.
    pub(crate) fn refuse(&mut self, setting: &str, why: impl Into<String>) {
        let steps: Vec<Step> = setting.split('.').map(Step::from).collect();
        self.note_at(&steps, 0, why.into(), Vec::new());
    }

    /// Whether anything was noted.
    pub(crate) fn is_refused(&self) -> bool {
        !self.problems.is_empty()
    }

    /// At the innermost of these steps that is there.
    fn note_at(&mut self, steps: &[Step], otherwise: usize, why: String, known: Vec<String>) {
        let mut at = otherwise;
        let mut node = Node::Table(&self.root);
        for step in steps {
            let Some((place, inner)) = node.get(step) else { break };
            (at, node) = (place, inner);
        }
        let names: Vec<String> = steps.iter().map(Step::to_string).collect();
        self.note(at, names.join("."), why, known);
    }

    fn note(&mut self, at: usize, setting: String, why: String, known: Vec<String>) {
        let place = Some(place(self.text, at));
        self.problems.push((at, Problem { setting, place, why, known }));
    }

    /// The end: nothing, or all that was noted.
    pub(crate) fn finish(mut self) -> Result<(), Problems> {
        if self.problems.is_empty() {
            return Ok(());
        }
        self.problems.sort_by_key(|(at, _)| *at);
        let list = self.problems.into_iter().map(|(_, problem)| problem).collect();
        Err(Problems { file: self.name, list })
    }
}

/// Where an offset is.
fn place(text: &str, at: usize) -> Place {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    Place { line: before.matches('\n').count() + 1, column: line.chars().count() + 1 }
}

/// On the way to a setting.
#[derive(Debug)]
enum Step {
    Name(String),
    Index(usize),
}

impl From<&str> for Step {
    fn from(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Index)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Index(index) => index.fmt(f),
        }
    }
}

/// What has settings below it.
#[derive(Clone, Copy)]
enum Node<'d, 't> {
    Table(&'d DeTable<'t>),
    List(&'d [Spanned<DeValue<'t>>]),
    Leaf,
}

impl<'d, 't> Node<'d, 't> {
    fn of(value: &'d Spanned<DeValue<'t>>) -> Self {
        match value.get_ref() {
            DeValue::Table(table) => Self::Table(table),
            DeValue::Array(list) => Self::List(list),
            _ => Self::Leaf,
        }
    }

    /// The place of a setting, that of its key if it has one, and what is below it.
    fn get(self, step: &Step) -> Option<(usize, Self)> {
        let (at, value) = match (self, step) {
            (Self::Table(table), Step::Name(name)) => {
                let (key, value) = table.get_key_value(name.as_str())?;
                (key.span().start, value)
            }
            (Self::List(list), Step::Index(index)) => {
                let value = list.get(*index)?;
                (value.span().start, value)
            }
            _ => return None,
        };
        Some((at, Self::of(value)))
    }

    /// What of it a span lies in. A table with a header has its settings outside of its own text.
    fn find(self, span: &Range<usize>) -> Option<(Step, Self)> {
        let lies_in = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
        let covers = |value| lies_in(Spanned::span(value)) || Self::of(value).find(span).is_some();
        match self {
            Self::Table(table) => table
                .iter()
                .find(|(key, value)| lies_in(key.span()) || covers(value))
                .map(|(key, value)| (Step::Name(key.get_ref().to_string()), Self::of(value))),
            Self::List(list) => list
                .iter()
                .enumerate()
                .find(|(_, value)| covers(value))
                .map(|(index, value)| (Step::Index(index), Self::of(value))),
            Self::Leaf => None,
        }
    }
}

/// The steps to the innermost setting that a span lies in.
fn trace(root: &DeTable<'_>, span: &Range<usize>) -> Vec<Step> {
    let mut node = Node::Table(root);
    let next = || {
        let (step, inner) = node.find(span)?;
        node = inner;
        Some(step)
    };
    iter::from_fn(next).collect()
}

/// Whether there was something to remove.
fn remove(table: &mut DeTable<'_>, steps: &[Step]) -> bool {
    let Some((Step::Name(name), below)) = steps.split_first() else { return false };
    if below.is_empty() {
        return table.remove(name.as_str()).is_some();
    }
    match (table.get_mut(name.as_str()).map(Spanned::get_mut), below) {
        (Some(DeValue::Table(inner)), _) => remove(inner, below),
        (Some(DeValue::Array(list)), [Step::Index(index)]) => {
            let all = mem::replace(list, DeArray::new()).into_iter().enumerate();
            *list = all.filter(|(i, _)| i != index).map(|(_, value)| value).collect();
            true
        }
        (Some(DeValue::Array(list)), [Step::Index(index), below @ ..]) => {
            match list.get_mut(*index).map(Spanned::get_mut) {
                Some(DeValue::Table(inner)) => remove(inner, below),
                _ => false,
            }
        }
        _ => false,
    }
}

/// What serde says about a setting that cannot be read, in plain words, and the names that it knows in
/// its place. The text of a setting, which may be a secret in a wrong place, is not quoted.
fn plain(message: &str) -> (String, Vec<String>) {
    if message.starts_with("invalid type: string")
        && let Some((_, expected)) = message.rsplit_once("\", expected ")
    {
        return (format!("expected {expected}, not text"), Vec::new());
    }
    // The names are told in the message alone.
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match (message.starts_with("unknown "), names.split_first()) {
        (true, Some((unknown, known))) => (
            unknown_name(unknown, known.iter().copied()),
            known.iter().copied().map(str::to_owned).collect(),
        ),
        _ => (message.to_owned(), Vec::new()),
    }
}

/// A name that nobody knows, and the one that was meant, most likely.
pub(crate) fn unknown_name<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> String {
    match known.into_iter().min_by_key(|known| distance(name, known)) {
        Some(nearest) => format!("{name:?} is unknown; the nearest name is {nearest:?}"),
        None => format!("{name:?} is unknown"),
    }
}

/// Letters to add, to leave out or to exchange: Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut diagonal = mem::replace(&mut row[0], left);
        for (cell, y) in row[1..].iter_mut().zip(b.chars()) {
            let best = (diagonal + usize::from(x != y)).min(*cell + 1).min(left + 1);
            diagonal = mem::replace(cell, best);
            left = best;
        }
    }
    row.last().copied().unwrap_or_default()
}
