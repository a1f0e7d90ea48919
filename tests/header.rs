//! The C header and the symbols of the libraries: what a C program sees before it runs.
#![cfg(feature = "capi")]

use std::process::Command;

const HEADER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/include/ipcq.h");
const GENERATED: &str = concat!(env!("OUT_DIR"), "/ipcq.h");

/// Whether a compiler can be run. (Under an emulator, starting what is not there may succeed.)
fn is_there(compiler: &str) -> bool {
    let done = Command::new(compiler).arg("--version").output();
    done.is_ok_and(|done| done.status.success())
}

#[test]
fn the_header_is_the_generated_one() {
    let generated = std::fs::read_to_string(GENERATED).unwrap();
    if std::env::var_os("IPCQ_UPDATE_HEADER").is_some() {
        std::fs::write(HEADER, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(HEADER).unwrap();
    assert!(
        committed == generated,
        "include/ipcq.h is not what src/ffi says: run `make header` and commit it"
    );
}

#[test]
fn the_header_compiles_alone_in_every_dialect() {
    let compilers = [("gcc", "g++"), ("clang", "clang++")];
    let mut tried = 0;
    // And what it says of any compiler holds of its macros.
    let dir = tempfile::tempdir().unwrap();
    let fields = dir.path().join("fields");
    let text =
        "struct s { char c, more[7]; double d[2]; int64_t t; };\nextern const ipcq_field f[];\n\
                const ipcq_field f[] = {IPCQ_FIELD_AS(struct s, c, 'S', char), \
                IPCQ_FIELD_AS(struct s, d, 'f', double), \
                IPCQ_FIELD_TIME(struct s, t, 'M', \"ns\")};\n\
                extern const ipcq_options o;\nconst ipcq_options o = IPCQ_OPTIONS_INIT;\n\
                extern const ipcq_stats t;\nconst ipcq_stats t = IPCQ_STATS_INIT;\n";
    std::fs::write(&fields, text).unwrap();
    for (cc, cxx) in compilers {
        for (compiler, dialect, language) in [
            (cc, "c99", "c"),
            (cc, "c11", "c"),
            (cxx, "c++11", "c++"),
            (cxx, "c++17", "c++"),
        ] {
            if !is_there(compiler) {
                println!("{compiler} is missing, {dialect} is skipped");
                continue;
            }
            let done = Command::new(compiler)
                .args([&format!("-std={dialect}"), "-x", language])
                .args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"])
                .arg(&fields)
                // No struct has bytes that no member names.
                .arg("-Wpadded")
                // Twice: the guard must hold.
                .args(["-include", HEADER, "-include", HEADER])
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&done.stderr);
            assert!(done.status.success(), "{compiler} -std={dialect}: {said}");
            tried += 1;
        }
    }
    // Whatever `cc` finds as the compiler of this machine, at least.
    let compiler = cc::Build::new()
        .target(env!("IPCQ_TARGET"))
        .host(env!("IPCQ_TARGET"))
        .opt_level(0)
        .cargo_metadata(false)
        .get_compiler();
    let done = compiler
        .to_command()
        .args([
            "-x",
            "c",
            "-std=c99",
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Werror",
        ])
        .args(["-fsyntax-only", HEADER])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success(),
        "{}: {said}",
        compiler.path().display()
    );
    println!("{tried} dialects compiled");
}

/// A member that a record cannot have is found by the compiler, and one that it can have is not.
#[test]
fn what_is_no_field_does_not_compile() {
    let c = "#include <ipcq.h>\nstruct s { int good, bad[2][3], bits : 3; int *pointer; \
             struct { int x; } record, records[2]; char texts[2][4]; void (*function)(void); \
             double _Complex complex; const int constant; };\n\
             const ipcq_field f[] = {IPCQ_FIELD(struct s, MEMBER)};\n";
    let cpp =
        "#include <ipcq.hpp>\nstruct s { int good, bad[2][3]; unsigned bits : 3; int *pointer; \
               struct { int x; } record, records[2]; void (*function)(); };\n\
               const ipcq_field f[] = {IPCQ_FIELD(s, MEMBER)};\n";
    let declared = "#include <ipcq.hpp>\nstruct s { int good, bad[2][3]; int *pointer; \
                    struct { int x; } record, records[2]; };\nIPCQ_RECORD(s, MEMBER)\n\
                    void f(const char *name) { ipcq::producer<s> out(name); }\n";
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    for (compiler, arguments, text, wrong) in [
        (
            "gcc",
            ["-std=c11", "-xc"],
            c,
            "bad bits pointer record records texts function complex",
        ),
        (
            "clang",
            ["-std=c11", "-xc"],
            c,
            "bad bits pointer record records texts function complex",
        ),
        (
            "g++",
            ["-std=c++17", "-xc++"],
            cpp,
            "bad bits pointer record records function",
        ),
        (
            "clang++",
            ["-std=c++17", "-xc++"],
            cpp,
            "bad bits pointer record records function",
        ),
        (
            "g++",
            ["-std=c++17", "-xc++"],
            declared,
            "pointer record records",
        ),
        (
            "clang++",
            ["-std=c++17", "-xc++"],
            declared,
            "pointer record records",
        ),
    ] {
        if !is_there(compiler) {
            println!("{compiler} is missing");
            continue;
        }
        let compiles = |member: &str| {
            std::fs::write(&source, text.replace("MEMBER", member)).unwrap();
            let done = Command::new(compiler)
                .args(arguments)
                .args(["-fsyntax-only", "-Iinclude"])
                .arg(&source)
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            (done.status.success(), said)
        };
        let (good, said) = compiles("good");
        assert!(good, "{compiler}: {said}");
        for member in wrong.split(' ') {
            assert!(!compiles(member).0, "{compiler} {arguments:?}: {member}");
        }
    }
}

