//! The command, run in the same way as users run it: its output and its exit status.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A directory of queues for one test.
struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Dir {
        Dir(tempfile::tempdir().unwrap())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        // If the command was built for another processor, run it in the emulator.
        let runner = std::env::var("IPCQ_TEST_RUNNER").unwrap_or_default();
        let program = env!("CARGO_BIN_EXE_ipcq");
        let mut words = runner.split_whitespace().chain([program]);
        let mut command = Command::new(words.next().unwrap_or(program));
        command.args(words).args(arguments);
        command.env("IPCQ_DIR", self.0.path());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    /// Runs the command with this input and waits for its end.
    fn run(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut child = self.start(arguments);
        // A command that rejects its arguments does not read its input.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    /// Runs a command that must succeed without output on standard error. Returns its standard
    /// output.
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

    /// Runs a command that must fail with this status and an error that contains `words`, without
    /// output on standard output.
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

    /// Waits until a statistic of a queue has this value.
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
                "{key} never became {value}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Sends a signal to a process that this test has started.
fn signal(child: &Child, signal: i32) {
    // SAFETY: the child was not waited for, so the pid is still its own.
    assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
}

/// Parses a flat JSON object on a line of its own. A string keeps its quotes, to distinguish it
/// from a literal. Panics if the text is not such an object.
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
                "not a JSON value: {value}"
            );
            value.to_string()
        };
        assert_eq!(found.insert(key, value), None, "a duplicate key");
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None => break,
        }
    }
    assert_eq!(rest, "");
    found
}

/// Parses the JSON string at the start of the text, and returns the rest of it.
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
    panic!("unterminated string: {text}");
}

