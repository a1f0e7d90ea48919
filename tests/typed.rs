//! Values of plain-data types as messages.

mod common;

use bytemuck::{Pod, Zeroable};
use common::Dir;
use ipcq::{Consumer, Error, Producer};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Tick {
    time_ns: u64,
    price: f64,
    quantity: u32,
    reserved: u32,
}

fn tick(n: u32) -> Tick {
    Tick {
        time_ns: n.into(),
        price: f64::from(n) / 8.0,
        quantity: n,
        reserved: 0,
    }
}

/// A queue of ticks in a directory that exists as long as the test.
fn pair() -> (Producer, Consumer, Dir) {
    let dir = Dir::new();
    let out = Producer::options()
        .message_size(24)
        .capacity(64)
        .open(dir.name("q"))
        .unwrap();
    let q = Consumer::options().open(dir.name("q")).unwrap();
    (out, q, dir)
}

#[test]
fn values_arrive_unchanged() {
    let (mut out, mut q, _dir) = pair();
    out.push_value(&tick(0)).unwrap();
    let many: Vec<_> = (1..10).map(tick).collect();
    assert_eq!(out.push_values(&many).unwrap(), 9);
    assert_eq!(out.push_values::<Tick>(&[]).unwrap(), 0);
    let got = q.try_recv::<Tick>().unwrap().unwrap();
    assert_eq!((*got, got.meta.sequence), (tick(0), 0));
    let mut room = [tick(99); 16];
    let (count, first) = q.pop_values(&mut room).unwrap().unwrap();
    assert_eq!((count, first.sequence), (9, 1));
    assert_eq!(room[..9], many[..]);
    assert_eq!(q.try_recv::<Tick>().unwrap(), None);
}

#[test]
fn another_size_is_an_error() {
    let (mut out, mut q, _dir) = pair();
    assert!(matches!(out.push_value(&1u64), Err(Error::MessageSize(_))));
    out.push_value(&tick(7)).unwrap();
    assert!(matches!(q.try_recv::<u64>(), Err(Error::MessageSize(_))));
    assert!(matches!(q.recv::<u64>(), Err(Error::MessageSize(_))));
    assert!(matches!(q.recv::<[u64; 9]>(), Err(Error::MessageSize(_))));
    let values = q.pop_values(&mut [0u64; 9]);
    assert!(matches!(values, Err(Error::MessageSize(_))));
    assert_eq!(*q.try_recv::<Tick>().unwrap().unwrap(), tick(7));
}

#[test]
fn receiving_waits_and_an_iterator_ends_when_the_queue_is_closed() {
    let (mut out, mut q, _dir) = pair();
    let soon = Duration::from_millis(10);
    let none = q.recv_timeout::<Tick>(soon);
    assert!(matches!(none, Err(Error::TimedOut(_))), "{none:?}");
    let sender = std::thread::spawn(move || {
        for n in 0..50 {
            std::thread::sleep(Duration::from_micros(200));
            out.push_value(&tick(n)).unwrap();
        }
    });
    assert_eq!(*q.recv::<Tick>().unwrap(), tick(0));
    assert_eq!(
        *q.recv_timeout::<Tick>(Duration::from_secs(60)).unwrap(),
        tick(1)
    );
    let mut next = 2;
    for got in q.iter::<Tick>() {
        let got = got.unwrap();
        assert_eq!(
            (*got, got.meta.sequence, got.meta.lost),
            (tick(next), next.into(), 0)
        );
        next += 1;
    }
    sender.join().unwrap();
    assert_eq!(next, 50);
    assert!(matches!(q.recv::<Tick>(), Err(Error::Closed(_))));
    assert_eq!(q.iter::<Tick>().count(), 0);
}

#[test]
fn an_iterator_ends_after_an_error() {
    let (_out, mut q, dir) = pair();
    let mut items = q.iter::<u64>();
    assert!(matches!(items.next(), Some(Err(Error::MessageSize(_)))));
    assert!(items.next().is_none());
    drop(dir);
}
