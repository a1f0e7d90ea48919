//! ipcq through its Rust interface.

use ipcq::{Consumer, Delivery, Error, Producer};
use peers::{arg, die, pin, text_arg, ticks, Clock, Message, Peer, Receiver, Sender};

struct Ipcq;
struct Out(Producer);
struct In(Consumer, u64);

impl Peer for Ipcq {
    const NAME: &'static str = "ipcq Rust";
    type Sender<const N: usize> = Out;
    type Receiver<const N: usize> = In;

    fn sender<const N: usize>(name: &str, capacity: usize, lossless: bool) -> Out {
        let delivery = if lossless {
            Delivery::Lossless
        } else {
            Delivery::Lossy
        };
        let options = Producer::options()
            .capacity(capacity as u64)
            .message_size(N as u32)
            .delivery(delivery);
        Out(options.open(name).unwrap_or_else(|e| fail(e)))
    }

    fn receiver<const N: usize>(name: &str, _capacity: usize) -> In {
        In(
            Consumer::options().open(name).unwrap_or_else(|e| fail(e)),
            0,
        )
    }

    fn clean(name: &str) {
        let _ = ipcq::unlink(name);
    }
}

#[cold]
fn fail(e: Error) -> ! {
    die(&e.to_string())
}

/// The bytes of consecutive messages.
fn bytes<const N: usize>(messages: &[Message<N>]) -> &[u8] {
    // SAFETY: a message consists of N bytes.
    unsafe { std::slice::from_raw_parts(messages.as_ptr().cast(), size_of_val(messages)) }
}

fn bytes_mut<const N: usize>(messages: &mut [Message<N>]) -> &mut [u8] {
    // SAFETY: as above. Any bytes are a valid message.
    unsafe { std::slice::from_raw_parts_mut(messages.as_mut_ptr().cast(), size_of_val(messages)) }
}

impl<const N: usize> Sender<N> for Out {
    #[inline(always)]
    fn one(&mut self, message: &Message<N>) -> bool {
        match self.0.push(&message.0) {
            Ok(()) => true,
            Err(Error::Full(_)) => false,
            Err(e) => fail(e),
        }
    }

    #[inline(always)]
    fn many(&mut self, messages: &[Message<N>]) -> usize {
        match self.0.push_many(bytes(messages), N) {
            Ok(n) => n,
            Err(Error::Full(_)) => 0,
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

// One call each, as from C, and otherwise identical. A cycle is 7 % of a push, and the address of
// the code decides whether one more cycle shows. So both are measured at several addresses, `PAD`
// bytes apart.
#[inline(never)]
fn checking_push<const PAD: usize>(producer: &mut Producer, message: &[u8]) {
    shift::<PAD>();
    producer.push(message).unwrap_or_else(|e| fail(e));
}

#[inline(never)]
fn unchecked_push<const PAD: usize>(producer: &mut Producer, message: &[u8]) {
    shift::<PAD>();
    ipcq::__binding::push_unheard(producer, message).unwrap_or_else(|e| fail(e));
}

#[inline(always)]
fn shift<const PAD: usize>() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the code consists of no-ops.
    unsafe {
        std::arch::asm!(".if {0}", ".nops {0}", ".endif", const PAD, options(nomem, nostack, preserves_flags))
    };
}

type Push = fn(&mut Producer, &[u8]);

/// The two functions at all addresses.
const PLACES: [[Push; 2]; 8] = [
    [checking_push::<0>, unchecked_push::<0>],
    [checking_push::<8>, unchecked_push::<8>],
    [checking_push::<16>, unchecked_push::<16>],
    [checking_push::<24>, unchecked_push::<24>],
    [checking_push::<32>, unchecked_push::<32>],
    [checking_push::<40>, unchecked_push::<40>],
    [checking_push::<48>, unchecked_push::<48>],
    [checking_push::<56>, unchecked_push::<56>],
];

/// A push that checks for sleepers, of which none exist, and a push that does not, in turns.
fn check_for_sleepers() {
    const PUSHES: u64 = 2000;
    let clock = Clock::new();
    pin(arg("cpu0", 0));
    let name = format!("sleepers.{}", std::process::id());
    let size = arg("size", 64) as usize;
    let Out(mut producer) = match size {
        8 => Ipcq::sender::<8>(&name, 1024, false),
        64 => Ipcq::sender::<64>(&name, 1024, false),
        size => die(&format!("size={size} is not compiled in")),
    };
    let message = vec![7u8; size];
    let mut samples = [const { [const { Vec::new() }; 2] }; PLACES.len()];
    // Both orders at each address, at least once.
    let rounds = (arg("count", 1_000_000) / PUSHES).max(2 * PLACES.len() as u64);
    for round in 0..2 * rounds {
        // The order alternates: 0 1, 1 0, 0 1 ...
        let which = ((round % 2) ^ (round / 2 % 2)) as usize;
        let place = (round / 4) as usize % PLACES.len();
        let push = std::hint::black_box(PLACES[place][which]);
        let begun = ticks();
        for _ in 0..PUSHES {
            push(&mut producer, std::hint::black_box(&message[..]));
        }
        samples[place][which].push(ticks() - begun);
    }
    drop(producer);
    Ipcq::clean(&name);
    let scale = clock.ns_per_tick() / (PUSHES * PLACES.len() as u64) as f64;
    let mut total = [0.0; 2];
    for place in &mut samples {
        for (total, s) in total.iter_mut().zip(place) {
            s.sort_unstable();
            *total += s[s.len() / 2] as f64 * scale;
        }
    }
    let [checking, unchecked] = total;
    let pushed = 2 * rounds * PUSHES;
    println!(
        "{{\"peer\":\"ipcq Rust\",\"measure\":\"sleepers\",\"size\":{size},\"pushed\":{pushed},\
         \"received\":0,\"lost\":0,\"push\":{checking:.3},\"unchecked\":{unchecked:.3}}}"
    );
}

fn main() {
    match text_arg("what").as_deref() {
        Some("sleepers") => check_for_sleepers(),
        _ => peers::run::<Ipcq>(),
    }
}