#[test]
fn pushed_lines_are_dumped_unchanged() {
    let dir = Dir::new();
    dir.ok(&["push", "lines"], b"one\n\nthree and more\t\x1b[31m\nlast");
    assert_eq!(
        dir.ok(&["dump", "lines", "--format", "raw"], b""),
        b"onethree and more\t\x1b[31mlast"
    );
    // Characters that control a terminal are replaced.
    assert_eq!(
        dir.text(&["dump", "lines", "--format", "text"]),
        "one\n\nthree and more\t\u{fffd}[31m\nlast\n"
    );
    let first = format!("000000  6f 6e 65{:41}one\n", "");
    assert_eq!(
        dir.text(&["dump", "lines", "--count", "1"]),
        format!("#0 3 bytes\n{first}")
    );
    // More than one row of sixteen bytes.
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
fn messages_of_a_fixed_size() {
    let dir = Dir::new();
    let input: Vec<u8> = (0..=255).collect();
    dir.ok(&["push", "q", "--size", "8", "--capacity", "64"], &input);
    assert_eq!(dir.ok(&["dump", "q", "--format", "raw"], b""), input);
    let rest = "the last 3 bytes are less than a message of 8 bytes";
    dir.fails(&["push", "q", "--size", "8"], b"whole   par", 1, rest);
    let newest = dir.text(&["dump", "q", "--start", "newest", "--format", "text"]);
    assert_eq!(newest, "whole   \n");
}

#[test]
fn overwritten_messages_are_counted() {
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
    let what = "variable length, 4194304 bytes, lossy";
    assert_eq!(
        lines[2].split_whitespace().collect::<Vec<_>>().join(" "),
        format!("b 2 - {what} closed")
    );

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

    // The text for people has the same statistics.
    let text = dir.text(&["stat", odd]);
    let keys: Vec<&str> = text
        .lines()
        .filter_map(|l| l.split_whitespace().next())
        .collect();
    // Except for the name and the consumers, of which the queue has none.
    assert_eq!(figures["consumer_list"], "[]");
    assert_eq!(keys.len() + 2, figures.len());
    assert!(keys.iter().all(|k| figures.contains_key(*k)), "{text}");

    let top = dir.text(&["top", "b", "--interval", "0.01", "--count", "2"]);
    let lines: Vec<&str> = top.lines().collect();
    assert_eq!(lines.len(), 4, "{top}");
    let words: Vec<&str> = lines[3].split_whitespace().collect();
    assert_eq!(words, ["b", "2", "0", "0", "0", "0", "0", "closed"]);
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
    assert!(line.starts_with("a \"recorder\"\\u{7} "), "{line}");
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
    dir.fails(&["schema", "none"], b"", 1, "no record schema");
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
    dir.fails(&["push", "q", "--size", "4"], b"1234", 1, "ipcq unlink");
    dir.fails(&["dump", "q", "--start", "2"], b"", 1, "");

    for (arguments, words) in [
        (&[][..], "a verb is missing"),
        (&["frobnicate"], "no such verb: frobnicate"),
        (&["stat"], "a queue name is missing"),
        (&["stat", "a", "b"], "more than one queue name"),
        (&["list", "a"], "list takes no name"),
        (&["list", "--json"], "list takes no --json"),
        (&["unlink", "q", "--count", "1"], "unlink takes no --count"),
        (&["stat", "q", "--force"], "stat takes no --force"),
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
    // The failed commands have not changed the queue.
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
fn a_reader_that_ends_early_is_not_an_error() {
    let dir = Dir::new();
    let lines: String = (0..50_000).map(|n| format!("line {n}\n")).collect();
    dir.ok(&["push", "q"], lines.as_bytes());
    // Much more than a pipe holds, so that the command is still writing when its reader ends, as
    // `head` does.
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
    // The command has caught up and waits for more.
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
fn a_killed_producer_is_shown_and_replaced() {
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

/// Whether a character must not reach a terminal because it controls it, or hides or reorders text.
fn acts_on_a_terminal(c: char) -> bool {
    c.is_control()
        || "\u{ad}\u{61c}\u{180e}\u{200b}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202b}\u{202d}\
            \u{202e}\u{2060}\u{2066}\u{2067}\u{2068}\u{2069}\u{feff}\u{fff9}\u{e0041}"
            .contains(c)
}

#[test]
fn names_of_other_users_do_not_control_a_terminal() {
    let dir = Dir::new();
    let hostile: String = (0..0x11_0000)
        .filter_map(char::from_u32)
        .filter(|c| acts_on_a_terminal(*c) && *c != '\0')
        .collect();
    let parts: Vec<String> = hostile
        .chars()
        .collect::<Vec<_>>()
        .chunks(12)
        .map(|part| format!("a{}\"b", part.iter().collect::<String>()))
        .collect();
    let check = |output: Output, what: &str| {
        for stream in [&output.stdout, &output.stderr] {
            let text = std::str::from_utf8(stream).unwrap_or_else(|e| panic!("{what}: {e}"));
            let bad = text.chars().find(|c| acts_on_a_terminal(*c) && *c != '\n');
            assert_eq!(bad, None, "{what}: {text:?}");
        }
        output
    };
    for part in &parts {
        let field = ipcq::Field::new(part.as_str(), 0, ipcq::Scalar::parse("u1").unwrap());
        let schema = ipcq::Schema::new(1, vec![field]).unwrap();
        let path = dir.0.path().join(format!("ipcq.{part}"));
        let mut out = ipcq::Producer::options()
            .schema(schema)
            .delivery(ipcq::Delivery::Lossless)
            .capacity(2)
            .open(&path)
            .unwrap();
        let consumer = ipcq::Consumer::options().name(part.as_str());
        let _consumer = consumer.open(&path).unwrap();
        while out.push(b"x").is_ok() {}
        let text = format!("text-{part}");
        let mut lines = ipcq::Producer::options()
            .open(dir.0.path().join(format!("ipcq.{text}")))
            .unwrap();
        // A payload keeps its tabs.
        lines.push(part.replace('\t', "").as_bytes()).unwrap();
        lines.push(b"\x1b\xff\x9b").unwrap();
        let missing = format!("no{part}");
        for arguments in [
            &["list"][..],
            &["stat", part],
            &["stat", part, "--json"],
            &["schema", part],
            &["schema", part, "--json"],
            &["schema", &text],
            &["top", "--count", "1", "--interval", "0.01"],
            &["top", part, "--count", "1", "--interval", "0.01"],
            &["dump", part],
            &["dump", &text, "--format", "text"],
            &["unlink", part],
            &["stat", &missing],
            &["dump", &missing],
            &["unlink", &missing],
            &["push", part, "--size", "7"],
            &[part],
            &["list", part],
            &["dump", &text, "--start", part],
            &["dump", &text, &format!("--{part}")],
        ] {
            check(dir.run(arguments, b""), &format!("{arguments:?}"));
        }
        // JSON escapes such characters, so a program gets the exact names.
        let figures = dir.text(&["stat", part, "--json"]);
        for key in ["\"name\":", "\"blocked_by\":", "{\"name\":"] {
            let (_, quoted) = figures.split_once(key).unwrap();
            assert_eq!(unescaped(quoted), *part);
        }
        let schema = dir.text(&["schema", part, "--json"]);
        assert_eq!(
            unescaped(schema.strip_prefix("{\"names\":[").unwrap()),
            *part
        );
        drop((out, lines));
        dir.ok(&["unlink", part], b"");
        dir.ok(&["unlink", &text], b"");
    }
    // A name that is not UTF-8, and one that would look like two lines.
    let odd = std::ffi::OsStr::from_bytes(b"ipcq.\xff\nfake 1");
    drop(ipcq::Producer::options().open(dir.0.path().join(odd)));
    let list = check(dir.run(&["list"], b""), "list").stdout;
    assert!(String::from_utf8(list)
        .unwrap()
        .contains("\n\\xff\\nfake 1 "));
}

/// Returns the JSON string at the start of a text, unescaped.
fn unescaped(text: &str) -> String {
    let (mut units, mut rest) = (Vec::new(), text.strip_prefix('"').unwrap());
    loop {
        let c = rest.chars().next().unwrap();
        rest = &rest[c.len_utf8()..];
        if c == '"' {
            return String::from_utf16(&units).unwrap();
        } else if c != '\\' {
            units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
        } else if let Some(hex) = rest.strip_prefix('u') {
            units.push(u16::from_str_radix(&hex[..4], 16).unwrap());
            rest = &hex[4..];
        } else {
            let escaped = rest.as_bytes()[0];
            let mut plain = b"\x08\x0c\n\r\t".iter().zip(b"bfnrt");
            let plain = plain.find(|(_, letter)| **letter == escaped);
            units.push(plain.map_or(escaped, |(c, _)| *c).into());
            rest = &rest[1..];
        }
    }
}

#[test]
fn text_in_any_script_is_shown_unchanged() {
    let dir = Dir::new();
    let text = "größe gro\u{308}ße हिन्दी می\u{200c}خواهم 全角\u{3000}\tx";
    dir.ok(&["push", "größe हिन्दी"], text.as_bytes());
    assert_eq!(
        dir.text(&["dump", "größe हिन्दी", "--format", "text"]),
        format!("{text}\n")
    );
    assert!(dir.text(&["list"]).contains("\ngröße हिन्दी "));
}

/// Stops a thread, even if the test fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_file_truncated_by_its_owner_ends_no_process() {
    let dir = Dir::new();
    dir.ok(
        &["push", "x0", "--size", "8", "--capacity", "4096"],
        &[7; 8 * 4096],
    );
    let whole = std::fs::read(dir.0.path().join("ipcq.x0")).unwrap();
    let files: Vec<_> = (0..20)
        .map(|n| std::fs::File::create(dir.0.path().join(format!("ipcq.x{n}"))).unwrap())
        .collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = End(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for file in &files {
                    file.write_all_at(&whole, 0).unwrap();
                }
                files.iter().for_each(|file| file.set_len(0).unwrap());
            }
        });
        for _ in 0..40 {
            for arguments in [
                &["list"][..],
                &["top", "--count", "1", "--interval", "0.01"],
                &["stat", "x1"],
                &["schema", "x1"],
            ] {
                let output = dir.run(arguments, b"");
                assert_eq!(output.status.signal(), None, "{arguments:?}");
            }
        }
    });
}

