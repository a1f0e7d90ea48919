//! ipcq through its Rust interface.

use ipcq::{Consumer, Delivery, Error, Producer};
use peers::{die, Message, Peer, Receiver, Sender};

struct Ipcq;
struct Out(Producer);
struct In(Consumer, u64);

impl Peer for Ipcq {
    const NAME: &'static str = "ipcq Rust";
    type Sender<const N: usize> = Out;
    type Receiver<const N: usize> = In;

    fn sender<const N: usize>(name: &str, capacity: usize, lossless: bool) -> Out {
        let delivery = if lossless { Delivery::Lossless } else { Delivery::Lossy };
        let options = Producer::options()
            .capacity(capacity as u64)
            .message_size(N as u32)
            .delivery(delivery);
        Out(options.open(name).unwrap_or_else(|e| fail(e)))
    }

    fn receiver<const N: usize>(name: &str, _capacity: usize) -> In {
        In(Consumer::options().open(name).unwrap_or_else(|e| fail(e)), 0)
    }

    fn clean(name: &str) {
        let _ = ipcq::unlink(name);
    }
}

#[cold]
fn fail(e: Error) -> ! {
    die(&e.to_string())
}

/// The bytes of messages that follow each other.
fn bytes<const N: usize>(messages: &[Message<N>]) -> &[u8] {
    // SAFETY: a message is N bytes and nothing else.
    unsafe { std::slice::from_raw_parts(messages.as_ptr().cast(), size_of_val(messages)) }
}

fn bytes_mut<const N: usize>(messages: &mut [Message<N>]) -> &mut [u8] {
    // SAFETY: as above; any bytes are a message.
    unsafe { std::slice::from_raw_parts_mut(messages.as_mut_ptr().cast(), size_of_val(messages)) }
}

impl<const N: usize> Sender<N> for Out {
    #[inline(always)]
    fn one(&mut self, message: &Message<N>) -> bool {
        match self.0.push(&message.0) {
            Ok(()) => true,
            Err(Error::Full) => false,
            Err(e) => fail(e),
        }
    }

    #[inline(always)]
    fn many(&mut self, messages: &[Message<N>]) -> usize {
        match self.0.push_many(bytes(messages), N) {
            Ok(n) => n,
            Err(Error::Full) => 0,
            Err(e) => fail(e),
        }
    }
}

impl<const N: usize> Receiver<N> for In {
    #[inline(always)]
    fn one(&mut self, to: &mut Message<N>) -> bool {
        match self.0.pop(&mut to.0) {
            Ok(Some(message)) => {
                self.1 += message.lost;
                true
            }
            Ok(None) => false,
            Err(e) => fail(e),
        }
    }

    #[inline(always)]
    fn many(&mut self, to: &mut [Message<N>]) -> usize {
        match self.0.pop_many(bytes_mut(to), N) {
            Ok(Some((many, first))) => {
                self.1 += first.lost;
                many
            }
            Ok(None) => 0,
            Err(e) => fail(e),
        }
    }

    fn lost(&self) -> u64 {
        self.1
    }
}

fn main() {
    peers::run::<Ipcq>();
}
