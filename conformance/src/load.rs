//! Reading case files, with file and line for whatever is wrong with them.

use core::fmt;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::case::{
    Behaviour, Case, Choice, CorsCase, EncodeCase, Outcome, ParseCase, Side, Step, WebSocketCase,
};

macro_rules! file {
    ($subject:literal) => {
        (
            concat!("cases/", $subject, ".jsonl"),
            include_str!(concat!("../cases/", $subject, ".jsonl")),
        )
    };
}

/// The case files that come with this crate, by name and text: one for each subject.
pub const BUILT_IN: [(&str, &str); 19] = [
    file!("request-line"),
    file!("versions"),
    file!("fields"),
    file!("host"),
    file!("framing"),
    file!("chunked"),
    file!("trailers"),
    file!("expect"),
    file!("connection"),
    file!("upgrade"),
    file!("pipelining"),
    file!("early-answers"),
    file!("limits"),
    file!("timeouts"),
    file!("responses"),
    file!("splitting"),
    file!("cors"),
    file!("websocket-handshake"),
    file!("websocket-frames"),
];

/// Why cases could not be read: where, and what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadError {
    /// The file.
    pub file: String,
    /// The line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.what),
            line => write!(f, "{}:{line}: {}", self.file, self.what),
        }
    }
}

impl core::error::Error for LoadError {}

/// Cases gathered from files; ids are unique over all of them.
#[derive(Debug, Default)]
pub struct Cases {
    cases: Vec<Case>,
    seen: BTreeMap<String, String>,
}

impl Cases {
    /// The cases that come with this crate.
    pub fn built_in() -> Result<Vec<Case>, LoadError> {
        let mut cases = Self::default();
        for (name, text) in BUILT_IN {
            cases.add(name, text)?;
        }
        Ok(cases.cases)
    }

    /// The cases of a file, or of every `.jsonl` file in a directory, in the order of the names.
    pub fn from_path(path: &Path) -> Result<Vec<Case>, LoadError> {
        let mut cases = Self::default();
        for file in files_of(path)? {
            let text = fs::read_to_string(&file).map_err(|e| whole(&file, e))?;
            cases.add(&file.display().to_string(), &text)?;
        }
        if cases.cases.is_empty() {
            return Err(whole(path, "no case in it"));
        }
        Ok(cases.cases)
    }

    /// Adds the cases of one text; empty lines separate, a line that starts with `#` is a remark.
    pub fn add(&mut self, file: &str, text: &str) -> Result<(), LoadError> {
        for (i, line) in text.lines().enumerate() {
            let line_number = i + 1;
            let trimmed = line.trim();
            if trimmed.is_empty() || trimmed.starts_with('#') {
                continue;
            }
            let at = |what: String| LoadError { file: file.to_owned(), line: line_number, what };
            let case = parse_line(trimmed).map_err(at)?;
            let place = format!("{file}:{line_number}");
            if let Some(first) = self.seen.insert(case.id().to_owned(), place) {
                return Err(at(format!("id {:?} was used in {first}", case.id())));
            }
            self.cases.push(case);
        }
        Ok(())
    }

    /// What was gathered.
    pub fn into_vec(self) -> Vec<Case> {
        self.cases
    }
}

