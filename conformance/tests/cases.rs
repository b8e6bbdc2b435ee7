//! The built-in cases: on the bare machines, and against the list of attacks.

use sinew_conformance::case::Case;
use sinew_conformance::deviations::Deviations;
use sinew_conformance::load::Cases;
use sinew_conformance::report::Report;
use sinew_conformance::suite;

#[test]
fn every_case_passes_however_it_is_cut() {
    let cases = Cases::built_in().unwrap();
    let deviations = Deviations::built_in().unwrap();
    let verdicts: Vec<_> = cases.iter().map(|case| suite::check(case, 1, &deviations)).collect();
    let stale = deviations.without_case(cases.iter().map(Case::id));
    let report = Report { verdicts: &verdicts, stale, verbose: false };
    assert_eq!(report.failed(), 0, "\n{report}");
}

#[test]
fn every_attack_has_its_cases() {
    let cases = Cases::built_in().unwrap();
    let readme = include_str!("../README.md");
    let (_, attacks) = readme.split_once("### Attacks").unwrap();
    let (attacks, _) = attacks.split_once("\n### ").unwrap();
    let rows = attacks.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    let mut prefixes = 0;
    for row in rows {
        let ids = row.rsplit_once(" | ").unwrap().1;
        for prefix in ids.split('`').skip(1).step_by(2) {
            prefixes += 1;
            let found = cases.iter().any(|case| case.id().starts_with(prefix));
            assert!(found, "no case starts with {prefix}: {row}");
        }
    }
    assert!(prefixes > 60, "{prefixes} prefixes in the table");
}