/// Runs the command as a user with limited read permission.
fn as_nobody(dir: &Dir, arguments: &[&str]) -> Output {
    use std::os::unix::fs::PermissionsExt;
    const NOBODY: u32 = 65534;
    let mut command = dir.command(arguments);
    // SAFETY: the call takes no arguments.
    if unsafe { libc::geteuid() } == 0 {
        // A copy that the other user can execute.
        let here = dir.0.path().join("command");
        std::fs::copy(env!("CARGO_BIN_EXE_ipcq"), &here).unwrap();
        std::fs::set_permissions(dir.0.path(), PermissionsExt::from_mode(0o755)).unwrap();
        command = Command::new(here);
        command.args(arguments).env("IPCQ_DIR", dir.0.path());
        command.uid(NOBODY).gid(NOBODY);
    }
    loop {
        match command.output() {
            // Another test that was just starting a child has the copy open for writing.
            Err(e) if e.kind() == ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            output => return output.unwrap(),
        }
    }
}

#[test]
fn unreadable_queues_are_listed() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Dir::new();
    let mode = |name: &str, mode| {
        let path = dir.0.path().join(name);
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    for name in ["secret", "open"] {
        dir.ok(&["push", name], b"x\n");
    }
    mode("ipcq.secret", 0);
    mode("ipcq.open", 0o644);
    mode("ipcq.open.ctl", 0);
    let list = as_nobody(&dir, &["list"]);
    assert!(list.status.success() && list.stderr.is_empty());
    let list = String::from_utf8(list.stdout).unwrap();
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 3, "{list}");
    assert!(
        lines[1].starts_with("open ") && lines[1].ends_with(" closed"),
        "{list}"
    );
    assert!(
        lines[2].starts_with("secret ") && lines[2].contains("unreadable"),
        "{list}"
    );
    let top = as_nobody(&dir, &["top", "--count", "1", "--interval", "0.01"]);
    let top = String::from_utf8(top.stdout).unwrap();
    assert!(top.ends_with("\nand 1 that cannot be read\n"), "{top}");
    let secret = as_nobody(&dir, &["stat", "secret"]);
    assert_eq!(secret.status.code(), Some(1));
    // Consumers that cannot be read are reported as unknown.
    let stat = String::from_utf8(as_nobody(&dir, &["stat", "open"]).stdout).unwrap();
    assert!(stat.contains("\nconsumers_known  no\n"), "{stat}");
    let words: Vec<&str> = top.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(words, ["open", "1", "0", "0", "?", "?", "?", "closed"]);
}

#[test]
fn a_directory_that_cannot_be_read_is_an_error() {
    let dir = Dir::new();
    dir.ok(&["push", "q"], b"x\n");
    for verb in ["list", "top"] {
        for name in ["nothing", "ipcq.q"] {
            let mut command = dir.command(&[verb]);
            command.env("IPCQ_DIR", dir.0.path().join(name));
            let output = command.output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{verb} {name}");
            let error = String::from_utf8(output.stderr).unwrap();
            assert!(error.contains(name) && output.stdout.is_empty(), "{error}");
        }
        // The fourth descriptor is the directory.
        let output = limited(
            &dir,
            4,
            &[verb, "--count", "1"][..if verb == "top" { 3 } else { 1 }],
        );
        assert_eq!(output.status.code(), Some(1), "{verb}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("Too many open files"), "{error}");
    }
}

/// Runs the command with a limit on the number of descriptors.
fn limited(dir: &Dir, most: u32, arguments: &[&str]) -> Output {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("ulimit -n {most}; exec \"$0\" \"$@\"")])
        .arg(env!("CARGO_BIN_EXE_ipcq"))
        .args(arguments)
        .env("IPCQ_DIR", dir.0.path());
    command.output().unwrap()
}

#[test]
fn a_name_too_long_or_damaged_does_not_hide_the_others() {
    let dir = Dir::new();
    dir.ok(
        &["push", "q", "--size", "8", "--capacity", "16"],
        b"12345678",
    );
    let whole = std::fs::read(dir.0.path().join("ipcq.q")).unwrap();
    let long = "x".repeat(250);
    std::fs::write(dir.0.path().join(format!("ipcq.{long}")), &whole).unwrap();
    std::fs::write(dir.0.path().join("ipcq.cut"), &whole[..64]).unwrap();
    std::fs::write(dir.0.path().join("ipcq.text"), "not a queue").unwrap();
    let list = dir.text(&["list"]);
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 4, "{list}");
    assert!(
        lines[1].starts_with("cut ") && lines[1].contains("not a queue"),
        "{list}"
    );
    assert!(
        lines[2].starts_with("q ") && lines[2].ends_with("closed"),
        "{list}"
    );
    assert!(
        lines[3].starts_with(&long) && lines[3].contains("too long"),
        "{list}"
    );
    let top = dir.text(&["top", "--count", "1", "--interval", "0.01"]);
    assert_eq!(top.lines().count(), 4, "{top}");
}

