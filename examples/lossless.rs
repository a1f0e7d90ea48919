//! A job in which every message counts: the producer waits for the slowest consumer.
//!
//! The two sides are threads here, so that one command shows both. They are usually two processes.
//!
//! ```sh
//! cargo run --example lossless
//! ```

use ipcq::{Consumer, Delivery, Error, Producer};
use std::time::Duration;

const NAME: &str = "example.jobs";
const JOBS: u64 = 10_000;

fn main() -> ipcq::Result<()> {
    let mut out = Producer::options()
        .message_size(8)
        .capacity(64)
        .delivery(Delivery::Lossless)
        .min_consumers(1) // overwrite nothing before the first consumer has attached
        .open(NAME)?;

    let worker = std::thread::spawn(|| -> ipcq::Result<u64> {
        let mut q = Consumer::options().name("worker").open(NAME)?;
        let mut sum = 0;
        for job in q.iter::<u64>() {
            sum += *job?;
        }
        Ok(sum)
    });

    let mut waits = 0;
    for job in 0..JOBS {
        match out.push_value(&job) {
            Err(Error::Full(_)) => {
                waits += 1;
                out.push_wait(&job.to_le_bytes(), Some(Duration::from_secs(10)))?;
            }
            pushed => pushed?,
        }
    }
    drop(out);

    let sum = worker.join().expect("the worker does not panic")?;
    assert_eq!(sum, JOBS * (JOBS - 1) / 2);
    println!("all {JOBS} jobs arrived; the producer waited {waits} times for room");
    ipcq::unlink(NAME)
}
