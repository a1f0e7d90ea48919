//! Damage to files, as an input selects it.

use crate::files::Words;
use crate::Input;
use arbitrary::Result;
use ipcq::__binding::layout::at;

/// The words of the header that change during the life of a queue.
const CHANGING: [usize; 7] = [
    at::CLAIMED,
    at::LIMIT,
    at::PUBLISHED,
    at::PUBLISHED_SEQUENCE,
    at::STATE,
    at::EPOCH,
    at::WAKE,
];

/// Sets a word of the counters, the index or the ring, which may change while a consumer is
/// attached.
pub fn ring(u: &mut Input, file: &Words) -> Result<()> {
    let first = ipcq::__binding::layout::HEADER_BYTES / 8;
    let word = match u.int_in_range(0..=4)? {
        0 => *u.choose(&CHANGING)? as u64 / 8,
        1 => any_word(u, first, file.len())?,
        which => {
            let words = (0..).zip(file.all()).skip(first as usize);
            let meaning = words.filter(|(_, word)| means(*word));
            let places: Vec<u64> = meaning.map(|(at, _)| at).collect();
            // The last words of the ring are few and special.
            let from = match which {
                2 => places.len().saturating_sub(16),
                _ => 0,
            };
            match places[from..] {
                [] => first,
                ref places => *u.choose(places)?,
            }
        }
    };
    set(u, file, word)
}

/// Whether a word is probably a stamp, a length or a position and not part of a message.
fn means(word: u64) -> bool {
    (1..1 << 34).contains(&word.wrapping_add(1 << 16)) && word != 0
}

/// Sets a word in the first group of the header.
pub fn geometry(u: &mut Input, file: &Words) -> Result<()> {
    let word = any_word(u, 0, at::STATE as u64 / 8)?;
    set(u, file, word)
}

/// Sets any word.
pub fn any(u: &mut Input, file: &Words) -> Result<()> {
    let word = any_word(u, 0, file.len())?;
    set(u, file, word)
}

/// A word in `from..end`, or `from` if the file is shorter.
fn any_word(u: &mut Input, from: u64, end: u64) -> Result<u64> {
    u.int_in_range(from..=end.saturating_sub(1).max(from))
}

/// Sets the word to a likely value or to any value.
fn set(u: &mut Input, file: &Words, word: u64) -> Result<()> {
    if word >= file.len() {
        return Ok(());
    }
    let old = file.load(word);
    let new = match u.int_in_range(0..=9)? {
        0 => old.wrapping_add(u64::from(u.arbitrary::<u8>()?)),
        1 => old.wrapping_sub(u64::from(u.arbitrary::<u8>()?)),
        2 => old ^ 1 << u.int_in_range(0..=63)?,
        3 => u64::from(u.arbitrary::<u16>()?),
        4 => old.wrapping_add(1 << u.int_in_range(0..=63)?),
        5 => old.wrapping_sub(1 << u.int_in_range(0..=63)?),
        6 => file.load(any_word(u, 0, file.len())?),
        // Two halves, as in a frame.
        7 => u64::from(u.arbitrary::<u16>()?) | u64::from(u.arbitrary::<u8>()?) << 32,
        8 => u64::MAX,
        _ => u.arbitrary()?,
    };
    file.store(word, new);
    Ok(())
}
