//! Receives the ticks of `sender` until that closes the queue, then removes the queue.

use ipcq::Consumer;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Tick {
    number: u64,
    price: f64,
}

fn main() -> ipcq::Result<()> {
    // No time limit: wait until the sender has made the queue.
    let mut q = Consumer::options()
        .open_timeout(None)
        .open("example.ticks")?;
    let (mut received, mut lost) = (0, 0);
    for tick in q.iter::<Tick>() {
        let tick = tick?;
        println!("#{}: {:.3}", tick.number, tick.price);
        received += 1;
        lost += tick.meta.lost;
    }
    println!("received {received} ticks, lost {lost}");
    ipcq::unlink("example.ticks")
}