/// The last words of the line about a queue.
fn state_in(text: &str, name: &str, column: usize) -> String {
    let line = text.lines().find(|l| l.split(' ').next() == Some(name));
    let words = line
        .unwrap_or_else(|| panic!("no {name}: {text}"))
        .split_whitespace();
    words.skip(column).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_producer_that_waits_for_a_consumer_is_blocked_by_it() {
    for size in ["0", "8"] {
        let dir = Dir::new();
        let path = dir.0.path().join("ipcq.q");
        let made = ipcq::Producer::options()
            .message_size(size.parse().unwrap())
            .capacity(if size == "8" { 64 } else { 4096 })
            .delivery(ipcq::Delivery::Lossless)
            .min_consumers(2);
        drop(made.open(&path).unwrap());
        let lines: Vec<String> = (0..1000).map(|n| format!("{n:07}\n")).collect();
        let arguments = match size {
            "8" => &["push", "q", "--size", "8"][..],
            _ => &["push", "q"],
        };
        let mut push = dir.start(arguments);
        let mut input = push.stdin.take().unwrap();
        let all = lines.concat();
        let writer = std::thread::spawn(move || input.write_all(all.as_bytes()));
        let pid = push.id().to_string();
        let shown = || {
            let list = dir.text(&["list"]);
            let stat = dir.text(&["stat", "q"]);
            let top = dir.text(&["top", "q", "--count", "1", "--interval", "0.01"]);
            let (_, list) = list.rsplit_once("lossless ").unwrap();
            let stat = state_in(&stat, "state", 1);
            assert_eq!(list.trim(), stat);
            assert_eq!(state_in(&top, "q", 7), stat);
            stat
        };
        dir.until("q", "state", "\"blocked\"");
        assert_eq!(shown(), "blocked until more consumers attach");
        assert!(dir.text(&["list"]).contains(&format!(" {pid} ")));

        let open = |name: &str| ipcq::Consumer::options().name(name).open(&path).unwrap();
        let (mut fast, mut slow) = (open("fast"), open("slow one"));
        let mut buffer = [0; 8];
        let mut take = |q: &mut ipcq::Consumer, lines: &[String]| {
            for line in lines {
                q.wait(Duration::from_secs(30)).unwrap();
                let got = q.pop(&mut buffer).unwrap().unwrap();
                assert_eq!((got.lost, &buffer[..7]), (0, &line.as_bytes()[..7]));
            }
        };
        // Some tens of messages fit in either ring, and all of them are taken.
        take(&mut fast, &lines[..30]);
        dir.until("q", "blocked_by", "\"slow one\"");
        let me = std::process::id();
        assert_eq!(shown(), format!("blocked by slow one ({me})"));
        let figures = json(&dir.text(&["stat", "q", "--json"]));
        assert_eq!(figures["blocked_by_pid"], me.to_string());
        assert_eq!(
            (&figures["producer_pid"], &figures["closed"]),
            (&pid, &"false".into())
        );
        // A stop of the producer does not change the state.
        signal(&push, libc::SIGSTOP);
        assert_eq!(shown(), format!("blocked by slow one ({me})"));
        signal(&push, libc::SIGCONT);
        let reader = std::thread::spawn({
            let lines = lines.clone();
            move || {
                let mut buffer = [0; 8];
                for line in &lines[30..] {
                    fast.wait(Duration::from_secs(30)).unwrap();
                    fast.pop(&mut buffer).unwrap().unwrap();
                    assert_eq!(&buffer[..7], &line.as_bytes()[..7]);
                }
            }
        });
        take(&mut slow, &lines);
        reader.join().unwrap();
        writer.join().unwrap().unwrap();
        assert!(push.wait().unwrap().success());
        assert_eq!(shown(), "closed");
    }
}

#[test]
fn a_producer_that_need_not_wait_is_not_blocked() {
    let dir = Dir::new();
    for size in [0, 8] {
        let path = dir.0.path().join(format!("ipcq.q{size}"));
        let mut out = ipcq::Producer::options()
            .message_size(size)
            .capacity(if size == 8 { 64 } else { 4096 })
            .delivery(ipcq::Delivery::Lossless)
            .open(&path)
            .unwrap();
        let mut q = ipcq::Consumer::options().open(&path).unwrap();
        let name = path.to_str().unwrap();
        let state = || json(&dir.text(&["stat", name, "--json"]))["state"].clone();
        let mut pushed = 0;
        while out.push(&[1; 8]).is_ok() {
            assert_eq!(state(), "\"live\"", "{pushed} messages");
            pushed += 1;
        }
        // A push that does not wait is also blocked.
        assert_eq!(state(), "\"blocked\"");
        let mut buffer = [0; 8];
        while q.pop(&mut buffer).unwrap().is_some() {}
        assert_eq!(state(), "\"live\"");
        while out.push(&[1; 8]).is_ok() {}
        assert_eq!(state(), "\"blocked\"");
        // The producer would continue at once.
        drop(q);
        assert_eq!(state(), "\"live\"");
        out.push(&[1; 8]).unwrap();
        let _q = ipcq::Consumer::options().open(&path).unwrap();
        while out.push(&[1; 8]).is_ok() {}
        assert_eq!(state(), "\"blocked\"");
        drop(out);
        assert_eq!(state(), "\"closed\"");
        // The next producer has not been blocked.
        let _out = ipcq::Producer::options().open(&path).unwrap();
        assert_eq!(state(), "\"live\"");
    }
}

#[test]
fn the_producer_of_a_queue_is_shown() {
    let dir = Dir::new();
    let mut push = dir.start(&["push", "q"]);
    push.stdin.as_mut().unwrap().write_all(b"x\n").unwrap();
    dir.until("q", "pushed", "1");
    let pid = push.id().to_string();
    let line = |text: String| -> Vec<String> {
        let line = text.lines().nth(1).unwrap();
        line.split_whitespace().map(str::to_owned).collect()
    };
    let listed = line(dir.text(&["list"]));
    assert_eq!((&listed[2], &**listed.last().unwrap()), (&pid, "live"));
    assert_eq!(
        json(&dir.text(&["stat", "q", "--json"]))["producer_pid"],
        pid
    );
    let top = dir.text(&["top", "--count", "1", "--interval", "0.01"]);
    assert_eq!(line(top).last().unwrap(), "idle");
    push.kill().unwrap();
    push.wait().unwrap();
    let listed = line(dir.text(&["list"]));
    assert_eq!((&*listed[2], &**listed.last().unwrap()), ("-", "orphaned"));
    // A queue that was detached for another producer has another state.
    let next = ipcq::Producer::options().open(dir.0.path().join("ipcq.q"));
    next.unwrap().detach();
    assert_eq!(line(dir.text(&["list"])).last().unwrap(), "detached");
}

#[test]
fn a_live_queue_is_unlinked_only_with_force() {
    let dir = Dir::new();
    let mut push = dir.start(&["push", "q"]);
    push.stdin.as_mut().unwrap().write_all(b"x\n").unwrap();
    dir.until("q", "pushed", "1");
    let holder = format!("process {} ", push.id());
    dir.fails(&["unlink", "q"], b"", 1, &holder);
    dir.fails(&["unlink", "q"], b"", 1, "--force");
    // Also without the lock file, which may have been removed.
    let lock = dir.0.path().join("ipcq.q.lock");
    std::fs::rename(&lock, dir.0.path().join("away")).unwrap();
    dir.fails(&["unlink", "q"], b"", 1, &holder);
    assert!(!lock.exists());
    std::fs::rename(dir.0.path().join("away"), &lock).unwrap();
    assert_eq!(dir.text(&["dump", "q", "--format", "text"]), "x\n");

    let mut top = dir.start(&["top", "q", "--interval", "0.01"]);
    let mut lines = BufReader::new(top.stdout.take().unwrap()).lines();
    let mut wait_for = |state: &str| {
        let mut lines = lines.by_ref().map(Result::unwrap);
        assert!(lines.any(|line| line.ends_with(state)), "{state}");
    };
    wait_for(" idle");
    dir.ok(&["unlink", "q", "--force"], b"");
    wait_for(" unlinked");
    assert_eq!(dir.text(&["list"]), "");
    drop(push.stdin.take());
    assert!(push.wait().unwrap().success());
    assert!(!lock.exists());
    // A new queue of that name is another queue.
    dir.ok(&["push", "q"], b"y\n");
    wait_for(" closed");
    top.kill().unwrap();
    top.wait().unwrap();
    // A queue without a producer does not need --force.
    dir.ok(&["unlink", "q"], b"");
    let mut push = dir.start(&["push", "q"]);
    push.stdin.as_mut().unwrap().write_all(b"x\n").unwrap();
    dir.until("q", "pushed", "1");
    push.kill().unwrap();
    push.wait().unwrap();
    dir.ok(&["unlink", "q"], b"");
}

#[test]
fn the_loss_of_a_lapped_consumer_is_shown() {
    let dir = Dir::new();
    for (capacity, step) in [
        (1024, 1),
        (1024, 2),
        (1024, 4),
        (1 << 16, 250),
        (1 << 16, 15),
    ] {
        let path = dir.0.path().join("ipcq.q");
        let options = ipcq::Producer::options().message_size(8).capacity(capacity);
        let mut out = options.open(&path).unwrap();
        let mut q = ipcq::Consumer::options().open(&path).unwrap();
        out.push_many(&vec![0; 16 * capacity as usize], 8).unwrap();
        let mut buffer = [0; 8];
        for pop in 1..=3000 {
            out.push_many(&vec![0; 8 * step], 8).unwrap();
            q.pop(&mut buffer).unwrap().unwrap();
            if [1, 100, 1000, 3000].contains(&pop) {
                let figures = json(&dir.text(&["stat", "q", "--json"]));
                let list = &figures["consumer_list"];
                let shown = |key: &str| -> u64 {
                    let (_, rest) = list.split_once(&format!("\"{key}\":")).unwrap();
                    rest[..rest.find([',', '}']).unwrap()].parse().unwrap()
                };
                // The consumer publishes its position every 64 messages, and after a loss.
                let s = q.stats().unwrap();
                let (next, lost) = (q.next_sequence(), s.lost);
                assert!(lost > 0 && next - shown("sequence") <= 64, "{next}: {list}");
                assert!(lost - shown("lost") <= 64, "{lost}: {list}");
                assert_eq!(shown("lag"), s.pushed - shown("sequence"));
            }
        }
        drop((out, q));
        dir.ok(&["unlink", "q"], b"");
    }
}

/// Parses a number as `top` prints it.
fn number(text: &str) -> f64 {
    let digits = text.trim_end_matches(|c: char| c.is_alphabetic());
    let unit = "kMGTPE"
        .find(&text[digits.len()..])
        .filter(|_| digits != text);
    digits.parse::<f64>().unwrap() * 1000f64.powi(unit.map_or(0, |n| n as i32 + 1))
}

#[test]
fn top_shows_bytes_lag_and_loss() {
    let dir = Dir::new();
    let open = |name: &str, size| {
        let path = dir.0.path().join(format!("ipcq.{name}"));
        let options = ipcq::Producer::options()
            .message_size(size)
            .capacity(1 << 16);
        let out = options.open(&path).unwrap();
        (out, ipcq::Consumer::options().open(&path).unwrap())
    };
    let (mut fixed, mut slow) = open("fixed", 1024);
    let (mut variable, _q) = open("variable", 0);
    let (_idle, _other) = open("idle", 8);
    let done = AtomicBool::new(false);
    let text = std::thread::scope(|scope| {
        let _end = End(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                fixed.push(&[0; 1024]).unwrap();
                variable.push(&[0; 1000]).unwrap();
                std::thread::sleep(Duration::from_micros(100));
            }
        });
        dir.text(&["top", "--interval", "0.3", "--count", "2"])
    });
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    let head = [
        "NAME", "PUSHED", "MSG/S", "B/S", "CONS", "LAG", "LOST", "STATE",
    ];
    assert_eq!((lines.len(), &lines[4][..]), (8, &head[..]), "{text}");
    // The queue without activity comes last.
    assert_eq!(lines[7], ["idle", "0", "0", "0", "1", "0", "0", "idle"]);
    for line in &lines[5..7] {
        let (rate, bytes) = (number(line[2]), number(line[3]));
        let size = if line[0] == "fixed" { 1024.0 } else { 1000.0 };
        // The numbers have three digits, and variable messages are rounded up to 16 bytes.
        let ratio = bytes / (rate * size);
        assert!(rate > 1.0 && (0.98..1.04).contains(&ratio), "{line:?}");
        assert_eq!((line[4], line[7]), ("1", "live"), "{line:?}");
        assert!(number(line[5]) > 0.0, "{line:?}");
    }
    // A loss is counted when the consumer discovers it.
    for _ in 0..1 << 17 {
        fixed.push(&[0; 1024]).unwrap();
    }
    let mut buffer = [0; 1024];
    let lost = slow.pop(&mut buffer).unwrap().unwrap().lost as f64;
    let text = dir.text(&["top", "fixed", "--interval", "0.01", "--count", "1"]);
    let words: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
    assert!(
        (number(words[6]) / lost - 1.0).abs() < 0.01,
        "{lost}: {text}"
    );
}

