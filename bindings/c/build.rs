//! Linking of the shared library: its soname, and a flag that keeps it loaded once it is loaded.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // The number is `TENURE_ABI_VERSION`.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libtenure.so.4");
    // A monitor runs code of this library until its member leaves, and threads run some when they end.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
