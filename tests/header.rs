//! The C header and the symbols of the libraries, as a C program sees them when it is built.
#![cfg(feature = "capi")]

use std::process::Command;

const HEADER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/include/ipcq.h");
const GENERATED: &str = concat!(env!("OUT_DIR"), "/ipcq.h");

/// Whether a compiler can be run. Under an emulator, starting a missing program may succeed.
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
        "include/ipcq.h differs from src/ffi: run `make header` and commit it"
    );
}

#[test]
fn the_header_compiles_alone_in_every_dialect() {
    let compilers = [("gcc", "g++"), ("clang", "clang++")];
    let mut tried = 0;
    // The macros for any compiler are valid in every dialect.
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
                .arg("-Wpadded")
                // Twice, to test the include guard.
                .args(["-include", HEADER, "-include", HEADER])
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&done.stderr);
            assert!(done.status.success(), "{compiler} -std={dialect}: {said}");
            tried += 1;
        }
    }
    // At least the compiler that the `cc` crate finds on this machine must work.
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

/// The compiler rejects a member that a record cannot have, and only such a member.
#[test]
fn an_invalid_field_does_not_compile() {
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

/// The header's example, without its comment.
fn example() -> String {
    let text = std::fs::read_to_string(HEADER).unwrap();
    let start = text.find("\n#include <errno.h>\n").unwrap();
    let end = text.find("\n*/\n\n#ifndef IPCQ_H").unwrap();
    text[start + 1..=end].to_owned()
}

/// A reader can copy the example out of the header.
#[test]
fn the_example_compiles() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("ticks.c");
    std::fs::write(&source, example()).unwrap();
    for compiler in ["gcc", "clang"] {
        if !is_there(compiler) {
            println!("{compiler} is missing");
            continue;
        }
        let done = Command::new(compiler)
            .args(["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"])
            .args(["-fsyntax-only", "-Iinclude"])
            .arg(&source)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{compiler}: {said}");
    }
}

/// Name and members of each struct that the header defines.
fn structs() -> Vec<(String, Vec<String>)> {
    let text = std::fs::read_to_string(HEADER).unwrap();
    let mut structs: Vec<(String, Vec<String>)> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        let tag = line.trim_start_matches("typedef ").strip_prefix("struct ");
        if let Some(name) = tag.and_then(|tag| tag.strip_suffix(" {")) {
            inside = name.starts_with("ipcq_");
            if inside {
                structs.push((name.to_owned(), Vec::new()));
            }
        } else if line.starts_with('}') {
            inside = false;
        } else if inside && line.ends_with(';') && !line.trim().starts_with("//") {
            let member = line.trim_end_matches(';').split('[').next().unwrap();
            let member = member.rsplit([' ', '*']).next().unwrap();
            structs.last_mut().unwrap().1.push(member.to_owned());
        }
    }
    structs
}

/// If pointers and `long` have 8 bytes, every byte of a struct belongs to a member, so a program
/// that sets each member sets the whole struct. Each struct has a tag and a name.
#[test]
fn no_struct_has_padding() {
    let structs = structs();
    let names: Vec<_> = structs.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "ipcq_options",
            "ipcq_info",
            "ipcq_view",
            "ipcq_stats",
            "ipcq_consumer",
            "ipcq_field"
        ]
    );
    let mut text = String::from("#include <ipcq.h>\n#ifdef __LP64__\n");
    for (name, members) in &structs {
        assert!(members.len() > 3, "{name}: {members:?}");
        let sizes = members
            .iter()
            .map(|member| format!("sizeof((({name} *)0)->{member})"));
        let sum = sizes.collect::<Vec<_>>().join(" + ");
        text += &format!("_Static_assert({sum} == sizeof({name}), \"{name} has padding\");\n");
        text += &format!("_Static_assert(sizeof(struct {name}) == sizeof({name}), \"tag\");\n");
    }
    text += "#endif\n";
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("padding.c");
    std::fs::write(&source, text).unwrap();
    let done = Command::new("cc")
        .args(["-std=c11", "-fsyntax-only", "-Iinclude"])
        .arg(&source)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
}

