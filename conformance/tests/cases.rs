//! The built-in cases on the bare machines.

use sinew_conformance::case::Case;
use sinew_conformance::deviations::{Deviations, Place};
use sinew_conformance::load::Cases;
use sinew_conformance::report::Report;
use sinew_conformance::suite;

#[test]
fn every_case_passes_however_it_is_cut() {
    let cases = Cases::built_in().unwrap();
    let deviations = Deviations::built_in().unwrap().seen_on(Place::Machines);
    let verdicts: Vec<_> = cases.iter().map(|case| suite::check(case, 1, &deviations)).collect();
    let stale = deviations.without_case(cases.iter().map(Case::id));
    let report = Report { verdicts: &verdicts, stale, verbose: false };
    assert_eq!(report.failed(), 0, "\n{report}");
}
