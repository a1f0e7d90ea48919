//! The measures, as in `benches/c`: round trip, stream, and a single process.

use crate::{
    arg, check, die, meet, pattern, pin, stamp, text_arg, ticks, Account, Clock, Receiver, Sender,
    Shared,
};
use std::sync::atomic::Ordering;
use std::time::Instant;

/// The side of a benchmark.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The side that measures: it sends the pings, or consumes.
    First,
    /// The other side.
    Second,
}

impl Side {
    /// Pins this thread to the processor of its side.
    pub fn pin(self) -> usize {
        pin(match self {
            Side::First => arg("cpu0", 0),
            Side::Second => arg("cpu1", 1),
        });
        self as usize
    }
}

/// The start of the JSON, with the members that all measures have.
fn begin(peer: &str, measure: &str, size: usize) -> String {
    format!("\"peer\":\"{peer}\",\"measure\":\"{measure}\",\"size\":{size}")
}

fn distances(distances: [u64; 2], clock: &Clock) -> String {
    let scale = clock.ns_per_tick();
    let [a, b] = distances.map(|d| d as f64 * scale);
    format!("\"lines\":[{a:.1},{b:.1}]")
}

fn percentiles(samples: &mut [u64], clock: &Clock) -> String {
    const AT: [f64; 20] = [
        0.0, 0.1, 1.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0, 98.0, 99.0,
        99.5, 99.9, 99.99, 100.0,
    ];
    samples.sort_unstable();
    let scale = clock.ns_per_tick();
    let at = |p: f64| samples[((samples.len() - 1) as f64 * p / 100.0) as usize] as f64 * scale;
    let list: Vec<String> = AT.iter().map(|&p| format!("[{p},{:.1}]", at(p))).collect();
    format!(
        "\"p50\":{:.1},\"p99\":{:.1},\"samples\":{},\"percentiles\":[{}]",
        at(50.0),
        at(99.0),
        samples.len(),
        list.join(",")
    )
}

/// One side of a round trip over two open queues. The first side prints.
pub fn round_trip<const N: usize>(
    peer: &str,
    side: Side,
    shared: &Shared,
    out: &mut impl Sender<N>,
    back: &mut impl Receiver<N>,
) {
    let clock = Clock::new();
    let count = arg("count", 100_000);
    let (warm, me) = (count / 10, side as usize);
    let before = shared.distance(me);
    let mut message = pattern::<N>(1);
    if side == Side::Second {
        for _ in 0..warm + count {
            while !back.one(&mut message[0]) {}
            while !out.one(&message[0]) {}
        }
        shared.distance(me);
        return;
    }
    let (mut reply, mut like) = (pattern::<N>(1), pattern::<N>(1));
    let mut samples = vec![1u64; count as usize];
    for i in 0..warm + count {
        stamp(&mut message[0], i);
        let begun = ticks();
        while !out.one(&message[0]) {}
        while !back.one(&mut reply[0]) {}
        let took = ticks() - begun;
        if check(&reply[0], &mut like[0]) != i {
            die(&format!("not the reply to message {i}"));
        }
        if i >= warm {
            samples[(i - warm) as usize] = took;
        }
    }
    let after = shared.distance(me);
    if back.lost() != 0 {
        die("messages lost");
    }
    println!(
        "{{{},{},\"pushed\":{n},\"received\":{n},\"lost\":0,{}}}",
        begin(peer, "roundtrip", N),
        distances([before, after], &clock),
        percentiles(&mut samples, &clock),
        n = warm + count,
    );
}

fn produce<const N: usize>(out: &mut impl Sender<N>, count: u64, batch: usize) {
    let mut messages = pattern::<N>(batch);
    if batch == 1 {
        for i in 0..count {
            stamp(&mut messages[0], i);
            while !out.one(&messages[0]) {
                std::hint::spin_loop();
            }
        }
        return;
    }
    let mut i = 0;
    while i < count {
        let many = (count - i).min(batch as u64) as usize;
        for (k, message) in messages[..many].iter_mut().enumerate() {
            stamp(message, i + k as u64);
        }
        let mut done = 0;
        while done < many {
            let n = out.many(&messages[done..many]);
            if n == 0 {
                std::hint::spin_loop();
            }
            done += n;
        }
        i += many as u64;
    }
}

fn do_work(work: u64) {
    let mut x = work;
    for _ in 0..work {
        x = std::hint::black_box(x.wrapping_mul(6364136223846793005).wrapping_add(1));
    }
}

/// The producing side of a stream.
pub fn stream_out<const N: usize>(shared: &Shared, out: &mut impl Sender<N>) {
    let (count, batch) = (arg("count", 1_000_000), arg("batch", 1) as usize);
    shared.distance(Side::Second as usize);
    let begun = Instant::now();
    produce(out, count, batch);
    shared
        .figure
        .store(begun.elapsed().as_nanos() as u64, Ordering::SeqCst);
    shared.distance(Side::Second as usize);
}

