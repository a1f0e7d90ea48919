//! No module of the library uses one above it, and no two use each other. CONTRIBUTING.md shows the
//! layers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The folders and files directly in `src`, lowest first. Each uses only those before it.
const LAYERS: [&str; 13] = [
    "error",
    "log",
    "steps",
    "os",
    "format",
    "copy",
    "wakeup",
    "ring",
    "schema",
    "shm",
    "queue",
    "__binding",
    "ffi",
];

/// A module by its names, from the root of the crate; the root has none.
type Module = Vec<String>;

/// The source of every module, without comments.
struct Sources(BTreeMap<Module, String>);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Sources {
    fn read() -> Sources {
        let mut sources = Sources(BTreeMap::new());
        sources.add(&root().join("src"), &Vec::new());
        sources
    }

    fn add(&mut self, folder: &Path, parent: &Module) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            let mut module = parent.clone();
            if !["mod", "lib"].contains(&name) {
                module.push(name.to_owned());
            }
            if path.is_dir() {
                self.add(&path, &module);
            } else if path.extension().is_some_and(|e| e == "rs") {
                self.0
                    .insert(module, code(&fs::read_to_string(&path).unwrap()));
            }
        }
    }

    /// The paths that a module uses, and the name of each in that module. They are paths from the
    /// root, and paths into the modules inside it.
    fn paths(&self, module: &Module) -> Vec<(Vec<String>, String)> {
        let text = &self.0[module];
        let mut found = Vec::new();
        for (start, _) in text.match_indices("crate::") {
            if is_start(text, start) {
                expand(&text[start + "crate::".len()..], &[], &mut found);
            }
        }
        for (start, _) in text.match_indices("super::") {
            if is_start(text, start) {
                let above = &module[..module.len().saturating_sub(1)];
                expand(&text[start + "super::".len()..], above, &mut found);
            }
        }
        for (start, _) in text.match_indices("use ") {
            let rest = &text[start + "use ".len()..];
            let mut inside = module.clone();
            inside.push(word(rest).to_owned());
            if is_start(text, start) && self.0.contains_key(&inside) {
                expand(rest, module, &mut found);
            }
        }
        found
    }

    /// The module that a path leads to, also through re-exports.
    fn resolve(&self, path: &[String], depth: usize) -> Module {
        assert!(depth < 10, "{path:?} goes in circles");
        let mut module = Vec::new();
        for name in path {
            let mut inside = module.clone();
            inside.push(name.clone());
            if self.0.contains_key(&inside) {
                module = inside;
                continue;
            }
            let given = self.paths(&module).into_iter();
            let mut given = given.filter(|(path, known)| known == name && path[..] != inside[..]);
            return match given.next() {
                Some((path, _)) => self.resolve(&path, depth + 1),
                None => module,
            };
        }
        module
    }

    /// Which modules use which others.
    fn uses(&self) -> Vec<(Module, Module)> {
        let mut uses = BTreeSet::new();
        for module in self.0.keys() {
            for (path, _) in self.paths(module) {
                uses.insert((module.clone(), self.resolve(&path, 0)));
            }
        }
        uses.into_iter().collect()
    }
}

/// The lines that are not comments, up to the tests.
fn code(source: &str) -> String {
    let source = source.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = source.lines().filter(|l| !l.trim().starts_with("//"));
    lines.fold(String::new(), |text, line| text + line + "\n")
}

/// Whether a path begins here. A path in a macro does not count, because it belongs to the caller.
fn is_start(text: &str, at: usize) -> bool {
    let before = text[..at].chars().next_back();
    !before.is_some_and(|c| c.is_alphanumeric() || "_$:".contains(c))
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

/// Expands `a::{b, c::d as e}`: returns each path and its local name in `into`, and the remaining
/// text.
fn expand<'a>(text: &'a str, before: &[String], into: &mut Vec<(Vec<String>, String)>) -> &'a str {
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start_matches(|c: char| c == ',' || c.is_whitespace());
            if let Some(rest) = rest.strip_prefix('}') {
                return rest;
            }
            rest = expand(rest, before, into);
        }
    }
    let name = match text.strip_prefix('*') {
        Some(_) => "*",
        None => word(text),
    };
    assert!(!name.is_empty(), "no name: {}", &text[..text.len().min(80)]);
    let rest = &text[name.len()..];
    let mut path = before.to_vec();
    if !["self", "*"].contains(&name) {
        path.push(name.to_owned());
    }
    match rest.strip_prefix("::") {
        Some(more) if more.starts_with(|c: char| c.is_alphabetic() || "_{*".contains(c)) => {
            expand(more, &path, into)
        }
        _ => {
            let known = rest.trim_start().strip_prefix("as ").map(word);
            let known = known.or(path.last().map(String::as_str)).unwrap_or("");
            into.push((path.clone(), known.to_owned()));
            match rest.trim_start().strip_prefix("as ") {
                Some(more) => &more[word(more).len()..],
                None => rest,
            }
        }
    }
}

#[test]
fn no_module_uses_one_above_it() {
    let layer = |name: &String| {
        let found = LAYERS.iter().position(|layer| layer == name);
        found.unwrap_or_else(|| panic!("{name} is in no layer"))
    };
    let mut seen = BTreeSet::new();
    for (module, used) in Sources::read().uses() {
        let (Some(upper), Some(lower)) = (module.first(), used.first()) else {
            continue;
        };
        seen.extend([upper.clone(), lower.clone()]);
        assert!(
            layer(upper) >= layer(lower),
            "{} uses {}, which is above it",
            module.join("::"),
            used.join("::")
        );
    }
    assert!(LAYERS.iter().filter(|l| seen.contains(**l)).count() > 9);
}

/// The rule also holds for the modules of one folder. A module and the modules inside it count as
/// one.
#[test]
fn no_modules_use_each_other() {
    let mut folders = BTreeMap::<Module, BTreeMap<String, BTreeSet<String>>>::new();
    for (module, used) in Sources::read().uses() {
        let common = module.iter().zip(&used).take_while(|(a, b)| a == b).count();
        if let (Some(upper), Some(lower)) = (module.get(common), used.get(common)) {
            let folder = folders.entry(module[..common].to_vec()).or_default();
            folder
                .entry(upper.clone())
                .or_default()
                .insert(lower.clone());
        }
    }
    assert!(folders.len() > 6);
    for (folder, mut uses) in folders {
        // A module that uses none of the others is not part of a circle.
        loop {
            let left: BTreeSet<String> = uses.keys().cloned().collect();
            uses.values_mut()
                .for_each(|used| used.retain(|u| left.contains(u)));
            uses.retain(|_, used| !used.is_empty());
            if uses.len() == left.len() {
                break;
            }
        }
        assert!(uses.is_empty(), "circles in {folder:?}: {uses:?}");
    }
}

#[test]
fn contributing_shows_the_layers() {
    let page = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let layers = LAYERS.join(" < ");
    assert!(page.contains(&layers), "CONTRIBUTING.md lacks: {layers}");
}
