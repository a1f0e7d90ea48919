//! Every public function of the library has an example in its documentation.

use std::fs;
use std::path::{Path, PathBuf};

/// Files of public types, and those of `__binding` among the functions in them.
const FILES: [(&str, &[&str]); 10] = [
    ("error.rs", &[]),
    ("queue/consumer", &[]),
    ("queue/producer", &[]),
    ("queue/inspect.rs", &[]),
    ("queue/options.rs", &[]),
    ("queue/typed.rs", &[]),
    ("queue/unlink.rs", &[]),
    ("queue/wait_any.rs", &[]),
    ("schema", &["schema_of", "field_of"]),
    ("shm/mod.rs", &[]),
];

fn sources(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = fs::read_dir(path).unwrap();
    let files = entries.flat_map(|entry| sources(&entry.unwrap().path()));
    files.filter(|path| !path.ends_with("tests.rs")).collect()
}

#[test]
fn every_public_function_has_an_example() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut seen, mut missing) = (0, Vec::new());
    for (path, internal) in FILES {
        for file in sources(&src.join(path)) {
            let mut example = false;
            for line in fs::read_to_string(&file).unwrap().lines() {
                let line = line.trim_start();
                let function = ["pub fn ", "pub unsafe fn ", "pub const fn "]
                    .iter()
                    .find_map(|start| line.strip_prefix(start));
                if line.starts_with("///") {
                    example |= line.starts_with("/// ```");
                } else if let Some(function) = function {
                    let name = function.split(['(', '<']).next().unwrap();
                    seen += 1;
                    if !example && !internal.contains(&name) {
                        missing.push(format!("{}: {name}", file.display()));
                    }
                    example = false;
                } else if !line.starts_with("#[") && !line.starts_with("//") {
                    example = false;
                }
            }
        }
    }
    assert!(seen > 80, "only {seen} functions were found");
    assert!(
        missing.is_empty(),
        "without an example:\n{}",
        missing.join("\n")
    );
}
