//! See `hostile::while_members_work`.
#![no_main]

#[path = "../../../tenure/tests/hostile/mod.rs"]
mod hostile;

libfuzzer_sys::fuzz_target!(|input: &[u8]| hostile::while_members_work(input));