#[test]
fn top_shows_ten_thousand_queues() {
    let dir = Dir::new();
    dir.ok(
        &["push", "q", "--size", "8", "--capacity", "16"],
        b"12345678",
    );
    let one = dir.0.path().join("ipcq.q");
    for n in 0..10_000 {
        std::fs::copy(&one, dir.0.path().join(format!("ipcq.q{n}"))).unwrap();
    }
    // It keeps none of them open.
    for (arguments, lines) in [
        (&["top", "--count", "1", "--interval", "0.01"][..], 10_002),
        (&["list"], 10_002),
    ] {
        let output = limited(&dir, 16, arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && error.is_empty(), "{error}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.lines().count(), lines);
        let short = |l: &str| l.chars().count() <= 80;
        assert!(text.lines().all(short), "{}", &text[..1000]);
    }
}

#[test]
fn top_fits_a_terminal() {
    let dir = Dir::new();
    for n in 0..40 {
        let name = format!("a name that is longer than there is room for 全角 {n}");
        dir.ok(&["push", &name], b"x\n");
    }
    let path = dir.0.path().join("ipcq.blocked");
    let mut out = ipcq::Producer::options()
        .message_size(8)
        .capacity(16)
        .delivery(ipcq::Delivery::Lossless)
        .open(&path)
        .unwrap();
    let consumer = ipcq::Consumer::options().name("a consumer with a long name");
    let _consumer = consumer.open(&path).unwrap();
    while out.push(&[0; 8]).is_ok() {}

    let size = libc::winsize {
        ws_row: 24,
        ws_col: 80,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let (mut ours, mut theirs) = (0, 0);
    let nothing = std::ptr::null_mut();
    // SAFETY: the two descriptors are valid for writes, and `size` for reads.
    let rc = unsafe { libc::openpty(&mut ours, &mut theirs, nothing, nothing.cast(), &size) };
    assert_eq!(rc, 0);
    // SAFETY: two new descriptors that nothing else owns.
    let (ours, theirs) = unsafe {
        (
            std::fs::File::from_raw_fd(ours),
            OwnedFd::from_raw_fd(theirs),
        )
    };
    let mut command = dir.command(&["top", "--count", "1", "--interval", "0.01"]);
    let mut top = command.stdout(theirs).spawn().unwrap();
    drop(command);
    let mut frame = Vec::new();
    // After the program has ended, a read from its terminal is an error.
    let _ = BufReader::new(ours).read_to_end(&mut frame);
    assert!(top.wait().unwrap().success());
    let frame = String::from_utf8(frame).unwrap();
    let frame = frame.strip_prefix("\x1b[?7l\x1b[H").unwrap();
    let frame = frame.strip_suffix("\x1b[J\x1b[?7h").unwrap();
    let lines: Vec<&str> = frame.split_terminator("\x1b[K\r\n").collect();
    assert_eq!(lines.len(), 23, "{frame}");
    let fits = |l: &&str| l.chars().count() <= 80 && !l.contains(char::is_control);
    assert!(lines.iter().all(fits), "{lines:?}");
    // A blocked queue comes first, with the consumer that it waits for.
    let words: Vec<&str> = lines[1].split_whitespace().collect();
    let by = format!("blocked by a con… ({})", std::process::id());
    assert_eq!((words[0], words[7..].join(" ")), ("blocked", by));
    assert_eq!(lines[22], "and 20 more");
}

#[test]
fn a_reader_that_ends_while_the_queue_is_idle_is_not_an_error() {
    let dir = Dir::new();
    let mut push = dir.start(&["push", "q"]);
    push.stdin.as_mut().unwrap().write_all(b"first\n").unwrap();
    dir.until("q", "pushed", "1");
    for arguments in [
        &["dump", "q", "--follow", "--format", "text"][..],
        &["top", "--interval", "0.01"],
    ] {
        let mut child = dir.start(arguments);
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(output.stderr, b"");
    }
    // A full output device is an error.
    for arguments in [&["list"][..], &["stat", "q"], &["dump", "q"], &["help"]] {
        let full = std::fs::File::create("/dev/full").unwrap();
        let output = dir.command(arguments).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("standard output"), "{error}");
    }
    drop(push.stdin.take());
    assert!(push.wait().unwrap().success());
}

#[test]
fn errors_suggest_remedies_of_the_command() {
    let dir = Dir::new();
    dir.ok(&["push", "lines"], b"x\n");
    let file = dir.0.path().join("ipcq.lines");
    let file = file.to_str().unwrap();
    // The error names only the options that were given. The capacity of the queue in bytes does not
    // show how many messages of a size were requested.
    for (options, asked) in [
        (&["--size", "8"][..], "a message size of 8 bytes"),
        (&["--size", "1000000"], "a message size of 1000000 bytes"),
        (
            &["--size", "8", "--capacity", "100"],
            "128 messages of 8 bytes, rounded up from a capacity of 100",
        ),
        (&["--capacity", "4096"], "variable length, 4096 bytes"),
    ] {
        let have = "variable length, 4194304 bytes, lossy";
        let remedy = "fit --size and --capacity to it, or remove it (ipcq unlink NAME)";
        let arguments = [&["push", "lines"], options].concat();
        let words = format!("{file}: the queue has {have}, but {asked} was requested: {remedy}\n");
        dir.fails(&arguments, b"", 1, &words);
    }
    // A damaged queue is removed.
    let data = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    let far = (1u64 << 40).to_le_bytes();
    data.write_all_at(&far, ipcq::__binding::layout::at::CLAIMED as u64)
        .unwrap();
    let output = dir.run(&["push", "lines"], b"y\n");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.ends_with(": close it, then remove it (ipcq unlink NAME)\n"),
        "{error}"
    );
}