/// The macros have the version of Cargo.toml, and are constants for the preprocessor.
#[test]
fn the_version_is_that_of_the_package() {
    let text = format!(
        "#include <ipcq.h>\n#if IPCQ_VERSION_MAJOR != {} || IPCQ_VERSION_MINOR != {} || \
         IPCQ_VERSION_PATCH != {}\n#error version\n#endif\n\
         #if IPCQ_VERSION_NUMBER != IPCQ_VERSION_MAJOR * 10000 + IPCQ_VERSION_MINOR * 100 + \
         IPCQ_VERSION_PATCH\n#error number\n#endif\n",
        env!("CARGO_PKG_VERSION_MAJOR"),
        env!("CARGO_PKG_VERSION_MINOR"),
        env!("CARGO_PKG_VERSION_PATCH")
    );
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("version.c");
    std::fs::write(&source, text).unwrap();
    let done = Command::new("cc")
        .args(["-E", "-Iinclude"])
        .arg(&source)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
}

/// A program that ignores the result of an open, push or pop gets a warning. A program that ignores
/// the result of a close or detach does not.
#[test]
fn an_ignored_result_is_a_warning() {
    let text = "#include <ipcq.h>\nvoid f(ipcq_queue *q, void *p) { (void)p; CALL; }\n";
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("ignored.c");
    for compiler in ["gcc", "clang"] {
        if !is_there(compiler) {
            println!("{compiler} is missing");
            continue;
        }
        for (call, warns) in [
            ("ipcq_open(&q, \"x\", IPCQ_CONSUMER, 0)", true),
            ("ipcq_push(q, p, 1)", true),
            ("ipcq_push_wait(q, p, 1, 0)", true),
            ("ipcq_pop(q, p, 1, 0)", true),
            ("ipcq_pop_wait(q, p, 1, 0, 0)", true),
            ("ipcq_release(q, p)", true),
            ("ipcq_detach(q)", false),
            ("ipcq_abort(q)", false),
            ("ipcq_wait(q, 0)", false),
        ] {
            std::fs::write(&source, text.replace("CALL", call)).unwrap();
            let done = Command::new(compiler)
                .args(["-Wall", "-Werror", "-S", "-o", "/dev/null", "-Iinclude"])
                .arg(&source)
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .output()
                .unwrap();
            assert_eq!(done.status.success(), !warns, "{compiler}: {call}");
        }
    }
}

/// The header is short enough to be read at once. The details are in docs/.
#[test]
fn the_header_has_few_words() {
    let text = std::fs::read_to_string(HEADER).unwrap();
    let is_word = |token: &&str| token.contains(char::is_alphanumeric);
    let words = text.split_whitespace().filter(is_word).count();
    assert!(words <= 2550, "{words}");
    for line in text.lines() {
        assert!(line.len() <= 100, "{line}");
    }
}

/// Bindings of other languages read the preprocessed header. The constants are still in it.
#[test]
fn constants_survive_the_preprocessor() {
    let done = Command::new("cc")
        .args(["-E", "-P", "-xc", HEADER])
        .output()
        .unwrap();
    assert!(done.status.success());
    let text = String::from_utf8(done.stdout).unwrap();
    let mut constants = 0;
    for source in [
        include_str!("../src/ffi/open.rs"),
        include_str!("../src/ffi/inspect.rs"),
    ] {
        for line in source.lines() {
            let Some(rest) = line.strip_prefix("pub const ") else {
                continue;
            };
            let (name, rest) = rest.split_once(':').unwrap();
            let value = rest.split_once("= ").unwrap().1.trim_end_matches(';');
            assert!(text.contains(&format!("{name} = {value}")), "{line}");
            constants += 1;
        }
    }
    assert!(constants > 10);
}

