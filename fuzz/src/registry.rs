//! The control file is damaged while a producer and consumers use it. A process that may write it
//! can slow them down but never corrupt them: every message that arrives is the one that was
//! pushed, and every message is received or counted as lost.

use crate::checked::{allowed, start, Checked};
use crate::files::{image, Kind, Place, Words, FIXED, VARIABLE};
use crate::{damage, Input};
use arbitrary::Result;
use ipcq::{Consumer, Error, Producer};
use std::time::Duration;

/// A queue with a hostile control file.
pub fn registry(input: &[u8]) {
    let _ = try_registry(&mut Input::new(input));
}

/// The maximum number of consumers at a time, which is more than the registry has slots for.
const CONSUMERS: usize = 6;

fn try_registry(u: &mut Input) -> Result<()> {
    let kind = match u.arbitrary()? {
        true => u.choose(&FIXED)?,
        false => u.choose(&VARIABLE)?,
    };
    let place = Place::with(image(kind));
    let mut out = open(u, kind, &place)?;
    let mut control = place.control();
    let mut consumers: Vec<Checked> = Vec::new();
    while !u.is_empty() {
        match u.int_in_range(0..=9)? {
            0..=2 => damage::any(u, &control)?,
            3 => {
                for _ in 0..u.arbitrary::<u8>()? {
                    if !kind.push(&mut out) {
                        break;
                    }
                }
            }
            4 if consumers.len() < CONSUMERS => {
                let start = start(u)?;
                let options = Consumer::options().start(start).observer(u.arbitrary()?);
                let name = u.arbitrary::<char>()?.to_string();
                let options = options.name(name.repeat(u.int_in_range(0..=80)?));
                let opened = allowed(options.open(place.name()));
                consumers.extend(opened.map(|q| Checked::new(q, start)));
            }
            5 if !consumers.is_empty() => {
                drop(consumers.swap_remove(u.choose_index(consumers.len())?));
            }
            6 => {
                let attached = out.consumers().len() as u32;
                assert!(out.stats().unwrap().consumers == attached && attached <= 4);
                match out.wait_for_room(kind.longest(), Duration::ZERO) {
                    Ok(()) => out.push(&kind.message(out.next_sequence())).unwrap(),
                    Err(e) => assert!(matches!(e, Error::TimedOut(_)) && kind.lossless, "{e:?}"),
                }
            }
            7 => {
                drop(out);
                disturb(u, &place, &mut control)?;
                out = open(u, kind, &place)?;
                control = place.control();
            }
            _ if !consumers.is_empty() => {
                let index = u.choose_index(consumers.len())?;
                let q = &mut consumers[index];
                match u.arbitrary()? {
                    true => q.ask(u, &mut |u| damage::any(u, &control))?,
                    false => receive(q, kind, u.arbitrary()?),
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Opens the queue as a producer, regardless of the control file. A lossy queue replaces a damaged
/// control file. A lossless queue is refused, and the input ends.
fn open(u: &mut Input, kind: &Kind, place: &Place) -> Result<Producer> {
    let mut options = Producer::options();
    let evict: bool = u.arbitrary()?;
    if evict && kind.lossless {
        options = options.evict_after(Duration::ZERO);
    }
    match options.open(place.name()) {
        Err(Error::Damaged(_)) if kind.lossless => Err(arbitrary::Error::IncorrectFormat),
        opened => Ok(opened.unwrap()),
    }
}

/// Changes a control file while no producer is alive. It is not shortened, because that would raise
/// SIGBUS in the processes that map it.
fn disturb(u: &mut Input, place: &Place, control: &mut Words) -> Result<()> {
    match u.int_in_range(0..=3)? {
        0 => place.remove_control(),
        1 => control.set_len(8192),
        2 => damage::any(u, control)?,
        _ => {}
    }
    Ok(())
}

/// Pops some messages and compares them.
fn receive(q: &mut Checked, kind: &Kind, count: u8) {
    let mut buffer = vec![0; kind.longest()];
    for _ in 0..count {
        match q.pop(&mut buffer) {
            Ok(Some(m)) => assert_eq!(buffer[..m.length as usize], kind.message(m.sequence)),
            // A consumer that was evicted takes another slot, if one is free.
            Ok(None) | Err(Error::Closed(_) | Error::RegistryFull(_)) => break,
            Err(e) => panic!("{e:?}"),
        }
    }
    q.stats();
}