#[test]
fn every_verb_reports_a_missing_queue() {
    let dir = Dir::new();
    let file = dir.0.path().join("ipcq.nothing");
    let file = file.to_str().unwrap();
    let missing = format!(
        "ipcq: {file}: there is no such queue: a producer has to open it first: cannot open {file}: No \
         such file or directory (os error 2)\n"
    );
    for verb in ["stat", "schema", "dump", "top"] {
        dir.fails(&[verb, "nothing"], b"", 1, &missing);
    }
    let words = format!("{file}: no queue or shared memory has this name\n");
    dir.fails(&["unlink", "nothing"], b"", 1, &words);
    // The control file still exists.
    dir.ok(&["push", "part"], b"x\n");
    let file = dir.0.path().join("ipcq.part");
    std::fs::remove_file(&file).unwrap();
    let file = file.to_str().unwrap();
    let missing = format!("ipcq: {file}: its data file is missing, but {file}.ctl exists: ");
    for verb in ["stat", "schema", "dump", "top"] {
        dir.fails(&[verb, "part"], b"", 1, &missing);
    }
    dir.ok(&["unlink", "part"], b"");
    dir.fails(&["stat", "part"], b"", 1, "there is no such queue");
}

/// A standard stream that is not a pipe.
#[derive(Debug, Clone, Copy)]
enum Stream {
    Closed,
    /// A pipe without a reader.
    Unread,
    /// A full device.
    Full,
    /// Opened for reading instead of writing, or for writing instead of reading.
    Wrong,
}