fn files_of(path: &Path) -> Result<Vec<PathBuf>, LoadError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(|e| whole(path, e))? {
        let file = entry.map_err(|e| whole(path, e))?.path();
        if file.extension().is_some_and(|extension| extension == "jsonl") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn whole(path: &Path, what: impl fmt::Display) -> LoadError {
    LoadError { file: path.display().to_string(), line: 0, what: what.to_string() }
}

fn parse_line(line: &str) -> Result<Case, String> {
    let json = |e: serde_json::Error| {
        // The line of the message is always 1 here; the file's own stands in front of it.
        let text = e.to_string();
        let what = text.split(" at line ").next().unwrap_or_default();
        format!("{what} (column {})", e.column())
    };
    let keys: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(line).map_err(json)?;
    if keys.contains_key("spec") {
        let case: EncodeCase = serde_json::from_str(line).map_err(json)?;
        check_encode(&case)?;
        return Ok(Case::Encode(Box::new(case)));
    }
    if keys.contains_key("config") {
        let case: CorsCase = serde_json::from_str(line).map_err(json)?;
        case.check_sound()?;
        return Ok(Case::Cors(Box::new(case)));
    }
    if keys.contains_key("handshake") || keys.contains_key("frames") {
        let case: WebSocketCase = serde_json::from_str(line).map_err(json)?;
        check_id(&case.id)?;
        case.check_sound()?;
        return Ok(Case::WebSocket(Box::new(case)));
    }
    let mut case: ParseCase = serde_json::from_str(line).map_err(json)?;
    check_parse(&case)?;
    if keys.contains_key("input") != case.steps.is_empty() {
        return Err("a case has either `input` or `steps`".to_owned());
    }
    for step in &case.steps {
        case.input.0.extend(step.bytes());
    }
    Ok(Case::Parse(Box::new(case)))
}

/// A step sends this many bytes at most.
const MOST_FILL: usize = 16 << 20;

/// What the types cannot say.
fn check_parse(case: &ParseCase) -> Result<(), String> {
    let expect = &case.expect;
    check_id(&case.id)?;
    let refusable = matches!(expect.outcome, Outcome::Reject | Outcome::Either);
    let request = case.side == Side::Request;
    if refusable && request && expect.status.is_empty() && expect.error.is_none() {
        return Err("a refusable request needs `status` or `error`".to_owned());
    }
    if !refusable && !expect.status.is_empty() {
        return Err("`status` is for what may be refused".to_owned());
    }
    if let Some(best) = expect.status_best
        && !expect.status.contains(&best)
    {
        return Err(format!("`status_best` {best} is not among `status`"));
    }
    if !request && !expect.status.is_empty() {
        return Err("`status` is for requests; a response has `status_code`".to_owned());
    }
    if request && (case.request_method.is_some() || !case.request_headers.is_empty()) {
        return Err("`request_method` and `request_headers` are for responses".to_owned());
    }
    if request && case.request_body > 0 || !request && case.handler != Behaviour::Whole {
        return Err("`request_body` is for responses, `handler` for requests".to_owned());
    }
    let sensible = |step: &Step| match step {
        Step::Wait(seconds) => (0.0..1e6).contains(seconds),
        Step::Fill(bytes) => *bytes <= MOST_FILL,
        Step::Send(_) | Step::Stall => true,
    };
    if !case.steps.iter().all(sensible) {
        return Err("`wait` is in seconds, up to 1e6, `fill` in bytes, up to 16 MiB".to_owned());
    }
    if case.prefer.is_some() && expect.outcome != Outcome::Either {
        return Err("`prefer` is for the outcome `either`".to_owned());
    }
    Ok(())
}

fn check_id(id: &str) -> Result<(), String> {
    match id.split_once('/') {
        Some((category, name)) if !category.is_empty() && !name.is_empty() => Ok(()),
        _ => Err(format!("id {id:?} is not category/name")),
    }
}

fn check_encode(case: &EncodeCase) -> Result<(), String> {
    check_id(&case.id)?;
    let expect = &case.expect;
    let detailed = expect.contains.is_some()
        || !expect.lacks.is_empty()
        || expect.wire_body.is_some()
        || expect.decoded_body.is_some();
    if expect.outcome == Choice::Reject && detailed {
        return Err("what is refused has no bytes to look at".to_owned());
    }
    let streamed = !case.spec.chunks.is_empty() || !case.spec.trailers.is_empty();
    if streamed && !case.spec.stream {
        return Err("`chunks` and `trailers` need `stream`".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        Cases::default().add("f.jsonl", text).unwrap_err().to_string()
    }

    const GOOD: &str = r#"{"id":"a/b","rfc":"r","side":"request","level":"MUST","input":"G","expect":{"outcome":"need_more"},"why":"w"}"#;

    #[test]
    fn the_built_in_cases_are_sound() {
        let cases = Cases::built_in().unwrap();
        assert_eq!(cases.len(), 1101);
    }

    #[test]
    fn an_error_names_file_and_line() {
        let text = format!("\n# remark\n{}", GOOD.replace("\"input\"", "\"inputt\""));
        let error = refusal(&text);
        assert!(error.starts_with("f.jsonl:3: unknown field `inputt`"), "{error}");
    }

    #[test]
    fn an_id_stands_once() {
        let error = refusal(&format!("{GOOD}\n{GOOD}"));
        assert_eq!(error, "f.jsonl:2: id \"a/b\" was used in f.jsonl:1");
    }

    #[test]
    fn characters_are_octets() {
        let error = refusal(&GOOD.replace("\"G\"", "\"\\u0100\""));
        assert!(error.contains("a character above U+00FF"), "{error}");
    }

    #[test]
    fn a_refusal_of_a_request_needs_a_status() {
        let error = refusal(&GOOD.replace("need_more", "reject"));
        assert!(error.contains("needs `status`"), "{error}");
    }

    #[test]
    fn null_any_and_absent_are_kept_apart_where_it_matters() {
        let with = |more: &str| {
            let mut cases = Cases::default();
            let text = GOOD.replace("need_more\"", &format!("need_more\"{more}"));
            cases.add("f", &text).unwrap();
            match cases.into_vec().remove(0) {
                Case::Parse(case) => case.expect,
                _ => unreachable!(),
            }
        };
        assert_eq!(with("").upgrade, None);
        assert_eq!(with(",\"upgrade\":null").upgrade, Some(None));
        assert_eq!(with(",\"upgrade\":\"x\"").upgrade, Some(Some("x".to_owned())));
        assert_eq!(with(",\"keep_alive\":\"any\"").keep_alive, None);
        assert_eq!(with(",\"keep_alive\":false").keep_alive, Some(false));
    }
}
