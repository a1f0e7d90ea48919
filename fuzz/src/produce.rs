//! A producer continues in a damaged file.

use crate::checked::{allowed, start, Checked};
use crate::files::{image, Kind, Place, FIXED, VARIABLE};
use crate::{damage, Input};
use arbitrary::Result;
use ipcq::{Error, Producer, Start};
use std::time::Duration;

/// Damages a dead queue. A producer opens it and pushes messages that a consumer reads.
pub fn produce(input: &[u8]) {
    let _ = try_produce(&mut Input::new(input));
}

fn try_produce(u: &mut Input) -> Result<()> {
    let kind = match u.arbitrary()? {
        true => u.choose(&FIXED)?,
        false => u.choose(&VARIABLE)?,
    };
    let place = Place::with(image(kind));
    let (data, control) = (place.data(), place.control());
    for _ in 0..u.int_in_range(0..=8)? {
        match u.int_in_range(0..=7)? {
            0 => damage::any(u, &control)?,
            _ => damage::ring(u, &data)?,
        }
    }
    // A consumer that attached before.
    let early = start(u)?;
    let mut early = allowed(place.consumer(early)).map(|q| Checked::new(q, early));
    let options = match u.arbitrary()? {
        true => kind.options().replace(true),
        false => Producer::options(),
    };
    let Some(mut out) = allowed(options.open(place.name())) else {
        return Ok(());
    };
    let begin = out.next_sequence();
    let mut late = allowed(place.consumer(Start::Next))
        .map(|q| Checked::new(q, Start::Next))
        .filter(|late| late.next_sequence() == begin);
    // Consumer and producer find the front in the same way. In a fixed ring, false stamps ahead of
    // it can give them different results.
    assert!(late.is_some() || kind.message_size != 0 || kind.lossless);
    let mut room = kind.capacity / 2;
    while !u.is_empty() {
        let many = match u.int_in_range(0..=6)? {
            0 | 1 => 1,
            2 => u.arbitrary::<u8>()?,
            3 => {
                allowed(out.stats());
                assert!(out.consumers().len() <= 4);
                0
            }
            4 => {
                let end = out.next_sequence();
                late = late.and_then(|late| follow(late, kind, begin, end, room > 0));
                0
            }
            _ => {
                if let Some(early) = &mut early {
                    early.ask(u, &mut |_| Ok(()))?;
                }
                0
            }
        };
        for _ in 0..many {
            room = room.saturating_sub(match kind.message_size {
                0 => kind.length(out.next_sequence()) as u64 + 32,
                _ => 1,
            });
            match many {
                1 => push(u, &mut out, kind)?,
                _ if kind.push(&mut out) => {}
                _ => break,
            }
        }
    }
    Ok(())
}

/// Pushes the next message in one of the ways.
fn push(u: &mut Input, out: &mut Producer, kind: &Kind) -> Result<()> {
    let next = out.next_sequence();
    let message = kind.message(next);
    let given_up = u.arbitrary()?;
    let pushed = match u.int_in_range(0..=3)? {
        0 => out.push(&message).map(|()| 1),
        1 => out.push_wait(&message, Duration::ZERO).map(|()| 1),
        2 if !message.is_empty() => out.push_many(&message, message.len()),
        _ => out.claim(message.len()).and_then(|mut claim| {
            claim.write(0, &message).unwrap();
            match given_up {
                true => Ok(0),
                false => claim.commit(message.len()).map(|()| 1),
            }
        }),
    };
    let pushed = match pushed {
        Err(Error::Full(_) | Error::TimedOut(_)) if kind.lossless => 0,
        pushed => pushed.unwrap() as u64,
    };
    assert_eq!(out.next_sequence(), next.wrapping_add(pushed));
    Ok(())
}

/// Pops the messages that were pushed since, with a consumer that started where the producer did.
/// It must receive exactly these. A consumer that was overrun is given up, because it relies on an
/// index that may be damaged. It cannot be overrun while everything pushed since the start `fits`.
fn follow(mut q: Checked, kind: &Kind, begin: u64, end: u64, fits: bool) -> Option<Checked> {
    let mut buffer = vec![0; kind.longest()];
    while q.next_sequence() != end {
        let popped = q.pop(&mut buffer);
        assert!(!fits || popped.is_ok(), "{popped:?}");
        let m = allowed(popped)?.unwrap_or_else(|| panic!("{} of {end}", q.next_sequence()));
        if m.lost != 0 {
            assert!(!fits, "{m:?}");
            return None;
        }
        assert!(m.sequence.wrapping_sub(begin) < end.wrapping_sub(begin));
        assert_eq!(buffer[..m.length as usize], kind.message(m.sequence));
    }
    Some(q)
}
