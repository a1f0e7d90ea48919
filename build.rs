//! Generates the C header into `OUT_DIR`, and names the shared library.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=cbindgen.toml");
    println!("cargo:rerun-if-changed=src/ffi");
    #[cfg(feature = "capi")]
    capi();
}

#[cfg(feature = "capi")]
fn capi() {
    use std::{env, path::Path};
    let var = |name| env::var(name).expect("set by cargo");
    // For the tests, which ask `cc` for the compiler.
    println!("cargo:rustc-env=IPCQ_TARGET={}", var("TARGET"));
    // The ABI is stable within a minor version while the major one is 0.
    let soname = format!(
        "libipcq.so.{}.{}",
        var("CARGO_PKG_VERSION_MAJOR"),
        var("CARGO_PKG_VERSION_MINOR")
    );
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,{soname}");

    let root = var("CARGO_MANIFEST_DIR");
    let config = cbindgen::Config::from_file(Path::new(&root).join("cbindgen.toml"));
    let mut builder = cbindgen::Builder::new().with_config(config.expect("cbindgen.toml is valid"));
    // In the order in which the header is read: the simple part first.
    for part in [
        "types", "open", "produce", "consume", "wait", "state", "shm",
    ] {
        builder = builder.with_src(format!("src/ffi/{part}.rs"));
    }
    builder
        .generate()
        .expect("src/ffi has only what C can express")
        .write_to_file(Path::new(&var("OUT_DIR")).join("ipcq.h"));
}
