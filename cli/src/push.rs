//! `push`: sends standard input to a queue.

use crate::{stream, Failure};
use ipcq::Producer;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

/// The options of `push`.
#[derive(Default)]
pub struct Options {
    /// The size of every message in bytes. With 0, each line is a message.
    pub size: u32,
    pub capacity: u64,
}

/// Parses a message size.
pub fn size(text: &str) -> Result<u32, &'static str> {
    match text.parse() {
        Ok(0) | Err(_) => Err("not a number of bytes, 1 or more"),
        Ok(size) => Ok(size),
    }
}

pub fn push(name: &OsStr, o: &Options) -> Result<(), Failure> {
    let failed = |e| Failure::Error(format!("cannot read standard input: {e}"));
    // Open the input first, so that no queue is created in vain.
    let mut input = BufReader::new(stream::input().map_err(failed)?);
    let mut out = Producer::options()
        .message_size(o.size)
        .capacity(o.capacity)
        .open(name)?;
    let mut message = Vec::new();
    loop {
        message.clear();
        if o.size > 0 {
            let mut part = (&mut input).take(o.size.into());
            part.read_to_end(&mut message).map_err(failed)?;
            match message.len() {
                0 => return Ok(()),
                n if n < o.size as usize => {
                    let rest = format!(
                        "the last {n} bytes are less than a message of {} bytes",
                        o.size
                    );
                    return Err(Failure::Error(rest));
                }
                _ => {}
            }
        } else {
            if input.read_until(b'\n', &mut message).map_err(failed)? == 0 {
                return Ok(());
            }
            if message.last() == Some(&b'\n') {
                message.pop();
            }
        }
        // A lossless queue may be full.
        while let Err(e) = out.push_wait(&message, Duration::MAX) {
            if !matches!(e, ipcq::Error::Interrupted(_)) {
                return Err(e.into());
            }
        }
    }
}
