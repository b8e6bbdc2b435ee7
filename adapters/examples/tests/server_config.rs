//! The sample configuration names every setting there is, with its default.

#![expect(clippy::unwrap_used, reason = "outside of `#[test]` too, a test stops where it is wrong")]

use std::collections::BTreeSet;

use sinew_config::Config;
use sinew_driver::RestServerConfig;
use sinew_examples::server::{CONFIG, build};
use sinew_prometheus::Metrics;
use sinew_tokio::RestServer;
use toml::{Table, Value};

/// The sample with every setting that is commented out.
fn everything() -> String {
    CONFIG
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.is_empty() && !setting.starts_with(' ') => setting,
            _ => line,
        })
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// The tables below a value, with the names in each and the steps to it.
fn tables(steps: &mut Vec<String>, value: &Value, found: &mut Vec<(Vec<String>, Vec<String>)>) {
    let inner: Vec<(String, &Value)> = match value {
        Value::Table(table) => {
            found.push((steps.clone(), table.keys().cloned().collect()));
            table.iter().map(|(name, value)| (name.clone(), value)).collect()
        }
        Value::Array(list) => list.iter().enumerate().map(|(i, v)| (i.to_string(), v)).collect(),
        _ => Vec::new(),
    };
    for (step, value) in inner {
        steps.push(step);
        tables(steps, value, found);
        steps.pop();
    }
}

/// The names that are known in a table: those that are told when there is one that is not.
fn known_in(sample: &Table, steps: &[String]) -> BTreeSet<String> {
    const UNKNOWN: &str = "?";
    let mut root = Value::Table(sample.clone());
    let mut table = &mut root;
    for step in steps {
        table = match step.parse::<usize>() {
            Ok(index) => &mut table[index],
            Err(_) => &mut table[step.as_str()],
        };
    }
    *table = Value::Table(Table::from_iter([(UNKNOWN.to_owned(), Value::Integer(1))]));
    let text = toml::to_string(&root).unwrap();
    let problems = Config::parse("sample", "", text).unwrap_err();
    let unknown = problems.iter().find(|problem| problem.why.starts_with("\"?\" is unknown"));
    unknown.unwrap_or_else(|| panic!("{steps:?}: {problems}")).known.iter().cloned().collect()
}

#[test]
fn no_setting_is_missing() {
    let text = everything();
    Config::parse("sample", "", &*text).unwrap();
    let sample: Table = text.parse().unwrap();
    let mut found = Vec::new();
    tables(&mut Vec::new(), &Value::Table(sample.clone()), &mut found);
    // What one element of a list leaves out, another may have.
    let kind = |steps: &[String]| -> Vec<String> {
        let named = steps.iter().filter(|step| step.parse::<usize>().is_err());
        let named: Vec<String> = named.cloned().collect();
        // These mean the same wherever they stand.
        let identities = named.iter().position(|step| step == "identities");
        named[identities.unwrap_or_default()..].to_vec()
    };
    let mut settings = 0;
    for (steps, _) in &found {
        let known = known_in(&sample, steps);
        let named: BTreeSet<String> = found
            .iter()
            .filter(|(other, _)| kind(other) == kind(steps))
            .flat_map(|(_, names)| names.iter().cloned())
            .collect();
        assert_eq!(named, known, "{steps:?}");
        settings += known.len();
    }
    assert!(settings > 100, "{settings}");
}

#[test]
fn the_sample_makes_sense() {
    let config = Config::parse("sample", "", CONFIG).unwrap();
    let _ = config.apply(build(RestServer::builder(), &Metrics::new())).unwrap();
}

#[test]
fn the_file_in_the_documentation_can_be_read() {
    let page = include_str!("../../../docs/server.md");
    let (_, behind) = page.split_once("```toml\n").unwrap();
    let (text, _) = behind.split_once("```").unwrap();
    Config::parse("server.md", "", text).unwrap();
}

#[test]
fn an_empty_file_changes_nothing_and_what_is_commented_out_is_the_default() {
    let default = RestServerConfig::default();
    let config = Config::parse("empty", "", "").unwrap();
    let mut builder = config.apply(RestServer::builder()).unwrap();
    assert_eq!(format!("{:?}", builder.config_mut()), format!("{default:?}"));
    let in_force = config.in_force(builder.config_mut());

    let text = everything();
    let sample: Table = text.parse().unwrap();
    let force: Table = in_force.parse().unwrap();
    for section in ["limits", "timers"] {
        assert_eq!(force[section], sample[section], "{section}");
    }
}
