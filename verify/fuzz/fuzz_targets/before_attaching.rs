//! See `hostile::before_attaching`.
#![no_main]

#[path = "../../../tenure/tests/hostile/mod.rs"]
mod hostile;

libfuzzer_sys::fuzz_target!(|input: &[u8]| hostile::before_attaching(input));
