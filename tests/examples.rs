//! The programs in `examples/` run as their first lines say.

mod common;

use common::Dir;
use std::path::Path;
use std::process::{Child, Command, Stdio};

fn start(example: &str, directory: &Path) -> Child {
    Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--example", example])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("IPCQ_DIR", directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The output of the example.
fn output(example: Child) -> String {
    let output = example.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_receiver_gets_what_a_sender_sends() {
    let dir = Dir::new();
    let receiver = start("receiver", dir.path());
    let sent = output(start("sender", dir.path()));
    assert_eq!(sent, "sent 10 ticks, from 0 on\n");
    let received = output(receiver);
    assert!(
        received.starts_with("#0: 100.000\n#1: 100.125\n"),
        "{received}"
    );
    assert!(
        received.ends_with("received 10 ticks, lost 0\n"),
        "{received}"
    );
    assert!(dir.files().is_empty(), "{:?}", dir.files());
}

#[test]
fn a_lossless_queue_loses_nothing() {
    let dir = Dir::new();
    let output = output(start("lossless", dir.path()));
    assert!(output.starts_with("all 10000 jobs arrived;"), "{output}");
    assert!(dir.files().is_empty(), "{:?}", dir.files());
}

#[test]
fn records_are_checked() {
    let dir = Dir::new();
    let output = output(start("records", dir.path()));
    assert!(
        output.starts_with("ACME at 1700000000000000000: 9.5 9.625\n"),
        "{output}"
    );
    assert!(output.contains("the queue has other records"), "{output}");
    assert!(dir.files().is_empty(), "{:?}", dir.files());
}

#[test]
fn a_stream_ends_when_the_queue_is_closed() {
    let dir = Dir::new();
    let output = output(start("stream", dir.path()));
    assert!(output.ends_with("9\nreceived 10 numbers\n"), "{output}");
    assert!(dir.files().is_empty(), "{:?}", dir.files());
}
