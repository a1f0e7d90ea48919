//! The command, run as people run it: what it prints, and how it ends.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A directory of queues of the test's own.
struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Dir {
        Dir(tempfile::tempdir().unwrap())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ipcq"));
        command.args(arguments).env("IPCQ_DIR", self.0.path());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    /// Runs it with some input to its end.
    fn run(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut child = self.start(arguments);
        // What rejects its arguments reads nothing.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    /// Runs what has to succeed, without a word on standard error, and returns its output.
    fn ok(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let output = self.run(arguments, input);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        assert_eq!(error, "", "{arguments:?}");
        output.stdout
    }

    fn text(&self, arguments: &[&str]) -> String {
        String::from_utf8(self.ok(arguments, b"")).unwrap()
    }

    /// Runs what has to fail with this status and say these words, and nothing on standard output.
    fn fails(&self, arguments: &[&str], input: &[u8], status: i32, words: &str) {
        let output = self.run(arguments, input);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {error}");
        assert!(
            error.starts_with("ipcq: ") && error.contains(words),
            "{arguments:?}: {error}"
        );
        assert_eq!(error.lines().count(), 1, "{arguments:?}: {error}");
        assert_eq!(output.stdout, b"", "{arguments:?}");
    }

    /// Waits until the figures of a queue are such.
    fn until(&self, name: &str, key: &str, value: &str) {
        let since = Instant::now();
        loop {
            let output = self.run(&["stat", name, "--json"], b"");
            if output.status.success()
                && json(std::str::from_utf8(&output.stdout).unwrap())[key] == value
            {
                return;
            }
            assert!(
                since.elapsed() < Duration::from_secs(30),
                "{key} never was {value}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Reads a flat JSON object on a line of its own; a string keeps its quotes, so that it is told
/// from a word. Panics where it is none.
fn json(text: &str) -> BTreeMap<String, String> {
    let inner = text
        .strip_prefix('{')
        .and_then(|t| t.strip_suffix("}\n"))
        .unwrap_or_else(|| panic!("no object on a line: {text}"));
    let mut found = BTreeMap::new();
    let mut rest = inner;
    loop {
        let (key, after) = json_string(rest);
        rest = after.strip_prefix(':').unwrap();
        let value = if rest.starts_with('"') {
            let (value, after) = json_string(rest);
            rest = after;
            format!("\"{value}\"")
        } else if rest.starts_with('[') {
            let (value, after) = rest.split_at(rest.find(']').unwrap() + 1);
            rest = after;
            value.to_string()
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            let (value, after) = rest.split_at(end);
            rest = after;
            assert!(
                value == "true" || value == "false" || value.parse::<u64>().is_ok(),
                "no JSON value: {value}"
            );
            value.to_string()
        };
        assert_eq!(found.insert(key, value), None, "a key twice");
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None => break,
        }
    }
    assert_eq!(rest, "");
    found
}

/// Reads a JSON string at the beginning, and returns what follows it.
fn json_string(text: &str) -> (String, &str) {
    let mut out = String::new();
    let mut chars = text.strip_prefix('"').unwrap().char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (out, &text[at + 2..]),
            '\\' => out.push(chars.next().unwrap().1),
            c => out.push(c),
        }
    }
    panic!("a string without an end: {text}");
}

#[test]
fn lines_come_out_as_they_went_in() {
    let dir = Dir::new();
    dir.ok(&["push", "lines"], b"one\n\nthree and more\t\x1b[31m\nlast");
    assert_eq!(
        dir.ok(&["dump", "lines", "--format", "raw"], b""),
        b"onethree and more\t\x1b[31mlast"
    );
    // What could do things to a terminal does not get there.
    assert_eq!(
        dir.text(&["dump", "lines", "--format", "text"]),
        "one\n\nthree and more\t\u{fffd}[31m\nlast\n"
    );
    let first = format!("000000  6f 6e 65{:41}one\n", "");
    assert_eq!(
        dir.text(&["dump", "lines", "--count", "1"]),
        format!("#0 3 bytes\n{first}")
    );
    // More than a line of sixteen bytes.
    dir.ok(&["push", "lines"], b"abcdefghijklmnopq\n");
    let two = "000000  61 62 63 64 65 66 67 68 69 6a 6b 6c 6d 6e 6f 70  abcdefghijklmnop\n";
    let three = format!("000010  71{:47}q\n", "");
    assert_eq!(
        dir.text(&["dump", "lines", "--start", "newest", "--format", "hex"]),
        format!("#4 17 bytes\n{two}{three}")
    );
    let from_three = dir.text(&["dump", "lines", "--start", "3", "--format", "text"]);
    assert_eq!(from_three, "last\nabcdefghijklmnopq\n");
    assert_eq!(dir.text(&["dump", "lines", "--start", "next"]), "");
}

#[test]
fn messages_of_a_size() {
    let dir = Dir::new();
    let input: Vec<u8> = (0..=255).collect();
    dir.ok(&["push", "q", "--size", "8", "--capacity", "64"], &input);
    assert_eq!(dir.ok(&["dump", "q", "--format", "raw"], b""), input);
    let rest = "the last 3 bytes are no whole message of 8";
    dir.fails(&["push", "q", "--size", "8"], b"whole   par", 1, rest);
    let newest = dir.text(&["dump", "q", "--start", "newest", "--format", "text"]);
    assert_eq!(newest, "whole   \n");
}

#[test]
fn what_was_overwritten_is_counted() {
    let dir = Dir::new();
    let input: Vec<u8> = (0..100u64).flat_map(u64::to_le_bytes).collect();
    dir.ok(&["push", "q", "--size", "8", "--capacity", "16"], &input);
    let output = dir.run(&["dump", "q", "--start", "0", "--format", "raw"], b"");
    assert!(output.status.success());
    let got = output.stdout;
    assert!(got.len() >= 8 && got.len() <= 16 * 8, "{} bytes", got.len());
    assert_eq!(got, input[input.len() - got.len()..]);
    let lost = 100 - got.len() / 8;
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        format!("ipcq: {lost} messages were lost\n")
    );
    let hex = dir.run(&["dump", "q", "--start", "0", "--count", "1"], b"");
    let head = format!("#{lost} 8 bytes, {lost} lost before\n");
    assert!(String::from_utf8(hex.stdout).unwrap().starts_with(&head));
}

#[test]
fn list_and_stat() {
    let dir = Dir::new();
    assert_eq!(dir.text(&["list"]), "");
    dir.ok(&["push", "b"], b"x\ny\n");
    let odd = r#"a "quoted" \ name"#;
    dir.ok(
        &["push", odd, "--size", "4", "--capacity", "100"],
        b"12345678abcd",
    );
    let list = dir.text(&["list"]);
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 3, "{list}");
    assert!(lines[0].starts_with("NAME") && lines[0].ends_with("STATE"));
    assert!(lines[1].starts_with(odd) && lines[2].starts_with("b "));
    let words: Vec<&str> = lines[2].split_whitespace().collect();
    assert_eq!(words[..5], ["b", "2", "closed", "producer", "no"]);

    let figures = json(&dir.text(&["stat", odd, "--json"]));
    for (key, value) in [
        ("name", format!("\"{odd}\"").as_str()),
        ("state", "\"closed\""),
        ("producer_alive", "false"),
        ("closed", "true"),
        ("epoch", "1"),
        ("pushed", "3"),
        ("oldest", "0"),
        ("retained", "3"),
        ("framing", "\"fixed\""),
        ("delivery", "\"lossy\""),
        ("capacity", "128"),
        ("message_size", "4"),
        ("max_message", "4"),
        ("first_sequence", "0"),
    ] {
        assert_eq!(figures[key], value, "{key}");
    }
    let file = dir.0.path().join(format!("ipcq.{odd}"));
    let bytes = std::fs::metadata(file).unwrap().len();
    assert_eq!(figures["file_bytes"], bytes.to_string());

    // For people, the same figures.
    let text = dir.text(&["stat", odd]);
    let keys: Vec<&str> = text
        .lines()
        .filter_map(|l| l.split_whitespace().next())
        .collect();
    // But for the name, and the consumers, of which there are none.
    assert_eq!(figures["consumer_list"], "[]");
    assert_eq!(keys.len() + 2, figures.len());
    assert!(keys.iter().all(|k| figures.contains_key(*k)), "{text}");

    let top = dir.text(&["top", "b", "--interval", "0.01", "--count", "2"]);
    let lines: Vec<&str> = top.lines().collect();
    assert_eq!(lines.len(), 4, "{top}");
    let words: Vec<&str> = lines[3].split_whitespace().collect();
    assert_eq!(words, ["b", "2", "0", "-", "closed"]);
}

