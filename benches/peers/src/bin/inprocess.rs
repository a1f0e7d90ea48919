//! References between threads of one process, where the compiler inlines everything and no content
//! is checked by a queue: rtrb, and the disruptor with an event poller.

use disruptor::{BusySpin, EventPoller, Polling, SingleProducerBarrier};
use peers::{arg, die, meet, text_arg, Message, Receiver, Sender, Shared, Side};

struct RtrbOut<const N: usize>(rtrb::Producer<Message<N>>);
struct RtrbIn<const N: usize>(rtrb::Consumer<Message<N>>);

impl<const N: usize> Sender<N> for RtrbOut<N> {
    #[inline(always)]
    fn one(&mut self, message: &Message<N>) -> bool {
        self.0.push(*message).is_ok()
    }

    #[inline(always)]
    fn many(&mut self, messages: &[Message<N>]) -> usize {
        self.0.push_partial_slice(messages).0.len()
    }
}

impl<const N: usize> Receiver<N> for RtrbIn<N> {
    #[inline(always)]
    fn one(&mut self, to: &mut Message<N>) -> bool {
        match self.0.pop() {
            Ok(message) => {
                *to = message;
                true
            }
            Err(_) => false,
        }
    }

    #[inline(always)]
    fn many(&mut self, to: &mut [Message<N>]) -> usize {
        self.0.pop_partial_slice(to).0.len()
    }

    fn lost(&self) -> u64 {
        0
    }
}

fn rtrb<const N: usize>(capacity: usize) -> (RtrbOut<N>, RtrbIn<N>) {
    let (out, from) = rtrb::RingBuffer::new(capacity);
    (RtrbOut(out), RtrbIn(from))
}

struct DisruptorOut<P>(P);
struct DisruptorIn<const N: usize>(EventPoller<Message<N>, SingleProducerBarrier>);

impl<const N: usize, P: disruptor::Producer<Message<N>>> Sender<N> for DisruptorOut<P> {
    #[inline(always)]
    fn one(&mut self, message: &Message<N>) -> bool {
        self.0.try_publish(|slot| *slot = *message).is_ok()
    }

    #[inline(always)]
    fn many(&mut self, messages: &[Message<N>]) -> usize {
        let publish = self.0.try_batch_publish(messages.len(), |slots| {
            for (slot, message) in slots.zip(messages) {
                *slot = *message;
            }
        });
        match publish {
            Ok(_) => messages.len(),
            Err(_) => 0,
        }
    }
}

impl<const N: usize> Receiver<N> for DisruptorIn<N> {
    #[inline(always)]
    fn one(&mut self, to: &mut Message<N>) -> bool {
        self.many(std::slice::from_mut(to)) == 1
    }

    #[inline(always)]
    fn many(&mut self, to: &mut [Message<N>]) -> usize {
        match self.0.take(to.len() as u64) {
            Ok(mut events) => {
                let mut n = 0;
                for event in &mut events {
                    to[n] = *event;
                    n += 1;
                }
                n
            }
            Err(Polling::NoEvents) => 0,
            Err(Polling::Shutdown) => die("shut down"),
        }
    }

    fn lost(&self) -> u64 {
        0
    }
}

fn disruptor<const N: usize>(capacity: usize) -> (impl Sender<N> + Send, DisruptorIn<N>) {
    let builder = disruptor::build_single_producer(capacity, || Message([0; N]), BusySpin);
    let (poller, builder) = builder.new_event_poller();
    (DisruptorOut(builder.build()), DisruptorIn(poller))
}

fn run<const N: usize, S: Sender<N> + Send, R: Receiver<N> + Send>(
    name: &str,
    pair: impl Fn(usize) -> (S, R),
) {
    let shared = Shared::default();
    let capacity = arg("capacity", 4096) as usize;
    match text_arg("what").as_deref() {
        Some("roundtrip") => {
            let ((mut there, mut hither), (mut back, mut home)) = (pair(capacity), pair(capacity));
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let me = Side::Second.pin();
                    meet(&shared, me);
                    peers::round_trip(name, Side::Second, &shared, &mut back, &mut hither);
                });
                let me = Side::First.pin();
                meet(&shared, me);
                peers::round_trip(name, Side::First, &shared, &mut there, &mut home);
            });
        }
        Some("stream") => {
            let (mut out, mut from) = pair(capacity);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let me = Side::Second.pin();
                    meet(&shared, me);
                    peers::stream_out(&shared, &mut out);
                });
                let me = Side::First.pin();
                meet(&shared, me);
                peers::stream_in(name, &shared, &mut from);
            });
        }
        Some("pushpop") => {
            let (mut out, mut from) = pair(1024);
            peers::local(name, &mut out, &mut from);
        }
        what => die(&format!("what={what:?}?")),
    }
}

fn run_size<const N: usize>() {
    match text_arg("peer").as_deref() {
        Some("rtrb") => run::<N, _, _>("rtrb", rtrb::<N>),
        Some("disruptor") => run::<N, _, _>("disruptor", disruptor::<N>),
        peer => die(&format!("peer={peer:?}?")),
    }
}

fn main() {
    match arg("size", 64) {
        8 => run_size::<8>(),
        48 => run_size::<48>(),
        64 => run_size::<64>(),
        1024 => run_size::<1024>(),
        size => die(&format!("size={size} is not compiled in")),
    }
}
