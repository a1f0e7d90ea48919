//! ringfire through its Rust interface, used as in its own benchmarks: typed messages, `push` and
//! `try_recv`, `push_batch` and `recv_batch`.

use peers::{arg, die, Message, Peer, Receiver, Sender};
use ringfire::{
    BlobConsumer, BlobProducer, BlobProducerBuilder, FlowControl, RingConsumer, RingProducer,
    RingProducerBuilder,
};

struct Ringfire;

struct Out<const N: usize>(RingProducer<Message<N>>);
struct In<const N: usize>(RingConsumer<Message<N>>);

fn path(name: &str) -> String {
    format!("{}/ringfire.{name}", peers::folder())
}

impl Peer for Ringfire {
    const NAME: &'static str = "ringfire Rust";
    type Sender<const N: usize> = Out<N>;
    type Receiver<const N: usize> = In<N>;

    fn sender<const N: usize>(name: &str, capacity: usize, lossless: bool) -> Out<N> {
        let flow = match lossless {
            true => FlowControl::LosslessBackpressure,
            false => FlowControl::LossyLatestWins,
        };
        let builder = RingProducerBuilder::new(capacity as u64).flow_control(flow);
        Out(builder
            .build(path(name))
            .unwrap_or_else(|e| die(&e.to_string())))
    }

    fn receiver<const N: usize>(name: &str, _capacity: usize) -> In<N> {
        In(RingConsumer::attach(path(name)).unwrap_or_else(|e| die(&e.to_string())))
    }

    fn clean(name: &str) {
        let _ = std::fs::remove_file(path(name));
    }
}

impl<const N: usize> Sender<N> for Out<N> {
    /// The call itself waits if necessary.
    #[inline(always)]
    fn one(&mut self, message: &Message<N>) -> bool {
        self.0.push(message);
        true
    }

    #[inline(always)]
    fn many(&mut self, messages: &[Message<N>]) -> usize {
        self.0.push_batch(messages);
        messages.len()
    }
}

impl<const N: usize> Receiver<N> for In<N> {
    #[inline(always)]
    fn one(&mut self, to: &mut Message<N>) -> bool {
        // A large message would be returned through the stack and copied twice.
        if N > 1024 {
            return self.0.recv_batch(std::slice::from_mut(to)) == 1;
        }
        match self.0.try_recv() {
            Some(message) => {
                *to = message;
                true
            }
            None => false,
        }
    }

    #[inline(always)]
    fn many(&mut self, to: &mut [Message<N>]) -> usize {
        self.0.recv_batch(to)
    }

    fn lost(&self) -> u64 {
        self.0.lapped_count()
    }
}

/// Its form for large payloads: descriptors in a ring, and the bytes in an arena for the same
/// number of messages. Lossy only.
struct Blobs;
struct BlobsOut(BlobProducer<()>);
struct BlobsIn(BlobConsumer<()>);

impl Peer for Blobs {
    const NAME: &'static str = "ringfire Rust, blobs";
    type Sender<const N: usize> = BlobsOut;
    type Receiver<const N: usize> = BlobsIn;

    fn sender<const N: usize>(name: &str, capacity: usize, _lossless: bool) -> BlobsOut {
        let builder = BlobProducerBuilder::new(capacity as u64, capacity * N);
        BlobsOut(
            builder
                .build(path(name))
                .unwrap_or_else(|e| die(&e.to_string())),
        )
    }

    fn receiver<const N: usize>(name: &str, _capacity: usize) -> BlobsIn {
        BlobsIn(BlobConsumer::attach(path(name)).unwrap_or_else(|e| die(&e.to_string())))
    }

    fn clean(name: &str) {
        Ringfire::clean(name);
    }
}

impl<const N: usize> Sender<N> for BlobsOut {
    #[inline(always)]
    fn one(&mut self, message: &Message<N>) -> bool {
        match self.0.push_payload(&message.0) {
            Ok(_) => true,
            Err(e) => die(&e.to_string()),
        }
    }

    fn many(&mut self, messages: &[Message<N>]) -> usize {
        messages.iter().for_each(|m| {
            self.one(m);
        });
        messages.len()
    }
}

impl<const N: usize> Receiver<N> for BlobsIn {
    #[inline(always)]
    fn one(&mut self, to: &mut Message<N>) -> bool {
        match self.0.recv_payload(&mut to.0) {
            Ok(received) => received.is_some(),
            Err(e) => die(&e.to_string()),
        }
    }

    fn many(&mut self, to: &mut [Message<N>]) -> usize {
        let mut n = 0;
        while n < to.len() && self.one(&mut to[n]) {
            n += 1;
        }
        n
    }

    fn lost(&self) -> u64 {
        self.0.lapped_count()
    }
}

fn main() {
    match arg("blobs", 0) {
        0 => peers::run::<Ringfire>(),
        _ => peers::run::<Blobs>(),
    }
}