/// Runs the command with one of its standard streams replaced.
fn with_stream(dir: &Dir, arguments: &[&str], fd: i32, stream: Stream) -> Output {
    let mut command = dir.command(arguments);
    let file = match stream {
        Stream::Closed => {
            // SAFETY: the system call is allowed between fork and exec.
            unsafe {
                command.pre_exec(move || {
                    libc::close(fd);
                    Ok(())
                })
            };
            return command.stdin(Stdio::null()).output().unwrap();
        }
        Stream::Unread => {
            let mut ends = [0; 2];
            // SAFETY: `ends` is valid for writes of two descriptors, which are owned from here on.
            let [_reader, writer] = unsafe {
                assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
                ends.map(|fd| OwnedFd::from_raw_fd(fd))
            };
            Stdio::from(writer)
        }
        Stream::Full => Stdio::from(std::fs::File::create("/dev/full").unwrap()),
        Stream::Wrong if fd == 0 => Stdio::from(std::fs::File::create("/dev/null").unwrap()),
        Stream::Wrong => Stdio::from(std::fs::File::open("/dev/null").unwrap()),
    };
    match fd {
        0 => command.stdin(file),
        1 => command.stdin(Stdio::null()).stdout(file),
        _ => command.stdin(Stdio::null()).stderr(file),
    };
    command.output().unwrap()
}