#[test]
fn stat_shows_the_consumers() {
    let dir = Dir::new();
    let path = dir.0.path().join("q");
    let name = path.to_str().unwrap();
    let mut out = ipcq::Producer::options()
        .message_size(8)
        .delivery(ipcq::Delivery::Lossless)
        .open(&path)
        .unwrap();
    let consumer = ipcq::Consumer::options().name("a \"recorder\"\x07");
    let _consumer = consumer.open(&path).unwrap();
    out.push(&[0; 8]).unwrap();
    let figures = json(&dir.text(&["stat", name, "--json"]));
    assert_eq!(figures["consumers"], "1");
    let pid = std::process::id();
    let rest = format!("\"pid\":{pid},\"sequence\":0,\"lag\":1,\"lost\":0,\"asleep\":false");
    let expected = format!("[{{\"name\":\"a \\\"recorder\\\"\\u0007\",{rest}}}]");
    assert_eq!(figures["consumer_list"], expected);
    let text = dir.text(&["stat", name]);
    let line = text.lines().last().unwrap();
    assert!(line.starts_with("a \"recorder\"? "), "{line}");
    let words: Vec<&str> = line.split_whitespace().skip(2).collect();
    assert_eq!(words, [pid.to_string().as_str(), "0", "1", "0", "no"]);
}

