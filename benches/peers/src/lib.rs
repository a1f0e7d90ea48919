//! Shared by all Rust benchmarks, as `benches/c/bench.h` is by the C ones: arguments, pinning, a
//! clock, messages that can be checked, the three measures, and one line of JSON at the end.

mod measure;
mod process;

pub use measure::{local, round_trip, run, stream_in, stream_out, Side};
pub use process::{arg, die, meet, pin, processes, text_arg, ticks, Clock, Shared};

// The shared library must contain its C functions.
#[cfg(feature = "ringfire")]
#[doc(hidden)]
pub use ringfire;

/// A message of `N` bytes.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct Message<const N: usize>(pub [u8; N]);

impl<const N: usize> std::fmt::Debug for Message<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a message of {N} bytes")
    }
}

// SAFETY: plain bytes, valid at any address and in any process.
#[cfg(feature = "iceoryx2")]
unsafe impl<const N: usize> iceoryx2::prelude::ZeroCopySend for Message<N> {}

/// Messages with the pattern of `bench.h`, on the heap because some are large.
pub fn pattern<const N: usize>(count: usize) -> Vec<Message<N>> {
    let mut messages = Vec::with_capacity(count);
    for _ in 0..count {
        messages.push(Message([0; N]));
        let last: &mut Message<N> = messages.last_mut().unwrap();
        for (i, byte) in last.0.iter_mut().enumerate() {
            *byte = (i * 31 + 7) as u8;
        }
    }
    messages
}

const COMPARE_EVERY: u64 = 64;

const fn step(size: usize) -> usize {
    if size / 16 > 64 {
        (size / 16) & !7
    } else {
        64
    }
}

/// Writes the sequence to the places that carry it.
#[inline(always)]
pub fn stamp<const N: usize>(message: &mut Message<N>, sequence: u64) {
    let word = sequence.to_ne_bytes();
    let mut i = 0;
    while i < N {
        message.0[i..i + 8].copy_from_slice(&word);
        i += step(N);
    }
    message.0[N - 8..].copy_from_slice(&word);
}

#[inline(always)]
fn word<const N: usize>(message: &Message<N>, at: usize) -> u64 {
    u64::from_ne_bytes(message.0[at..at + 8].try_into().unwrap())
}

/// Returns the sequence that a message carries, or ends the program if it is torn. `like` is a
/// pattern.
#[inline(always)]
pub fn check<const N: usize>(message: &Message<N>, like: &mut Message<N>) -> u64 {
    let sequence = word(message, 0);
    let mut bad = word(message, N - 8) ^ sequence;
    let mut i = 0;
    while i < N {
        bad |= word(message, i) ^ sequence;
        i += step(N);
    }
    if bad != 0 {
        die(&format!("torn: message {sequence}"));
    }
    if sequence % COMPARE_EVERY == 0 {
        stamp(like, sequence);
        if message.0 != like.0 {
            die(&format!("the content of message {sequence} is wrong"));
        }
    }
    sequence
}

/// The messages that a consumer has received and lost, according to their sequences.
#[derive(Default, Debug)]
pub struct Account {
    pub next: u64,
    pub received: u64,
    pub lost: u64,
}

impl Account {
    #[inline(always)]
    pub fn receive(&mut self, sequence: u64) {
        if sequence < self.next {
            die(&format!("message {sequence} after {}", self.next - 1));
        }
        self.lost += sequence - self.next;
        self.received += 1;
        self.next = sequence + 1;
    }

    /// Ends the program unless received + lost = pushed and the peer counts the same.
    pub fn settle(&self, pushed: u64, lost: u64) {
        if self.received + self.lost != pushed || self.lost != lost {
            die(&format!(
                "{self:?}, but {pushed} pushed and {lost} counted as lost"
            ));
        }
    }
}

/// The producing end.
pub trait Sender<const N: usize> {
    /// Pushes one message. `false` if the queue is full.
    fn one(&mut self, message: &Message<N>) -> bool;
    /// Pushes messages and returns how many.
    fn many(&mut self, messages: &[Message<N>]) -> usize;
}

/// The consuming end.
pub trait Receiver<const N: usize> {
    /// Pops one message into `to`. `false` if the queue is empty.
    fn one(&mut self, to: &mut Message<N>) -> bool;
    /// Pops messages and returns how many.
    fn many(&mut self, to: &mut [Message<N>]) -> usize;
    /// The number of lost messages so far, according to the peer.
    fn lost(&self) -> u64;
}

/// A queue between processes, opened by name at both ends.
pub trait Peer {
    /// The name in the tables.
    const NAME: &'static str;
    type Sender<const N: usize>: Sender<N>;
    type Receiver<const N: usize>: Receiver<N>;
    fn sender<const N: usize>(name: &str, capacity: usize, lossless: bool) -> Self::Sender<N>;
    fn receiver<const N: usize>(name: &str, capacity: usize) -> Self::Receiver<N>;
    /// Removes the files that are left.
    fn clean(_name: &str) {}
}

/// The directory for the files of the peers, if a peer lets the program choose it.
pub fn folder() -> String {
    std::env::var("IPCQ_DIR").unwrap_or_else(|_| "/dev/shm".into())
}
