//! Consumers of a ring that is damaged before they open it and while they read.

use crate::checked::{allowed, start, Checked};
use crate::files::{image, Kind, Place, FIXED, VARIABLE};
use crate::{damage, Input};
use arbitrary::Result;
use ipcq::Producer;

/// Reads a damaged fixed ring with every call.
pub fn read_fixed(input: &[u8]) {
    // An input that ends early is a short program.
    let _ = read(&mut Input::new(input), &FIXED);
}

/// Reads a damaged variable ring with every call.
pub fn read_variable(input: &[u8]) {
    let _ = read(&mut Input::new(input), &VARIABLE);
}

fn read(u: &mut Input, kinds: &'static [Kind]) -> Result<()> {
    let kind = u.choose(kinds)?;
    let place = Place::with(image(kind));
    let file = place.data();
    // Either a killed producer has left the queue, or a producer continues in it.
    let mut out = match u.arbitrary()? {
        true => Some(Producer::options().open(place.name()).unwrap()),
        false => None,
    };
    for _ in 0..u.int_in_range(0..=8)? {
        damage::ring(u, &file)?;
    }
    let mut q = None;
    while !u.is_empty() {
        match (u.int_in_range(0..=8)?, &mut q) {
            (0, _) | (_, None) => {
                let start = start(u)?;
                q = allowed(place.consumer(start)).map(|q| Checked::new(q, start));
            }
            (1 | 2, _) => damage::ring(u, &file)?,
            (3, _) => push(&mut out, kind, u.arbitrary()?),
            (_, Some(q)) => q.ask(u, &mut |u| match u.arbitrary()? {
                true => damage::ring(u, &file),
                false => {
                    push(&mut out, kind, u.arbitrary()?);
                    Ok(())
                }
            })?,
        }
    }
    Ok(())
}

/// Pushes messages regardless of the content of the ring.
fn push(out: &mut Option<Producer>, kind: &Kind, count: u8) {
    for _ in 0..count {
        if !out.as_mut().is_some_and(|out| kind.push(out)) {
            break;
        }
    }
}