/// The C++ header compiles without a warning in every dialect, together with every use of it in its
/// test.
#[test]
fn the_cpp_header_compiles_in_every_dialect() {
    for compiler in ["g++", "clang++"] {
        if !is_there(compiler) {
            println!("{compiler} is missing");
            continue;
        }
        for dialect in ["c++17", "c++20", "c++2b"] {
            let done = Command::new(compiler)
                .args([&format!("-std={dialect}"), "-fsyntax-only", "-Iinclude"])
                .args(["-Wall", "-Wextra", "-Wpedantic", "-Werror"])
                .args(["-Wconversion", "-Wshadow"])
                // Twice, to test the include guard.
                .args(["-include", "ipcq.hpp", "-include", "ipcq.hpp"])
                .arg("tests/c/test_hpp.cpp")
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&done.stderr);
            assert!(done.status.success(), "{compiler} -std={dialect}: {said}");
        }
    }
}

/// The C++ compiler finds mistakes that would otherwise occur at run time, and its error gives the
/// reason. An empty reason means that the code must compile.
#[test]
fn mistakes_in_cpp_do_not_compile() {
    const COPIED: &str = "a message is copied as bytes";
    const POINTER: &str = "a pointer means nothing to another process";
    const ALIGNED: &str = "aligns messages to 8 bytes";
    let text = "struct plain { double x; const int y = 1; };\n\
                struct alignas(16) wide { float f[8]; };\nstruct quad { long double x; };\n\
                template <class T> void f(ipcq::producer<T> &out, ipcq::consumer<T> &in, \
                const ipcq::consumer<T> &seen, ipcq::byte_producer &raw, ipcq::byte_consumer &bytes, \
                ipcq::bytes_view &view, ipcq::producer_options &po, ipcq::consumer_options &co) {\n\
                (void)out; (void)in; (void)seen; (void)raw; (void)bytes; (void)view; (void)po; \
                (void)co; USE }\n\
                void (*const use)(ipcq::producer<TYPE> &, ipcq::consumer<TYPE> &, \
                const ipcq::consumer<TYPE> &, ipcq::byte_producer &, ipcq::byte_consumer &, \
                ipcq::bytes_view &, ipcq::producer_options &, ipcq::consumer_options &) = &f<TYPE>;\n";
    let copies =
        "out.push(in.pop()->value); std::vector<T> v(2); out.push_many(v); in.pop_many(v); \
                  for (auto &m : in) out.push(m.value);";
    let in_place = [
        "out.claim();",
        "(void)raw.claim<T>();",
        "(void)view.as<T>();",
        "in.peek([](auto &, auto &) {});",
    ];
    let open = "ipcq::producer<T> a(std::string(\"x\"));";
    let receive = "ipcq::consumer<T> b(std::string(\"x\"));";
    let inspect =
        "(void)seen.stats(); (void)seen.consumers(); (void)seen.schema(); (void)seen.get();";
    let bytes = "raw.push(std::vector<T>(1)); raw.push(\"text\"); T one[1]; raw.push(one);";
    let enums = "co.start = ipcq::start::next; po.delivery = ipcq::delivery::lossless;";
    let times = "co.open_timeout = std::chrono::seconds(-1); co.open_timeout = std::nullopt;";
    let good = [copies, open, receive, inspect, bytes, enums, times].concat();
    let all = [good.as_str(), &in_place.concat()].concat();
    let mut tries = vec![("plain", all.as_str(), ""), ("wide", &good, "")];
    tries.extend(in_place.map(|place| ("wide", place, ALIGNED)));
    tries.push(("quad", in_place[0], ALIGNED));
    for (name, reason) in [
        ("int *", POINTER),
        ("void (*)()", POINTER),
        ("int plain::*", POINTER),
        ("std::nullptr_t", POINTER),
        ("std::string_view", POINTER),
        ("ipcq::bytes_view", POINTER),
        ("std::reference_wrapper<int>", POINTER),
        ("std::array<int *, 2>", POINTER),
        ("std::array<std::string_view, 2>", POINTER),
        ("std::optional<const char *>", POINTER),
        ("std::string", COPIED),
        ("std::vector<int>", COPIED),
        ("std::unique_ptr<int>", COPIED),
    ] {
        tries.push((name, open, reason));
    }
    tries.push(("std::span<int>", open, POINTER));
    tries.push(("std::string_view", receive, POINTER));
    tries.push(("int *", "(void)view.as<T>();", POINTER));
    // The reasons below come from the compilers.
    let rest = [
        ("int *", "raw.push(std::vector<T>(1));"),
        ("int *", "raw.push_many(std::vector<T>(1));"),
        ("int *", "bytes.pop_many(std::vector<T>(1));"),
        ("std::string_view", "raw.push(std::vector<T>(1));"),
        ("std::string", "raw.push(std::vector<T>(1));"),
        ("plain", "raw.push(T());"),
        ("plain", "raw.push(nullptr);"),
        ("plain", "raw.push(0);"),
        ("plain", "out.push_many(std::vector<int>(1));"),
        ("plain", "in.pop_many(std::vector<int>(1));"),
        ("plain", "const std::vector<T> v(1); in.pop_many(v);"),
        ("int", "const std::vector<T> v(1); bytes.pop_many(v);"),
        ("plain", "co.start = IPCQ_NEXT;"),
        ("plain", "co.start = 1;"),
        ("plain", "co.start = ipcq::delivery::lossy;"),
        ("plain", "po.delivery = IPCQ_LOSSLESS;"),
        ("plain", "po.start = ipcq::start::next;"),
        ("plain", "co.capacity = 1;"),
        ("plain", "co.open_timeout = 1000;"),
        ("plain", "in.pop_wait(1000);"),
        ("plain", "auto seen_twice = seen;"),
        ("plain", "seen.pop();"),
        ("plain", "for (auto &m : seen) (void)m;"),
    ];
    tries.extend(rest.map(|(name, r#use)| (name, r#use, "error:")));
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source.cpp");
    std::fs::write(
        dir.path().join("all.hpp"),
        "#include <ipcq.hpp>\n#include <string>\n#include <string_view>\n#include <vector>\n",
    )
    .unwrap();
    let include = concat!("-I", env!("CARGO_MANIFEST_DIR"), "/include");
    for compiler in ["g++", "clang++"] {
        if !is_there(compiler) {
            println!("{compiler} is missing");
            continue;
        }
        // The header is precompiled once for all attempts.
        let precompiled = Command::new(compiler)
            .args(["-std=c++17", "-xc++-header", include, "all.hpp"])
            .args(["-o", "all.hpp.gch"])
            .current_dir(dir.path())
            .status();
        assert!(precompiled.unwrap().success());
        for (name, r#use, error) in &tries {
            let text = text.replace("USE", r#use).replace("TYPE", name);
            let mut command = Command::new(compiler);
            if name.contains("span") {
                std::fs::write(&source, format!("#include <ipcq.hpp>\n{text}")).unwrap();
                command.arg("-std=c++20");
            } else {
                std::fs::write(&source, text).unwrap();
                command.args(["-std=c++17", "-include", "all.hpp"]);
            }
            let done = command
                .args([include, "-fsyntax-only", "source.cpp"])
                .current_dir(dir.path())
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

/// The header explains each function and each struct.
#[test]
fn every_function_is_documented() {
    let text = std::fs::read_to_string(HEADER).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let mut functions = 0;
    for (i, line) in lines.iter().enumerate() {
        let is_struct = line.contains("struct ipcq_") && line.ends_with('{');
        let is_function = line.starts_with("IPCQ_API ") || line.starts_with("IPCQ_CHECKED ");
        if is_function || is_struct {
            assert!(lines[i - 1].starts_with("//"), "{line}");
            functions += usize::from(is_function);
        }
    }
    let symbols = include_str!("c/symbols.txt").lines().count();
    assert_eq!(functions, symbols);
}

/// The output of a tool of the binutils, which every C compiler needs, for the shared library that
/// cargo has built with this test.
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
fn the_library_has_a_soname_and_cannot_be_unloaded() {
    let said = output("readelf", &["--dynamic", "--wide"]);
    assert!(said.contains("[libipcq.so.0.1]"), "{said}");
    assert!(!said.contains("TEXTREL"), "{said}");
    // `dlclose` must not unload the library, because its thread and its fork handlers may be in
    // use.
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
