//! Sends ten ticks, and closes the queue. Run `receiver` in another terminal, before or after this
//! one:
//!
//! ```sh
//! cargo run --example sender
//! cargo run --example receiver
//! ```

use ipcq::Producer;
use std::time::Duration;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Tick {
    number: u64,
    price: f64,
}

fn main() -> ipcq::Result<()> {
    let mut out = Producer::options()
        .message_size(size_of::<Tick>() as u32)
        .capacity(1024)
        .open("example.ticks")?;
    let first = out.next_sequence();
    for number in first..first + 10 {
        let price = 100.0 + number as f64 / 8.0;
        out.push_value(&Tick { number, price })?;
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("sent 10 ticks, from {first} on");
    Ok(()) // Dropping the producer closes the queue.
}
