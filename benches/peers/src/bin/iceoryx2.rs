//! iceoryx2, publish and subscribe, configured for one publisher and one subscriber, without
//! history and without overflow. The queue loses nothing, and a full buffer blocks the publisher.
//! The payload is written into the loaned sample and copied out of the received one.

use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::publish_subscribe::PortFactory;
use peers::{die, Message, Peer, Receiver, Sender};

struct Iceoryx2;

type Factory<const N: usize> = PortFactory<ipc::Service, Message<N>, ()>;

/// The node and the service exist as long as their port.
struct Out<const N: usize>(
    Publisher<ipc::Service, Message<N>, ()>,
    #[allow(dead_code)] (Node<ipc::Service>, Factory<N>),
);
struct In<const N: usize>(
    Subscriber<ipc::Service, Message<N>, ()>,
    #[allow(dead_code)] (Node<ipc::Service>, Factory<N>),
);

fn service<const N: usize>(name: &str, capacity: usize) -> (Node<ipc::Service>, Factory<N>) {
    set_log_level(LogLevel::Error);
    let node = NodeBuilder::new().create::<ipc::Service>();
    let node = node.unwrap_or_else(|e| die(&format!("{e:?}")));
    let service = node
        .service_builder(&name.try_into().unwrap())
        .publish_subscribe::<Message<N>>()
        .enable_safe_overflow(false)
        .history_size(0)
        .subscriber_max_buffer_size(capacity)
        .subscriber_max_borrowed_samples(2)
        .max_publishers(1)
        .max_subscribers(1)
        .open_or_create()
        .unwrap_or_else(|e| die(&format!("{e:?}")));
    (node, service)
}

impl Peer for Iceoryx2 {
    const NAME: &'static str = "iceoryx2";
    type Sender<const N: usize> = Out<N>;
    type Receiver<const N: usize> = In<N>;

    fn sender<const N: usize>(name: &str, capacity: usize, _lossless: bool) -> Out<N> {
        let service = service::<N>(name, capacity);
        let publisher = service
            .1
            .publisher_builder()
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
            .max_loaned_samples(2)
            .create();
        Out(
            publisher.unwrap_or_else(|e| die(&format!("{e:?}"))),
            service,
        )
    }

    fn receiver<const N: usize>(name: &str, capacity: usize) -> In<N> {
        let service = service::<N>(name, capacity);
        let subscriber = service
            .1
            .subscriber_builder()
            .buffer_size(capacity)
            .create();
        In(
            subscriber.unwrap_or_else(|e| die(&format!("{e:?}"))),
            service,
        )
    }
}

impl<const N: usize> Sender<N> for Out<N> {
    #[inline(always)]
    fn one(&mut self, message: &Message<N>) -> bool {
        let mut sample = self
            .0
            .loan_uninit()
            .unwrap_or_else(|e| die(&format!("{e:?}")));
        // Write directly into the sample. `write_payload` would move a large message through the
        // stack.
        sample.payload_mut().write(*message);
        // SAFETY: the payload was written above.
        let sample = unsafe { sample.assume_init() };
        match sample.send() {
            Ok(1) => true,
            other => die(&format!("sent to {other:?}")),
        }
    }

    #[inline(always)]
    fn many(&mut self, messages: &[Message<N>]) -> usize {
        messages.iter().for_each(|m| {
            self.one(m);
        });
        messages.len()
    }
}

impl<const N: usize> Receiver<N> for In<N> {
    #[inline(always)]
    fn one(&mut self, to: &mut Message<N>) -> bool {
        match self.0.receive() {
            Ok(Some(sample)) => {
                *to = *sample;
                true
            }
            Ok(None) => false,
            Err(e) => die(&format!("{e:?}")),
        }
    }

    #[inline(always)]
    fn many(&mut self, to: &mut [Message<N>]) -> usize {
        let mut n = 0;
        while n < to.len() && self.one(&mut to[n]) {
            n += 1;
        }
        n
    }

    fn lost(&self) -> u64 {
        0
    }
}

fn main() {
    peers::run::<Iceoryx2>();
}
