//! Proof by doing: a member is killed, and stopped, after every single instruction of every operation, and every time
//! the others finish, recover, and find nothing lost, leaked or changed.
//!
//! `cargo proof` runs it all; docs/proof.md has the method and the figures.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod actor;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod apart;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod board;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod case;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod cases;
#[cfg(all(target_os = "linux", target_arch = "x86_64", feature = "faults"))]
mod faults;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod pair;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod peer;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod point;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod pool;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod proof;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod stretch;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod suite;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod survivor;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod sys;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod target;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod things;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod track;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn main() -> std::process::ExitCode {
    proof::main()
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn main() {
    println!("SKIPPED: single-stepping is written for Linux on x86-64");
}