#[test]
fn standard_streams_that_fail_are_errors() {
    let dir = Dir::new();
    let number = ipcq::Field::new("n", 0, ipcq::Scalar::parse("i4").unwrap());
    ipcq::Producer::options()
        .schema(ipcq::Schema::new(4, vec![number]).unwrap())
        .open(dir.0.path().join("ipcq.q"))
        .unwrap()
        .push(&[1; 4])
        .unwrap();
    let writers = [
        &["list"][..],
        &["stat", "q"],
        &["schema", "q"],
        &["top", "--count", "1", "--interval", "0.01"],
        &["dump", "q"],
        &["dump", "q", "--follow"],
        &["help"],
        &["--help"],
        &["--version"],
    ];
    for arguments in writers {
        for stream in [Stream::Closed, Stream::Full, Stream::Wrong] {
            let output = with_stream(&dir, arguments, 1, stream);
            let error = String::from_utf8(output.stderr).unwrap();
            let what = format!("{arguments:?} {stream:?}: {error}");
            assert_eq!(output.status.code(), Some(1), "{what}");
            assert!(
                error.starts_with("ipcq: cannot write standard output: "),
                "{what}"
            );
        }
        let output = with_stream(&dir, arguments, 1, Stream::Unread);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(output.stderr, b"", "{arguments:?}");
        // These verbs do not read, and print nothing to standard error on success.
        for fd in [0, 2] {
            let output = with_stream(&dir, arguments, fd, Stream::Closed);
            assert_eq!(output.status.code(), Some(0), "{arguments:?} {fd}");
            assert_ne!(output.stdout, b"", "{arguments:?} {fd}");
        }
    }
    // Without input, no queue is created.
    for name in ["q", "new"] {
        let output = with_stream(&dir, &["push", name, "--size", "4"], 0, Stream::Closed);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("cannot read standard input: "), "{error}");
    }
    dir.fails(&["stat", "new"], b"", 1, "there is no such queue");
    let output = with_stream(&dir, &["push", "q", "--size", "4"], 0, Stream::Wrong);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("cannot read standard input: "), "{error}");
    // The exit status reports the error even if the text cannot be written.
    for stream in [Stream::Closed, Stream::Unread, Stream::Full, Stream::Wrong] {
        for (arguments, status) in [
            (&["stat", "nothing"][..], 1),
            (&["frobnicate"], 2),
            (&["dump", "q", "--start", "0", "--count", "1"], 0),
        ] {
            let output = with_stream(&dir, arguments, 2, stream);
            assert_eq!(
                output.status.code(),
                Some(status),
                "{arguments:?} {stream:?}"
            );
        }
    }
    // `push` does not write to standard output.
    for stream in [Stream::Closed, Stream::Unread, Stream::Full] {
        let output = with_stream(&dir, &["push", "lines"], 1, stream);
        assert_eq!(output.status.code(), Some(0), "{stream:?}");
        let output = with_stream(&dir, &["unlink", "lines"], 1, stream);
        assert_eq!(output.status.code(), Some(0), "{stream:?}");
    }
}

#[test]
fn a_lease_is_named_by_list_and_stat() {
    const F_SETSIG: i32 = 10;
    let dir = Dir::new();
    dir.ok(&["push", "q"], b"x\n");
    let data = std::fs::File::open(dir.0.path().join("ipcq.q")).unwrap();
    // SAFETY: the calls take numbers. The signal is ignored, whereas the usual signal of a lease
    // ends a process.
    let taken = unsafe {
        libc::fcntl(data.as_raw_fd(), F_SETSIG, libc::SIGURG);
        libc::fcntl(data.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK)
    };
    if taken != 0 {
        eprintln!("skipped: no leases on this file system");
        return;
    }
    let output = dir.run(&["stat", "q"], b"");
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    let why = error.strip_prefix("ipcq: ").unwrap();
    assert!(why.contains("another process holds a lease on it"), "{why}");
    let list = dir.text(&["list"]);
    assert!(list.ends_with(&format!(" unreadable: {why}")), "{list}");
}

/// Makes every pread at the beginning of a file fail with an errno.
fn fail_reads(command: &mut Command, errno: i32) {
    let step = |code: u32, yes: u8, no: u8, k: u32| libc::sock_filter {
        code: code as u16,
        jt: yes,
        jf: no,
        k,
    };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let end = libc::BPF_RET | libc::BPF_K;
    let low = if cfg!(target_endian = "big") { 4 } else { 0 };
    let filter = [
        step(load, 0, 0, 0),
        step(equal, 0, 3, libc::SYS_pread64 as u32),
        // The low half of the fourth argument.
        step(load, 0, 0, 16 + 3 * 8 + low),
        step(equal, 0, 1, 0),
        step(end, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
        step(end, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let install = move || {
        let program = libc::sock_fprog {
            len: filter.len() as u16,
            filter: filter.as_ptr().cast_mut(),
        };
        // SAFETY: the system calls are allowed between fork and exec, and `program` outlives them.
        let rc = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program)
        };
        match rc {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: `install` only makes system calls.
    unsafe { command.pre_exec(install) };
}

#[test]
fn a_read_error_is_reported_as_such() {
    // An emulator reads files itself.
    if std::env::var_os("IPCQ_TEST_RUNNER").is_some() {
        return;
    }
    let dir = Dir::new();
    dir.ok(&["push", "q"], b"x\n");
    for errno in [
        libc::ENOENT,
        libc::EACCES,
        libc::EPERM,
        libc::EIO,
        libc::ESTALE,
        libc::EAGAIN,
        libc::EPIPE,
        libc::ENOTDIR,
    ] {
        let meaning = std::io::Error::from_raw_os_error(errno).to_string();
        let file = dir.0.path().join("ipcq.q");
        let words = format!("cannot read {}: {meaning}\n", file.to_str().unwrap());
        for arguments in [&["stat", "q"][..], &["schema", "q"], &["list"]] {
            let mut command = dir.command(arguments);
            fail_reads(&mut command, errno);
            let output = command.stdin(Stdio::null()).output().unwrap();
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8(text).unwrap();
            assert!(text.ends_with(&words), "{arguments:?} {meaning}: {text}");
        }
    }
}
