//! Opens files of any content: the bytes of the input, or a queue with a damaged header.

use crate::checked::{allowed, check_geometry, start, Checked};
use crate::files::{image, Image, Place, FIXED, VARIABLE};
use crate::{damage, Input};
use arbitrary::Result;
use ipcq::__binding::layout::at;
use ipcq::{Error, Producer};

/// Consumers and producers open files of any content.
pub fn open(input: &[u8]) {
    let _ = try_open(&mut Input::new(input));
}

fn try_open(u: &mut Input) -> Result<()> {
    let place = match u.int_in_range(0..=7)? {
        0 => {
            let (data, control) = (beginning(u)?, beginning(u)?);
            Place::with(&Image { data, control })
        }
        _ => damaged_queue(u)?,
    };
    for _ in 0..1 + u.int_in_range(0..=3)? {
        let start = start(u)?;
        match place.consumer(start) {
            Ok(q) => {
                let mut q = Checked::new(q, start);
                assert!(q.geometry().file_bytes() <= place.data().bytes());
                for _ in 0..u.int_in_range(0..=8)? {
                    q.ask(u, &mut |_| Ok(()))?;
                }
            }
            Err(e) => check_error(e),
        }
    }
    if u.arbitrary()? {
        produce(u, &place, false)?;
    }
    produce(u, &place, true)
}

/// A file that starts with any bytes, followed by zeroes.
fn beginning(u: &mut Input) -> Result<Vec<u8>> {
    let bytes = u.int_in_range(0..=at::STATE + 16)?.min(u.len());
    let mut file = u.bytes(bytes)?.to_vec();
    let pages = u.int_in_range(0..=4)?;
    file.resize(bytes.max(4096 * pages), 0);
    Ok(file)
}

/// A queue with changed words in its header, and perhaps another length. It reserves no space, so a
/// ring may be as long as a file can be.
fn damaged_queue(u: &mut Input) -> Result<Place> {
    let kind = match u.arbitrary()? {
        true => u.choose(&FIXED)?,
        false => u.choose(&VARIABLE)?,
    };
    let place = Place::with(image(kind));
    let (mut data, mut control) = (place.data(), place.control());
    for _ in 0..u.int_in_range(0..=8)? {
        match u.int_in_range(0..=7)? {
            0..=3 => damage::geometry(u, &data)?,
            4 => damage::any(u, &control)?,
            5 => {
                let bytes = match u.int_in_range(0..=2)? {
                    0 => u.int_in_range(0..=20_000)?,
                    1 => 4096 * u.int_in_range(0..=64)?,
                    _ => 4096 + (1 << u.int_in_range(0..=40)?),
                };
                data.set_len(bytes);
            }
            6 => control.set_len(u.int_in_range(0..=4096)?),
            _ => damage::ring(u, &data)?,
        }
    }
    Ok(place)
}

fn produce(u: &mut Input, place: &Place, replace: bool) -> Result<()> {
    let mut options = Producer::options().replace(replace);
    // Otherwise the options request the existing queue, and a new queue is not made large.
    if replace || u.arbitrary()? {
        options = options.message_size(u.int_in_range(0..=100)?);
        options = options.capacity(u.int_in_range(1..=4096)?);
    }
    match options.open(place.name()) {
        Ok(mut out) => {
            let g = *out.geometry();
            check_geometry(&g);
            assert!(g.file_bytes() <= place.data().bytes());
            let length = match g.message_size {
                0 => 0,
                size => size as usize,
            };
            // In a file without reserved space, a message may have a gigabyte.
            if length <= 1 << 16 {
                let next = out.next_sequence();
                out.push(&vec![7; length]).unwrap();
                assert_eq!(out.next_sequence(), next.wrapping_add(1));
            }
            allowed(out.stats());
        }
        Err(e) => {
            let damaged = matches!(e, Error::Damaged(_) | Error::Version(_));
            assert!(!replace || !damaged, "cannot be replaced: {e:?}");
            check_error(e);
        }
    }
    Ok(())
}

/// As for a ring, but a file may be too long to be mapped.
fn check_error(e: Error) {
    match e {
        Error::Os(errno, _) if errno == ENOMEM => {}
        e => crate::checked::check_error(e),
    }
}

const ENOMEM: i32 = 12;
