//! Replays the inputs that fuzzing has kept. Each target runs each of its inputs again.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{channel, RecvTimeoutError};
use std::time::Duration;

/// An input takes milliseconds. An input that takes this long does not end.
const LIMIT: Duration = Duration::from_secs(60);

fn replay(name: &str, target: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let files = std::fs::read_dir(corpus.join(name)).unwrap();
    let mut inputs: Vec<PathBuf> = files.map(|f| f.unwrap().path()).collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "no corpus for {name}");
    let (progress, watched) = channel::<PathBuf>();
    std::thread::spawn(move || {
        let mut current = PathBuf::new();
        loop {
            match watched.recv_timeout(LIMIT) {
                Ok(next) => current = next,
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    eprintln!("{} does not end", current.display());
                    std::process::abort();
                }
            }
        }
    });
    for input in inputs {
        println!("{}", input.display());
        progress.send(input.clone()).unwrap();
        target(&std::fs::read(&input).unwrap());
    }
}

#[test]
fn open() {
    replay("open", ipcq_fuzz::open);
}

#[test]
fn read_fixed() {
    replay("read_fixed", ipcq_fuzz::read_fixed);
}

#[test]
fn read_variable() {
    replay("read_variable", ipcq_fuzz::read_variable);
}

#[test]
fn registry() {
    replay("registry", ipcq_fuzz::registry);
}

#[test]
fn produce() {
    replay("produce", ipcq_fuzz::produce);
}

#[test]
fn schema() {
    replay("schema", ipcq_fuzz::schema);
}
