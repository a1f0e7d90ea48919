//! Values of plain-data types as messages.

mod common;

use bytemuck::{Pod, Zeroable};
use common::Dir;
use ipcq::{Consumer, Error, Producer};

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
    let (value, message) = q.pop_value::<Tick>().unwrap().unwrap();
    assert_eq!((value, message.sequence), (tick(0), 0));
    let mut room = [tick(99); 16];
    let (count, first) = q.pop_values(&mut room).unwrap().unwrap();
    assert_eq!((count, first.sequence), (9, 1));
    assert_eq!(room[..9], many[..]);
    assert_eq!(q.pop_value::<Tick>().unwrap(), None);
}

#[test]
fn another_size_is_an_error() {
    let (mut out, mut q, _dir) = pair();
    assert!(matches!(out.push_value(&1u64), Err(Error::MessageSize(_))));
    out.push_value(&tick(7)).unwrap();
    assert!(matches!(q.pop_value::<u64>(), Err(Error::MessageSize(_))));
    assert_eq!(
        q.pop_value::<Tick>().unwrap().unwrap().0,
        tick(7),
        "not consumed"
    );
}