#[test]
fn a_name_with_a_slash_is_a_path() {
    let dir = Dir::new();
    let path = dir.0.path().join("some.file");
    let name = path.to_str().unwrap();
    dir.ok(&["push", name], b"here\n");
    assert!(path.exists());
    assert_eq!(dir.text(&["dump", name, "--format", "text"]), "here\n");
}

#[test]
fn schema_shows_the_records() {
    let dir = Dir::new();
    let field = |name: &str, offset, format| {
        ipcq::Field::new(name, offset, ipcq::Scalar::parse(format).unwrap())
    };
    // A name that would clear the screen.
    let fields = vec![
        field("price", 8, "f8"),
        field("\x1b[2J", 0, "u2").array(&[3]),
    ];
    let schema = ipcq::Schema::new(16, fields).unwrap();
    let producer = ipcq::Producer::options().schema(schema.clone());
    drop(producer.open(dir.0.path().join("ipcq.records")).unwrap());
    assert_eq!(
        dir.text(&["schema", "records"]),
        "price      <f8 at 8\n\\u{1b}[2J  (3,)<u2 at 0\n16 bytes\n"
    );
    assert_eq!(
        dir.text(&["schema", "records", "--json"]),
        format!("{}\n", schema.to_json())
    );
    assert_eq!(
        json(&dir.text(&["stat", "records", "--json"]))["schema"],
        "true"
    );
    dir.ok(&["push", "none"], b"x\n");
    assert_eq!(
        json(&dir.text(&["stat", "none", "--json"]))["schema"],
        "false"
    );
    dir.fails(&["schema", "none"], b"", 1, "does not say");
}