/// The consuming side of a stream, which measures and prints.
pub fn stream_in<const N: usize>(peer: &str, shared: &Shared, from: &mut impl Receiver<N>) {
    let clock = Clock::new();
    let (count, batch) = (arg("count", 1_000_000), arg("batch", 1) as usize);
    let (work, lossless) = (arg("work", 0), arg("lossless", 0) != 0);
    let before = shared.distance(Side::First as usize);
    let (mut messages, mut like) = (pattern::<N>(batch), pattern::<N>(1));
    let (mut account, mut first) = (Account::default(), None);
    while account.next < count {
        let n = match batch {
            1 => from.one(&mut messages[0]) as usize,
            _ => from.many(&mut messages),
        };
        if n == 0 {
            std::hint::spin_loop();
            continue;
        }
        first.get_or_insert_with(Instant::now);
        for message in &messages[..n] {
            account.receive(check(message, &mut like[0]));
            do_work(work);
        }
    }
    let took = first.unwrap().elapsed();
    let after = shared.distance(Side::First as usize);
    account.settle(count, from.lost());
    if lossless && account.lost > 0 {
        die(&format!("{} lost in a lossless queue", account.lost));
    }
    println!(
        "{{{},\"batch\":{batch},\"lossless\":{lossless},{},\"ns\":{:.3},\"producer_ns\":{:.3},\
         \"pushed\":{count},\"received\":{},\"lost\":{}}}",
        begin(peer, "stream", N),
        distances([before, after], &clock),
        took.as_nanos() as f64 / account.received as f64,
        shared.figure.load(Ordering::SeqCst) as f64 / count as f64,
        account.received,
        account.lost,
    );
}

/// One thread: chunks are pushed, then popped, each timed separately.
pub fn local<const N: usize>(peer: &str, out: &mut impl Sender<N>, from: &mut impl Receiver<N>) {
    const CHUNK: u64 = 256;
    let clock = Clock::new();
    pin(arg("cpu0", 0));
    let (mut message, mut like) = (pattern::<N>(1), pattern::<N>(1));
    let mut popped = pattern::<N>(CHUNK as usize);
    let (mut pushes, mut pops) = (Vec::new(), Vec::new());
    let mut account = Account::default();
    let chunks = arg("count", 1_000_000) / CHUNK;
    for i in 0..chunks {
        let begun = ticks();
        for k in 0..CHUNK {
            stamp(&mut message[0], i * CHUNK + k);
            if !out.one(&message[0]) {
                die("full");
            }
        }
        let pushed = ticks();
        for to in &mut popped {
            if !from.one(to) {
                die("empty");
            }
        }
        pops.push(ticks() - pushed);
        pushes.push(pushed - begun);
        for message in &popped {
            account.receive(check(message, &mut like[0]));
        }
    }
    account.settle(chunks * CHUNK, from.lost());
    pushes.sort_unstable();
    pops.sort_unstable();
    let scale = clock.ns_per_tick() / CHUNK as f64;
    println!(
        "{{{},\"lossless\":{},\"pushed\":{n},\"received\":{n},\"lost\":0,\"push\":{:.3},\"pop\":{:.3}}}",
        begin(peer, "pushpop", N),
        arg("lossless", 0) != 0,
        pushes[pushes.len() / 2] as f64 * scale,
        pops[pops.len() / 2] as f64 * scale,
        n = chunks * CHUNK,
    );
}

/// Runs the measure that the arguments select between two processes, with the peer `P`.
pub fn run<P: crate::Peer>() {
    match arg("size", 64) {
        8 => run_size::<P, 8>(),
        48 => run_size::<P, 48>(),
        64 => run_size::<P, 64>(),
        1024 => run_size::<P, 1024>(),
        65536 => run_size::<P, 65536>(),
        size => die(&format!("size={size} is not compiled in")),
    }
}

fn run_size<P: crate::Peer, const N: usize>() {
    let pid = std::process::id();
    let (there, back) = (format!("there.{pid}"), format!("back.{pid}"));
    let capacity = arg("capacity", 4096) as usize;
    let lossless = arg("lossless", 0) != 0;
    match text_arg("what").as_deref() {
        Some("roundtrip") => {
            let side = |side: Side, out: &str, from: &str, shared: &Shared| {
                let me = side.pin();
                let mut out = P::sender::<N>(out, capacity, lossless);
                meet(shared, me);
                let mut from = P::receiver::<N>(from, capacity);
                meet(shared, me);
                round_trip(P::NAME, side, shared, &mut out, &mut from);
                meet(shared, me);
            };
            crate::processes(
                |s| side(Side::First, &there, &back, s),
                |s| side(Side::Second, &back, &there, s),
            );
        }
        Some("stream") => {
            crate::processes(
                |s| {
                    let me = Side::First.pin();
                    meet(s, me);
                    let mut from = P::receiver::<N>(&there, capacity);
                    meet(s, me);
                    stream_in(P::NAME, s, &mut from);
                    meet(s, me);
                },
                |s| {
                    let me = Side::Second.pin();
                    let mut out = P::sender::<N>(&there, capacity, lossless);
                    meet(s, me);
                    meet(s, me);
                    stream_out(s, &mut out);
                    meet(s, me);
                },
            );
        }
        Some("pushpop") => {
            let mut out = P::sender::<N>(&there, 1024, lossless);
            let mut from = P::receiver::<N>(&there, 1024);
            local(P::NAME, &mut out, &mut from);
        }
        what => die(&format!("what={what:?}?")),
    }
    P::clean(&there);
    P::clean(&back);
}
