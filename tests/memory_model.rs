//! `docs/memory-model.md` lists every ordering, its place, and the tests that fail without it.
//! These tests compare the page with the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The lines that are not comments.
fn code(source: &str) -> impl Iterator<Item = &str> {
    source
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("//"))
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

/// The files of the protocol, without its tests and without the memory below it, by their names on
/// the page. The name of a file in a folder is that of the folder.
fn ring() -> Vec<(String, String)> {
    let below = ["memory.rs", "mapping.rs", "stepped.rs", "plain.rs"];
    let mut paths = Vec::new();
    sources("src/ring", &mut paths);
    let mut files: Vec<_> = paths
        .iter()
        .map(|path| (path, path.strip_prefix("src/ring").unwrap()))
        .filter(|(_, inside)| !inside.starts_with("tests"))
        .filter(|(_, inside)| !below.iter().any(|name| inside.ends_with(name)))
        .map(|(path, inside)| {
            let first = inside.iter().next().unwrap().to_str().unwrap();
            let name = match first.strip_suffix(".rs") {
                Some("mod") => "ring",
                Some(stem) => stem,
                None => first,
            };
            (name.to_owned(), text(path.to_str().unwrap()))
        })
        .collect();
    files.sort();
    files
}

/// The variants of an enum of `src/ring/memory.rs`.
fn variants(name: &str) -> BTreeSet<String> {
    let source = text("src/ring/memory.rs");
    let start = format!("pub enum {name} {{");
    let (_, after) = source.split_once(&start).unwrap();
    let (body, _) = after.split_once("\n}").unwrap();
    code(body)
        .filter(|line| !line.is_empty())
        .map(|line| word(line).to_owned())
        .collect()
}

/// The variants of `Site`, which have an order, and of `Step`, which have none.
fn sites() -> BTreeSet<String> {
    let (mut sites, steps) = (variants("Site"), variants("Step"));
    sites.extend(steps);
    sites
}

/// The order of each `Site`, by `Site::order`.
fn orders() -> BTreeMap<String, String> {
    let source = text("src/ring/memory.rs");
    let (_, after) = source.split_once("pub const fn order").unwrap();
    let (body, _) = after.split_once("\n    }").unwrap();
    assert!(!body.contains("_ =>"), "an order by default");
    let mut orders = BTreeMap::new();
    let mut pending = Vec::new();
    for line in code(body) {
        let named = line.split("Site::").skip(1).map(|s| word(s).to_owned());
        pending.extend(named);
        if let Some((_, order)) = line.split_once("Ordering::") {
            let order = word(order).to_owned();
            orders.extend(pending.drain(..).map(|site| (site, order.clone())));
        }
    }
    orders
}

/// Of each site or step, the functions of the protocol that use it.
fn uses() -> BTreeMap<String, BTreeSet<String>> {
    let mut uses = BTreeMap::<_, BTreeSet<_>>::new();
    for (file, source) in ring() {
        let mut function = "";
        for line in code(&source) {
            if let Some((_, after)) = line.split_once("fn ") {
                function = word(after);
            }
            let named = line.split("Site::").skip(1);
            for after in named.chain(line.split("Step::").skip(1)) {
                uses.entry(word(after).to_owned())
                    .or_default()
                    .insert(format!("{file}::{function}"));
            }
        }
    }
    uses
}

/// The mutation tests of each site and step. Those that leave out something else have the key ``.
fn mutations() -> BTreeMap<String, BTreeSet<String>> {
    let sites = sites();
    let mut mutations = BTreeMap::<_, BTreeSet<_>>::new();
    for entry in fs::read_dir(root().join("src/ring/tests/loom")).unwrap() {
        let path = entry.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap();
        if module == "mod" {
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        for line in code(&source) {
            let (name, site) = match (line.split_once(": "), line.strip_prefix("fn ")) {
                // In a `mutations!`: `name: the model, Site::Name => the violation;`
                (Some((name, rest)), _) if name == word(name) && rest.ends_with(';') => {
                    let last = rest.rsplit(", ").next().unwrap();
                    let site = word(last.rsplit("::").next().unwrap());
                    (name, if sites.contains(site) { site } else { "" })
                }
                (_, Some(after)) => (word(after), ""),
                _ => continue,
            };
            if !name.contains("without_") {
                continue;
            }
            mutations
                .entry(site.to_owned())
                .or_default()
                .insert(format!("{module}::{name}"));
        }
    }
    mutations
}

/// The cells of the first table, by site.
fn table() -> BTreeMap<String, Vec<String>> {
    let page = text("docs/memory-model.md");
    let (page, _) = page.split_once("\n## ").unwrap();
    page.lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<_> = line.split('|').map(|cell| cell.trim().to_owned()).collect();
            (cells[1].trim_matches('`').to_owned(), cells[2..].to_vec())
        })
        .collect()
}

/// The paths between backticks, with `{a,b}` expanded.
fn paths(cell: &str) -> BTreeSet<String> {
    let quoted = cell.split('`').skip(1).step_by(2);
    let paths = quoted.filter(|name| name.contains("::"));
    paths
        .flat_map(|path| match path.split_once('{') {
            None => vec![path.to_owned()],
            Some((before, rest)) => {
                let (choices, after) = rest.split_once('}').unwrap();
                let choices = choices.split(',');
                choices.map(|c| format!("{before}{c}{after}")).collect()
            }
        })
        .collect()
}

