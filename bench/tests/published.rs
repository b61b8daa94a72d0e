//! The published texts match the measurements: README and index against the newest report, pictures against their data.

use std::fs;

use tenure_bench::report::{Report, folder, index, results, root, update_between};

#[test]
fn readme_and_index_say_what_the_reports_say() {
    let reports = Report::read_all(&folder()).unwrap();
    let newest = reports.first().expect("a report");
    for (file, name, with) in [
        (root().join("README.md"), "results", results(newest)),
        (folder().join("README.md"), "reports", index(&reports)),
    ] {
        let text = fs::read_to_string(&file).unwrap();
        let expected = update_between(&text, name, &with).expect("markers");
        assert_eq!(text, expected, "{}: make it anew with `cargo perf --readme`", file.display());
    }
}

#[test]
fn a_report_is_made_of_its_data_alone() {
    for report in Report::read_all(&folder()).unwrap() {
        let committed = folder().join(report.name());
        let scratch = std::env::temp_dir().join(format!("tenure-report-{}", std::process::id()));
        let again = report.write(&scratch).unwrap();
        let compared = fs::read_dir(&again).unwrap().flatten().map(|entry| entry.file_name());
        // The data themselves are the source of the rest.
        let differing: Vec<_> = compared
            .filter(|name| name != "raw.json")
            .filter(|name| fs::read(again.join(name)).ok() != fs::read(committed.join(name)).ok())
            .collect();
        fs::remove_dir_all(&scratch).unwrap();
        assert!(differing.is_empty(), "{}: {differing:?} differ from their data", report.name());
    }
}

#[test]
fn the_readme_has_a_row_that_tenure_loses_if_there_is_one() {
    let reports = Report::read_all(&folder()).unwrap();
    let newest = reports.first().expect("a report");
    let lost = newest.measured.iter().flat_map(|measured| measured.comparisons());
    let lost = lost.filter(|one| one.verdict() == tenure_bench::stats::Verdict::Loses).count();
    let text = results(newest);
    assert!(
        lost == 0 || text.contains("**slower**"),
        "{lost} rows are lost, and the README tells none of them"
    );
}