#[test]
fn errors_have_a_status_and_a_line() {
    let dir = Dir::new();
    for verb in ["stat", "schema", "dump", "unlink", "top"] {
        dir.fails(&[verb, "nothing"], b"", 1, "ipcq.nothing");
    }
    std::fs::write(dir.0.path().join("ipcq.text"), "not a queue".repeat(1000)).unwrap();
    dir.fails(&["stat", "text"], b"", 1, "ipcq.text");
    dir.ok(&["push", "q"], b"x\n");
    dir.fails(&["push", "q", "--size", "4"], b"1234", 1, "replace");
    dir.fails(&["dump", "q", "--start", "2"], b"", 1, "");

    for (arguments, words) in [
        (&[][..], "a verb is missing"),
        (&["frobnicate"], "no such verb: frobnicate"),
        (&["stat"], "a queue name is missing"),
        (&["stat", "a", "b"], "more than one queue name"),
        (&["list", "a"], "list takes no name"),
        (&["list", "--json"], "list takes no --json"),
        (&["unlink", "q", "--count", "1"], "unlink takes no --count"),
        (&["dump", "q", "--colour"], "--colour"),
        (
            &["dump", "q", "--format", "xml"],
            "neither hex, raw nor text",
        ),
        (&["dump", "q", "--start", "now"], "neither oldest"),
        (&["dump", "q", "--count", "many"], "many"),
        (&["push", "q", "--size", "0"], "1 or more"),
        (&["top", "--interval", "0"], "0.01 seconds"),
    ] {
        dir.fails(arguments, b"", 2, words);
    }
    // None of these has touched the queue.
    assert_eq!(dir.text(&["dump", "q", "--format", "text"]), "x\n");
}

#[test]
fn help_and_version() {
    let dir = Dir::new();
    let help = dir.text(&["help"]);
    assert_eq!(dir.text(&["--help"]), help);
    for verb in [
        "list", "stat", "schema", "top", "dump", "push", "unlink", "help",
    ] {
        assert!(help.contains(&format!("\n  {verb} ")), "{verb}");
    }
    assert_eq!(
        dir.text(&["--version"]),
        format!("ipcq {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let dir = Dir::new();
    let lines: String = (0..50_000).map(|n| format!("line {n}\n")).collect();
    dir.ok(&["push", "q"], lines.as_bytes());
    // Far more than a pipe holds, so that it is still writing when its reader goes, as `head` does.
    let mut child = dir.start(&["dump", "q", "--format", "text"]);
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "line 0\n");
    drop(out);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stderr, b"");
}

#[test]
fn follow_ends_when_the_producer_closes() {
    let dir = Dir::new();
    let mut push = dir.start(&["push", "q"]);
    let mut input = push.stdin.take().unwrap();
    input.write_all(b"first\n").unwrap();
    dir.until("q", "pushed", "1");
    let mut follow = dir.start(&["dump", "q", "--follow", "--format", "text"]);
    let mut out = BufReader::new(follow.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    // It has caught up, and waits for this.
    input.write_all(b"second\n").unwrap();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "first\nsecond\n");
    drop(input);
    assert!(push.wait().unwrap().success());
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    assert!(follow.wait().unwrap().success());
}

#[test]
fn a_killed_producer_is_seen_and_succeeded() {
    let dir = Dir::new();
    let mut push = dir.start(&["push", "q"]);
    let mut input = push.stdin.take().unwrap();
    input.write_all(b"one\ntwo\n").unwrap();
    dir.until("q", "pushed", "2");
    dir.until("q", "state", "\"live\"");
    dir.fails(&["push", "q"], b"x\n", 1, "another live producer");
    push.kill().unwrap();
    push.wait().unwrap();
    let figures = json(&dir.text(&["stat", "q", "--json"]));
    assert_eq!(figures["state"], "\"orphaned\"");
    assert_eq!(figures["producer_alive"], "false");
    dir.ok(&["push", "q"], b"three\n");
    assert_eq!(json(&dir.text(&["stat", "q", "--json"]))["epoch"], "2");
    assert_eq!(
        dir.text(&["dump", "q", "--format", "text"]),
        "one\ntwo\nthree\n"
    );
}

#[test]
fn unlink_leaves_nothing() {
    let dir = Dir::new();
    dir.ok(&["push", "q"], b"x\n");
    dir.ok(&["push", "stays"], b"x\n");
    dir.ok(&["unlink", "q"], b"");
    let mut left: Vec<_> = std::fs::read_dir(dir.0.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert!(left.iter().all(|n| n.starts_with("ipcq.stays")), "{left:?}");
    assert!(left.contains(&"ipcq.stays".to_string()));
    dir.fails(&["unlink", "q"], b"", 1, "ipcq.q");
}
