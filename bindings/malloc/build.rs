//! How the shared library is linked: it stays once it is loaded.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Its blocks are in use, and threads run code of it when they end, also after a dlclose.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