#[test]
fn every_site_has_a_line_and_every_line_a_site() {
    let table: BTreeSet<_> = table().into_keys().collect();
    assert_eq!(table, sites());
}

#[test]
fn the_page_names_every_place_of_a_site() {
    let mut uses = uses();
    for (site, cells) in table() {
        let places = uses.remove(&site).unwrap_or_default();
        assert!(!places.is_empty(), "{site} is used nowhere");
        assert_eq!(paths(&cells[0]), places, "{site}");
    }
    assert!(uses.is_empty(), "{uses:?}");
}

#[test]
fn the_partners_of_a_site_are_sites() {
    let sites = sites();
    for (site, cells) in table() {
        let partners = cells[1].split('`').skip(1).step_by(2);
        for partner in partners {
            assert!(sites.contains(partner), "{site}: {partner}");
        }
    }
}

#[test]
fn every_site_has_mutation_tests_and_the_page_names_them() {
    let mut mutations = mutations();
    let page = text("docs/memory-model.md");
    let (_, without) = page.split_once("What no mutation test shows").unwrap();
    let (without, _) = without.split_once("\n## ").unwrap();
    for (site, cells) in table() {
        let named = paths(&cells[4]);
        // Otherwise the page gives the reason.
        let excused =
            without.contains(&format!("- `{site}`")) || without.contains(&format!("and `{site}`"));
        assert!(
            !named.is_empty() || excused,
            "no mutation test leaves out {site}"
        );
        assert_eq!(named, mutations.remove(&site).unwrap_or_default(), "{site}");
    }
    let page = paths(&page);
    for test in mutations.into_values().flatten() {
        assert!(page.contains(&test), "{test} is not on the page");
    }
}

#[test]
fn the_protocol_orders_nothing_past_its_sites() {
    for (file, source) in ring() {
        for line in code(&source) {
            for way in ["Ordering", "atomic", "asm!", "compiler_fence", ".fence("] {
                assert!(!line.contains(way), "{file}: {line}");
            }
        }
    }
}

/// A call names its order, and its site says the same order.
#[test]
fn the_order_at_a_site_is_the_order_of_the_site() {
    let orders = orders();
    assert_eq!(
        orders.keys().cloned().collect::<BTreeSet<_>>(),
        variants("Site")
    );
    for (file, source) in ring() {
        // A long call has its site on a line of its own.
        let joined = code(&source).collect::<Vec<_>>().join(" ");
        for (at, _) in joined.match_indices("Site::") {
            let site = word(&joined[at + "Site::".len()..]);
            let before = joined[..at].trim_end();
            let Some(before) = before.strip_suffix('(') else {
                panic!("{file}: {site} is not the first argument of a call");
            };
            let call = before.rsplit(|c: char| !c.is_alphanumeric() && c != '_');
            let call = call.into_iter().next().unwrap();
            let allowed: &[&str] = match orders[site].as_str() {
                "Acquire" => &["fence_acquire"],
                "Release" => &[
                    "fence_release",
                    "store_release",
                    "store_word_release",
                    "store_cursor_release",
                ],
                // The store before a full fence is a release store.
                "SeqCst" => &["fence_full", "store_release"],
                order => panic!("{order}"),
            };
            assert!(allowed.contains(&call), "{file}: {call}(Site::{site})");
        }
    }
}

/// A comment just above each site names its partners.
#[test]
fn every_site_names_its_partners() {
    for (file, source) in ring() {
        let lines: Vec<_> = source.lines().map(str::trim).collect();
        for (number, line) in lines.iter().enumerate() {
            if line.starts_with("//") || !line.contains("Site::") {
                continue;
            }
            let above = &lines[number.saturating_sub(8)..number];
            let named = above
                .iter()
                .any(|line| line.starts_with("//") && line.to_lowercase().contains("pairs with"));
            assert!(named, "{file}: {line}");
        }
    }
}

fn sources(folder: &str, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let path = entry.unwrap().path();
        let inside = path.strip_prefix(root()).unwrap().to_owned();
        if path.is_dir() {
            sources(inside.to_str().unwrap(), into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(inside);
        }
    }
}

/// The page has a line for each file with atomics outside the ring.
#[test]
fn the_page_names_every_other_file_with_atomics() {
    let page = text("docs/memory-model.md");
    let mut files = Vec::new();
    for folder in ["src", "cli/src", "bindings/python/src"] {
        sources(folder, &mut files);
    }
    for file in files {
        let name = file.to_str().unwrap();
        if name.starts_with("src/ring/") || name.starts_with("src/copy/") {
            continue;
        }
        let source = text(name);
        let atomic = |line: &str| line.contains("Ordering::") || line.contains("fence(");
        if code(&source).any(atomic) {
            let short = name.split_once("src/").unwrap().1;
            assert!(page.contains(&format!("`{short}`")), "{name}");
        }
    }
}
