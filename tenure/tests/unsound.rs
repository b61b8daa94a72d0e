//! Programs without `unsafe` that would have two owners of the same bytes: none of them compiles. docs/soundness.md explains this.

#[test]
fn programs_without_unsafe_cannot_take_away_what_is_borrowed() {
    trybuild::TestCases::new().compile_fail("tests/unsound/*.rs");
}
