//! Weakened orderings: `verify/models/orderings` weakens one of them, and loom or Miri must then fail. Elsewhere
//! [`ordering!`](crate::ordering!) is the ordering that it names.

/// The ordering of an access: `ordering!("crate.what", Strong, Weak)` is `Ordering::Strong`, unless under loom or Miri
/// the environment variable `TENURE_WEAK` names this one.
#[cfg(any(loom, miri))]
#[macro_export]
macro_rules! ordering {
    ($name:literal, $strong:ident, $weak:ident) => {
        if $crate::weak::is_chosen($name) {
            $crate::sync::Ordering::$weak
        } else {
            $crate::sync::Ordering::$strong
        }
    };
}

/// The ordering of an access: `ordering!("crate.what", Strong, Weak)` is `Ordering::Strong`; in this build
/// never weakened.
#[cfg(not(any(loom, miri)))]
#[macro_export]
macro_rules! ordering {
    ($name:literal, $strong:ident, $weak:ident) => {
        $crate::sync::Ordering::$strong
    };
}

/// Whether this ordering is to be weakened.
#[cfg(any(loom, miri))]
#[must_use]
pub fn is_chosen(name: &str) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var("TENURE_WEAK").ok()).as_deref() == Some(name)
}