/// What reads the header after the preprocessor (bindings of other languages do) still finds them.
#[test]
fn constants_outlive_the_preprocessor() {
    let done = Command::new("cc")
        .args(["-E", "-P", "-xc", HEADER])
        .output()
        .unwrap();
    assert!(done.status.success());
    let text = String::from_utf8(done.stdout).unwrap();
    let types = include_str!("../src/ffi/types.rs");
    let mut constants = 0;
    for line in types.lines() {
        let Some(rest) = line.strip_prefix("pub const ") else {
            continue;
        };
        let (name, rest) = rest.split_once(':').unwrap();
        let value = rest.split_once("= ").unwrap().1.trim_end_matches(';');
        assert!(text.contains(&format!("{name} = {value}")), "{line}");
        constants += 1;
    }
    assert!(constants > 10);
}

/// A type that the ring cannot hold in place, or not at all, is found by the compiler, which says why.
#[test]
fn what_is_no_message_does_not_compile() {
    let text = "#include <ipcq.hpp>\n#include <string>\nstruct plain { double x; };\n\
                struct alignas(16) wide { float f[8]; };\nstruct quad { long double x; };\n\
                using pointer = int *;\nusing text = std::string;\nvoid f(ipcq::producer<TYPE> &out, \
                ipcq::consumer<TYPE> &in, ipcq::byte_producer &raw, ipcq::bytes_view &view) { USE }\n";
    let copies = "out.push(in.pop()->value);";
    let in_place = [
        "out.claim();",
        "raw.claim<TYPE>();",
        "(void)view.as<TYPE>();",
        "in.peek([](auto &, auto, auto) {});",
    ];
    let open = "ipcq::producer<TYPE> x(std::string(\"x\"));";
    let all = [&[copies, open], &in_place[..]].concat().concat();
    let aligned = "aligns messages to 8 bytes";
    let mut tries = vec![("plain", all.as_str(), ""), ("wide", copies, "")];
    tries.extend(in_place.map(|place| ("wide", place, aligned)));
    tries.push(("quad", in_place[0], aligned));
    tries.push((
        "pointer",
        open,
        "a pointer means nothing to another process",
    ));
    tries.push(("text", open, "a message is copied as bytes"));
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    for compiler in ["g++", "clang++"] {
        if !is_there(compiler) {
            println!("{compiler} is missing");
            continue;
        }
        for (name, r#use, error) in &tries {
            let text = text.replace("USE", r#use).replace("TYPE", name);
            std::fs::write(&source, text).unwrap();
            let done = Command::new(compiler)
                .args(["-std=c++17", "-xc++", "-fsyntax-only", "-Iinclude"])
                .arg(&source)
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&done.stderr);
            let good = error.is_empty();
            assert_eq!(
                done.status.success(),
                good,
                "{compiler} {name} {}: {said}",
                r#use
            );
            assert!(said.contains(error), "{compiler} {name} {}: {said}", r#use);
        }
    }
}

/// Without a comment, C needs nothing else: the header explains itself.
#[test]
fn every_function_is_documented() {
    let text = std::fs::read_to_string(HEADER).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let mut functions = 0;
    for (i, line) in lines.iter().enumerate() {
        let is_function = line.contains("ipcq_") && line.contains('(') && !line.starts_with("//");
        if is_function && line.ends_with(';') {
            assert!(lines[i - 1].starts_with("//"), "{line}");
            functions += 1;
        }
    }
    let symbols = include_str!("c/symbols.txt").lines().count();
    assert_eq!(functions, symbols);
}

/// What a tool of the binutils, which every C compiler brings, says of the shared library that cargo
/// has built with this test.
fn output(tool: &str, arguments: &[&str]) -> String {
    let test = std::env::current_exe().unwrap();
    let library = test.parent().unwrap().join("libipcq.so");
    let done = Command::new(tool)
        .args(arguments)
        .arg(&library)
        .output()
        .unwrap();
    assert!(done.status.success(), "{tool} {}", library.display());
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn the_library_has_its_name_and_stays_where_it_is() {
    let said = output("readelf", &["--dynamic", "--wide"]);
    assert!(said.contains("[libipcq.so.0.1]"), "{said}");
    assert!(!said.contains("TEXTREL"), "{said}");
    // A dlclose leaves it, for its thread and its fork handlers may be there.
    assert!(said.contains("NODELETE"), "{said}");
}

#[test]
fn exactly_the_promised_symbols_are_exported() {
    let said = output("nm", &["-D", "--defined-only"]);
    let mut exported: Vec<_> = said
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2))
        .collect();
    exported.sort_unstable();
    let promised: Vec<_> = include_str!("c/symbols.txt").lines().collect();
    assert_eq!(exported, promised);
}
