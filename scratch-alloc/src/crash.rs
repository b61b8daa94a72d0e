//! The places where a member may die, named for the kill tests.

/// Marks a point between two shared stores. Expands to nothing unless the kill tests are built.
macro_rules! crash_point {
    ($name:literal) => {};
}
pub(crate) use crash_point;
