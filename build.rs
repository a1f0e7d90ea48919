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
    // A thread of the library, its fork handlers and its destructors of thread-local values may run
    // after a `dlclose`: so it stays.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");

    let root = var("CARGO_MANIFEST_DIR");
    let config = cbindgen::Config::from_file(Path::new(&root).join("cbindgen.toml"));
    let mut builder = cbindgen::Builder::new().with_config(config.expect("cbindgen.toml is valid"));
    // In the order in which the header is read: the simple part first.
    for part in [
        "types", "open", "produce", "consume", "wait", "state", "shm",
    ] {
        builder = builder.with_src(format!("src/ffi/{part}.rs"));
    }
    let mut header = Vec::new();
    let bindings = builder.generate();
    bindings
        .expect("src/ffi has only what C can express")
        .write(&mut header);
    let header = String::from_utf8(header).expect("the sources are UTF-8");
    let path = Path::new(&var("OUT_DIR")).join("ipcq.h");
    std::fs::write(path, with_enumerators(&header)).expect("OUT_DIR is writable");
}

/// The constants as enumerators of one enum. Macros, as cbindgen writes them, are lost to whatever reads
/// the header after the preprocessor, and to debuggers.
#[cfg(feature = "capi")]
fn with_enumerators(header: &str) -> String {
    let is_constant = |line: &str| {
        let value = line
            .strip_prefix("#define IPCQ_")
            .and_then(|rest| rest.split_once(' '));
        value.is_some_and(|(_, value)| value.parse::<u32>().is_ok())
    };
    let lines: Vec<&str> = header.lines().collect();
    let constant = |&i: &usize| is_constant(lines[i]);
    let first = (0..lines.len()).find(constant).expect("constants");
    let last = (0..lines.len()).rfind(constant).expect("constants");
    // With the comment on the first one.
    let comment = |line: &&&str| line.starts_with("//");
    let start = first - lines[..first].iter().rev().take_while(comment).count();
    let mut text = String::new();
    for (i, line) in lines.iter().enumerate() {
        if i == start {
            text += "enum {\n";
        }
        if !(start..=last).contains(&i) {
            text += line;
        } else if is_constant(line) {
            text += &line.replacen("#define", " ", 1);
            text.insert_str(text.rfind(' ').expect("a value"), " =");
            text.push(',');
        } else if !line.is_empty() {
            text = text + "  " + line;
        }
        text.push('\n');
        if i == last {
            text += "};\n";
        }
    }
    text
}
