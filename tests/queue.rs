//! The queue through its Rust API: every promise that needs neither a flood, nor a kill, nor
//! another user.

mod common;

use common::*;
use ipcq::{Consumer, Error, Framing, Producer, Start};
use std::time::Duration;

const KINDS: [Kind; 2] = [Kind::Fixed(24), Kind::Variable];

/// A capacity of some dozens of messages.
fn small(kind: Kind) -> u64 {
    match kind {
        Kind::Fixed(_) => 64,
        Kind::Variable => 4096,
    }
}

fn consumer(name: &std::path::Path, start: Start) -> Consumer {
    Consumer::options().start(start).open(name).unwrap()
}

/// Pops until the queue is empty. Returns the sequences.
fn drain(q: &mut Consumer) -> Vec<u64> {
    let mut sequences = Vec::new();
    while let Some(m) = pop_next(q).unwrap() {
        sequences.push(m.sequence);
    }
    sequences
}

#[test]
fn child_main() {
    match role().as_deref() {
        None => return,
        Some("push_late") => {
            listen();
            let mut out = Producer::options()
                .message_size(24)
                .open(argument("NAME"))
                .unwrap();
            push_next(&mut out);
            listen();
        }
        Some("push_bare") => {
            let mut out = Producer::options().message_size(24).open("ticks").unwrap();
            (0..10).for_each(|_| push_next(&mut out));
            say("pushed");
            listen();
        }
        Some("produce") => match Producer::options().open(argument("NAME")) {
            Ok(_) => say("opened"),
            Err(e) => say(format_args!("error {} {e}", e.code())),
        },
        Some("fork") => fork_with_a_producer(),
        Some("spawn") => close_while_spawning(),
        Some("fork_and_die") => {
            let _out = Producer::options()
                .message_size(24)
                .open(argument("NAME"))
                .unwrap();
            // SAFETY: the child only sleeps and calls only functions that are safe after a fork.
            match unsafe { libc::fork() } {
                0 => loop {
                    // SAFETY: the call takes a number and does not access memory.
                    unsafe {
                        libc::alarm(30);
                        libc::pause();
                    }
                },
                child => say(format_args!("forked {child}")),
            }
            listen();
        }
        Some(role) => panic!("unknown role {role}"),
    }
    std::process::exit(0);
}

#[test]
fn pushed_is_popped() {
    for kind in KINDS {
        let dir = Dir::new();
        let mut out = kind.options(small(kind)).open(dir.name("q")).unwrap();
        let mut q = consumer(&dir.name("q"), Start::Oldest);
        assert_eq!(pop_next(&mut q).unwrap(), None);
        for sequence in 0..500 {
            assert_eq!(out.next_sequence(), sequence);
            push_next(&mut out);
            let m = pop_next(&mut q).unwrap().unwrap();
            assert_eq!((m.sequence, m.lost), (sequence, 0));
        }
        assert_eq!(pop_next(&mut q).unwrap(), None);
        let s = check_accounts(&q, 0);
        assert_eq!((s.pushed, s.received, s.lost, s.lag), (500, 500, 0, 0));
        assert!(s.producer_alive && !s.closed);
        assert_eq!((s.epoch, s.capacity), (1, out.geometry().capacity));
        let p = out.stats().unwrap();
        assert_eq!(
            (p.pushed, p.oldest, p.capacity),
            (s.pushed, s.oldest, s.capacity)
        );
    }
}

#[test]
fn every_size_of_message() {
    let dir = Dir::new();
    let mut q = None;
    let mut variable = Producer::options()
        .capacity(4096)
        .open(dir.name("v"))
        .unwrap();
    for size in 0..=300usize {
        let bytes = message(size as u64, size);
        let mut buffer = vec![0xa5; size + 16];
        variable.push(&bytes).unwrap();
        let q = q.get_or_insert_with(|| consumer(&dir.name("v"), Start::Oldest));
        let m = q.pop(&mut buffer).unwrap().unwrap();
        assert_eq!(
            (m.length as usize, m.sequence, m.lost),
            (size, size as u64, 0)
        );
        assert_eq!(buffer[..size], bytes);
        // No byte beyond the message is written.
        assert_eq!(buffer[size..], [0xa5; 16]);
        if size == 0 {
            continue;
        }
        let mut fixed = Producer::options()
            .capacity(4)
            .message_size(size as u32)
            .open(dir.name("f"))
            .unwrap();
        let mut q = consumer(&dir.name("f"), Start::Oldest);
        for sequence in 0..9 {
            let bytes = message(sequence, size);
            fixed.push(&bytes).unwrap();
            let mut buffer = vec![0xa5; size + 16];
            let m = q.pop(&mut buffer).unwrap().unwrap();
            assert_eq!((m.length as usize, m.sequence, m.lost), (size, sequence, 0));
            assert_eq!(buffer[..size], bytes);
            assert_eq!(buffer[size..], [0xa5; 16]);
        }
        drop(fixed);
        ipcq::unlink(dir.name("f")).unwrap();
    }
}

#[test]
fn every_size_of_ring() {
    for (kind, capacities) in [
        (Kind::Fixed(1), [1, 2, 3, 4, 5, 127, 1000]),
        (Kind::Fixed(200), [1, 2, 3, 4, 5, 127, 1000]),
        (Kind::Variable, [1, 1023, 1024, 1025, 2048, 5000, 100_000]),
    ] {
        for capacity in capacities {
            let dir = Dir::new();
            let mut out = kind.options(capacity).open(dir.name("q")).unwrap();
            let got = out.geometry().capacity;
            assert!(got.is_power_of_two() && got >= capacity && got < 2 * capacity.max(1024));
            let mut q = consumer(&dir.name("q"), Start::Oldest);
            let mut lapped = consumer(&dir.name("q"), Start::Oldest);
            let pushed = 3 * got.min(2000) + 7;
            for sequence in 0..pushed {
                push_next(&mut out);
                assert_eq!(drain(&mut q), [sequence], "{kind:?} {capacity}");
            }
            let first = pop_next(&mut lapped).unwrap().unwrap();
            assert_eq!(first.lost, first.sequence, "{kind:?} {capacity}");
            // The announcement removes at most a block, plus one message in a variable ring, from
            // the retained messages. Even the smallest ring retains some.
            assert!(first.sequence < pushed);
            let rest = drain(&mut lapped);
            assert!(
                rest.iter().copied().eq(first.sequence + 1..pushed),
                "{kind:?} {capacity}"
            );
            check_accounts(&lapped, 0);
        }
    }
}

#[test]
fn the_longest_and_the_shortest() {
    let dir = Dir::new();
    let mut out = Producer::options()
        .capacity(8192)
        .open(dir.name("q"))
        .unwrap();
    let mut q = consumer(&dir.name("q"), Start::Oldest);
    assert_eq!(out.max_message(), 1024);
    assert_eq!(q.max_message(), 1024);
    let mut buffer = vec![0; 1024];
    // Over many laps, so that each length occurs at the end of the ring.
    for sequence in 0..200 {
        let length = [0, 1024, 1023, 1][sequence as usize % 4];
        out.push(&message(sequence, length)).unwrap();
        let m = q.pop(&mut buffer).unwrap().unwrap();
        assert_eq!((m.length as usize, m.lost), (length, 0));
        assert!(is_whole(sequence, &buffer[..length]));
    }
    let error = out.push(&[0; 1025]).unwrap_err();
    assert!(matches!(error, Error::MessageSize(_)), "{error}");
    assert!(
        error.to_string().contains("1025") && error.to_string().contains("1024"),
        "{error}"
    );
    assert_eq!(q.pop(&mut buffer).unwrap(), None);
    assert_eq!(out.next_sequence(), 200);
}

#[test]
fn wrong_sizes() {
    let dir = Dir::new();
    let mut out = Kind::Fixed(24).options(8).open(dir.name("q")).unwrap();
    for length in [0, 23, 25, 1 << 20] {
        let error = out.push(&vec![0; length]).unwrap_err();
        assert!(matches!(error, Error::MessageSize(_)), "{error}");
        assert!(error.to_string().contains("24"), "{error}");
        assert!(out.claim(length).is_err());
    }
    for (length, size) in [(24, 0), (25, 24), (46, 23)] {
        assert!(out.push_many(&vec![0; length], size).is_err());
    }
    assert_eq!(out.next_sequence(), 0);
    push_next(&mut out);
    assert_eq!(drain(&mut consumer(&dir.name("q"), Start::Oldest)), [0]);
}

#[test]
fn a_buffer_too_small_consumes_nothing() {
    for kind in KINDS {
        let dir = Dir::new();
        let mut out = kind.options(small(kind)).open(dir.name("q")).unwrap();
        let bytes = message(0, 24);
        out.push(&bytes).unwrap();
        let mut q = consumer(&dir.name("q"), Start::Oldest);
        let mut buffer = [0; 24];
        for _ in 0..3 {
            let error = q.pop(&mut buffer[..23]).unwrap_err();
            assert!(matches!(error, Error::MessageSize(_)), "{error}");
            let text = error.to_string();
            assert!(text.contains("24") && text.contains("23"), "{text}");
            assert!(q.pop_many(&mut buffer[..23], 23).is_err());
            assert_eq!(buffer, [0; 24], "bytes of a message that was not consumed");
        }
        assert!(q.pop_many(&mut buffer, 0).is_err());
        assert_eq!(check_accounts(&q, 0).lag, 1);
        assert_eq!(q.pop(&mut buffer).unwrap().unwrap().sequence, 0);
        assert_eq!(buffer[..], bytes);
    }
}

#[test]
fn many_at_once() {
    for kind in KINDS {
        let dir = Dir::new();
        let mut out = kind.options(small(kind)).open(dir.name("q")).unwrap();
        let mut q = consumer(&dir.name("q"), Start::Oldest);
        let mut buffer = vec![0; 24 * 100];
        let (mut pushed, mut popped) = (0, 0);
        for round in 0..60u64 {
            let count = round % 32;
            let batch: Vec<_> = (pushed..pushed + count)
                .flat_map(|s| message(s, 24))
                .collect();
            assert_eq!(out.push_many(&batch, 24).unwrap() as u64, count);
            pushed += count;
            let most = (round % 7 + 1) as usize;
            while popped < pushed {
                let (n, first) = q.pop_many(&mut buffer[..24 * most], 24).unwrap().unwrap();
                assert_eq!((first.sequence, first.lost, first.length), (popped, 0, 24));
                assert_eq!(n as u64, (most as u64).min(pushed - popped));
                for (i, bytes) in buffer[..24 * n].chunks(24).enumerate() {
                    assert!(is_whole(popped + i as u64, bytes));
                }
                popped += n as u64;
                check_accounts(&q, 0);
            }
            assert_eq!(q.pop_many(&mut buffer, 24).unwrap(), None);
        }
        // Lapped. The batch begins after the gap, returns its length, and contains no other gap.
        (0..1000).for_each(|_| out.push(&message(out.next_sequence(), 24)).unwrap());
        let (n, first) = q.pop_many(&mut buffer, 24).unwrap().unwrap();
        assert_eq!(first.lost, first.sequence - popped);
        assert!(first.lost > 0 && n > 0);
        for (i, bytes) in buffer[..24 * n].chunks(24).enumerate() {
            assert!(is_whole(first.sequence + i as u64, bytes));
        }
        check_accounts(&q, 0);
    }
}

#[test]
fn a_batch_ends_where_the_length_changes() {
    let dir = Dir::new();
    let mut out = Producer::options()
        .capacity(4096)
        .open(dir.name("q"))
        .unwrap();
    let mut q = consumer(&dir.name("q"), Start::Oldest);
    let lengths = [8, 8, 8, 5, 5, 0, 0, 8, 32];
    for (sequence, length) in lengths.into_iter().enumerate() {
        out.push(&message(sequence as u64, length)).unwrap();
    }
    let mut buffer = [0; 160];
    let mut sequence = 0;
    for (count, length) in [(3, 8), (2, 5), (2, 0), (1, 8), (1, 32)] {
        let (n, first) = q.pop_many(&mut buffer, 32).unwrap().unwrap();
        assert_eq!(
            (n, first.length, first.sequence),
            (count, length as u32, sequence)
        );
        for i in 0..n {
            assert!(is_whole(sequence + i as u64, &buffer[32 * i..][..length]));
        }
        sequence += n as u64;
    }
    assert_eq!(q.pop_many(&mut buffer, 32).unwrap(), None);
}

#[test]
fn claims() {
    for kind in KINDS {
        let dir = Dir::new();
        let mut out = kind.options(small(kind)).open(dir.name("q")).unwrap();
        let mut q = consumer(&dir.name("q"), Start::Oldest);
        for round in 0..200u64 {
            // Abandoned in several ways. Consumers see nothing of it.
            let mut claim = out.claim(24).unwrap();
            assert_eq!(claim.len(), 24);
            claim.write(0, &[0xee; 24]).unwrap();
            drop(claim);
            out.claim_raw(24).unwrap();
            out.abort_raw().unwrap();
            assert_eq!(pop_next(&mut q).unwrap(), None);
            assert_eq!(out.next_sequence(), round);
            let length = length_in(out.geometry(), round);
            let room = if kind == Kind::Variable {
                out.max_message()
            } else {
                24
            };
            let bytes = message(round, length);
            let mut claim = out.claim(room).unwrap();
            for (at, part) in bytes.chunks(7).enumerate() {
                claim.write(7 * at, part).unwrap();
            }
            assert!(matches!(claim.write(room, &[1]), Err(Error::OutOfRange(_))));
            assert!(matches!(
                claim.write(usize::MAX, &[1]),
                Err(Error::OutOfRange(_))
            ));
            claim.commit(length).unwrap();
            assert_eq!(drain(&mut q), [round]);
        }
        // While a claim exists nothing else can be pushed, and a commit of a wrong length leaves
        // the claim.
        let slot = out.claim_raw(24).unwrap();
        for error in [
            out.push(&[0; 24]).unwrap_err(),
            out.push_many(&[0; 48], 24).unwrap_err(),
            out.claim(24).map(|_| ()).unwrap_err(),
        ] {
            assert!(matches!(error, Error::Invalid(_)), "{error}");
        }
        assert!(matches!(out.commit_raw(25), Err(Error::MessageSize(_))));
        if kind != Kind::Variable {
            assert!(matches!(out.commit_raw(23), Err(Error::MessageSize(_))));
        }
        // SAFETY: the claim has 24 bytes.
        unsafe { slot.copy_from(message(200, 24).as_ptr(), 24) };
        out.commit_raw(24).unwrap();
        let mut buffer = vec![0; q.max_message()];
        assert_eq!(q.pop(&mut buffer).unwrap().unwrap().sequence, 200);
        assert!(is_whole(200, &buffer[..24]));
        assert!(matches!(out.commit_raw(24), Err(Error::Invalid(_))));
        assert!(matches!(out.abort_raw(), Err(Error::Invalid(_))));
    }
}

#[test]
fn peeked_in_place() {
    for kind in KINDS {
        let dir = Dir::new();
        let mut out = kind.options(small(kind)).open(dir.name("q")).unwrap();
        let mut q = consumer(&dir.name("q"), Start::Oldest);
        assert!(q.peek().unwrap().is_none());
        (0..10).for_each(|_| push_next(&mut out));
        for sequence in 0..5 {
            // Peeked at and dropped, so the message is still there.
            for _ in 0..2 {
                let view = q.peek().unwrap().unwrap();
                assert_eq!(view.message().sequence, sequence);
                assert_eq!(view.as_ptr() as usize % 8, 0);
            }
            let view = q.peek().unwrap().unwrap();
            let mut bytes = vec![0; view.message().length as usize];
            let half = bytes.len() / 2;
            view.read(0, &mut bytes[..half]).unwrap();
            view.read(half, &mut bytes[half..]).unwrap();
            assert!(is_whole(sequence, &bytes));
            assert!(matches!(
                view.read(bytes.len(), &mut [0]),
                Err(Error::OutOfRange(_))
            ));
            assert!(matches!(
                view.read(usize::MAX, &mut [0]),
                Err(Error::OutOfRange(_))
            ));
            view.release().unwrap();
        }
        // A pop is allowed during a peek and ends it.
        assert_eq!(q.peek().unwrap().unwrap().message().sequence, 5);
        assert_eq!(pop_next(&mut q).unwrap().unwrap().sequence, 5);
        for sequence in [5, 6, u64::MAX] {
            assert!(matches!(q.release_raw(sequence), Err(Error::Invalid(_))));
        }
        assert_eq!(drain(&mut q), [6, 7, 8, 9]);
        check_accounts(&q, 0);
    }
}

#[test]
fn runs_in_place() {
    for kind in KINDS {
        let dir = Dir::new();
        let mut out = kind.options(64).open(dir.name("q")).unwrap();
        let mut q = consumer(&dir.name("q"), Start::Oldest);
        assert!(matches!(q.peek_many(0), Err(Error::Invalid(_))));
        assert!(q.peek_many(9).unwrap().is_none());
        (0..10).for_each(|_| push_next(&mut out));
        let fixed = kind != Kind::Variable;
        let run = q.peek_many(4).unwrap().unwrap();
        assert_eq!(run.count(), if fixed { 4 } else { 1 });
        assert_eq!((run.first().sequence, run.first().lost), (0, 0));
        for i in 0..run.count() {
            let mut bytes = vec![0; run.first().length as usize];
            let half = bytes.len() / 2;
            run.read(i, 0, &mut bytes[..half]).unwrap();
            run.read(i, half, &mut bytes[half..]).unwrap();
            assert!(is_whole(i as u64, &bytes));
            let beyond = run.read(i, bytes.len(), &mut [0]);
            assert!(matches!(beyond, Err(Error::OutOfRange(_))));
        }
        let beyond = run.read(run.count(), 0, &mut []);
        assert!(matches!(beyond, Err(Error::OutOfRange(_))));
        // Not released, so all messages are still there. A part of a run can be consumed.
        let (_, _, count) = q.peek_many_raw(100).unwrap();
        assert_eq!(count, if fixed { 10 } else { 1 });
        // Another peek at the first message does not end the peek at the run.
        assert!(q.peek().unwrap().is_some());
        for wrong in [0, count + 1, usize::MAX] {
            let released = q.release_many_raw(0, wrong);
            assert!(matches!(released, Err(Error::Invalid(_))));
        }
        q.release_many_raw(0, if fixed { 7 } else { 1 }).unwrap();
        assert!(matches!(q.release_many_raw(0, 1), Err(Error::Invalid(_))));
        let next = if fixed { 7 } else { 1 };
        assert_eq!(drain(&mut q), (next..10).collect::<Vec<_>>());
        check_accounts(&q, 0);
    }
}

#[test]
fn a_run_ends_at_the_end_of_the_ring() {
    let kind = Kind::Fixed(24);
    let dir = Dir::new();
    let mut out = kind.options(8).open(dir.name("q")).unwrap();
    let mut q = consumer(&dir.name("q"), Start::Oldest);
    (0..5).for_each(|_| push_next(&mut out));
    let run = q.peek_many(100).unwrap().unwrap();
    assert_eq!(run.count(), 5);
    run.release().unwrap();
    (0..6).for_each(|_| push_next(&mut out));
    for wanted in [(5, 3), (8, 3)] {
        let run = q.peek_many(100).unwrap().unwrap();
        assert_eq!((run.first().sequence, run.count()), wanted);
        run.release().unwrap();
    }
    assert!(q.peek_many(100).unwrap().is_none());
    drop(out);
    assert!(matches!(q.peek_many(100), Err(Error::Closed(_))));
    assert_eq!(check_accounts(&q, 0).received, 11);
}

#[test]
fn a_run_of_which_one_was_overwritten_is_stale_and_lost() {
    let kind = Kind::Fixed(24);
    let dir = Dir::new();
    let mut out = kind.options(64).open(dir.name("q")).unwrap();
    let mut q = consumer(&dir.name("q"), Start::Oldest);
    (0..40).for_each(|_| push_next(&mut out));
    let first = q.peek_many(40).unwrap().unwrap().first().sequence;
    // The ring holds at least 63 messages. The first of the run is overwritten, most of it is not.
    (0..26).for_each(|_| push_next(&mut out));
    let error = q.release_many_raw(first, 40).unwrap_err();
    assert!(matches!(error, Error::Stale(_)), "{error}");
    let stats = check_accounts(&q, 0);
    assert_eq!(stats.received, 0);
    assert!(stats.lost > 0 && stats.lost < 40);
    assert_eq!(drain(&mut q), (stats.lost..66).collect::<Vec<_>>());
    check_accounts(&q, 0);
}

#[test]
fn a_view_that_was_overwritten_is_stale_and_lost() {
    for kind in KINDS {
        let dir = Dir::new();
        let mut out = kind.options(small(kind)).open(dir.name("q")).unwrap();
        let mut q = consumer(&dir.name("q"), Start::Oldest);
        (0..3).for_each(|_| push_next(&mut out));
        assert_eq!(pop_next(&mut q).unwrap().unwrap().sequence, 0);
        assert_eq!(
            q.peek_raw()
                .map(|(pop, _)| matches!(pop, ipcq::Pop::Message(_))),
            Ok(true)
        );
        (0..1000).for_each(|_| push_next(&mut out));
        let error = q.release_raw(1).unwrap_err();
        assert!(matches!(error, Error::Stale(_)), "{error}");
        check_accounts(&q, 0);
        assert!(
            matches!(q.release_raw(1), Err(Error::Invalid(_))),
            "released twice"
        );
        let m = pop_next(&mut q).unwrap().unwrap();
        assert_eq!(m.lost, m.sequence - 1, "the stale message counts as lost");
        let s = check_accounts(&q, 0);
        assert_eq!((s.received, s.lost), (2, m.lost));
        assert_eq!(
            pop_next(&mut q).unwrap().unwrap().lost,
            0,
            "the loss is reported once"
        );
    }
}

#[test]
fn starts() {
    for kind in KINDS {
        let dir = Dir::new();
        let name = dir.name("q");
        let mut out = kind.options(small(kind)).open(&name).unwrap();
        for start in [Start::Oldest, Start::Newest, Start::Next, Start::At(0)] {
            assert_eq!(
                consumer(&name, start).next_sequence(),
                0,
                "{start:?}, empty"
            );
        }
        let beyond = Consumer::options()
            .start(Start::At(1))
            .open(&name)
            .unwrap_err();
        assert!(matches!(beyond, Error::Invalid(_)), "{beyond}");

        (0..3).for_each(|_| push_next(&mut out));
        for (start, first) in [
            (Start::Oldest, 0),
            (Start::Newest, 2),
            (Start::Next, 3),
            (Start::At(0), 0),
            (Start::At(2), 2),
            (Start::At(3), 3),
        ] {
            let mut q = consumer(&name, start);
            check_accounts(&q, first);
            assert!(drain(&mut q).into_iter().eq(first..3), "{start:?}");
            check_accounts(&q, first);
        }
        (0..997).for_each(|_| push_next(&mut out));
        let oldest = out.stats().unwrap().oldest;
        assert!(oldest > 900);
        for (start, first) in [
            (Start::Oldest, oldest),
            (Start::Newest, 999),
            (Start::Next, 1000),
            (Start::At(oldest), oldest),
            (Start::At(oldest + 3), oldest + 3),
            (Start::At(1000), 1000),
        ] {
            let mut q = consumer(&name, start);
            let s = check_accounts(&q, first);
            assert_eq!((s.lost, s.lag), (0, 1000 - first), "{start:?}");
            assert!(drain(&mut q).into_iter().eq(first..1000), "{start:?}");
            push_next(&mut out);
            assert_eq!(drain(&mut q), [1000], "{start:?}, later messages");
            // Back to the state that the next start expects.
            drop(out);
            ipcq::unlink(&name).unwrap();
            out = kind.options(small(kind)).open(&name).unwrap();
            (0..1000).for_each(|_| push_next(&mut out));
        }
        // The start was requested but is gone, so the messages count as lost.
        let mut q = consumer(&name, Start::At(100));
        let s = check_accounts(&q, 100);
        assert_eq!((s.received, s.lost), (0, oldest - 100));
        let m = pop_next(&mut q).unwrap().unwrap();
        assert_eq!((m.sequence, m.lost), (oldest, oldest - 100));
        check_accounts(&q, 100);
        assert!(Consumer::options()
            .start(Start::At(1001))
            .open(&name)
            .is_err());
    }
}

#[test]
fn seeking() {
    for kind in KINDS {
        let dir = Dir::new();
        let mut out = kind.options(small(kind)).open(dir.name("q")).unwrap();
        let mut q = consumer(&dir.name("q"), Start::Oldest);
        (0..20).for_each(|_| push_next(&mut out));
        for sequence in [7, 0, 19, 20, 3, 11] {
            q.seek(sequence).unwrap();
            assert_eq!(q.next_sequence(), sequence);
            check_accounts(&q, sequence);
            assert!(drain(&mut q).into_iter().eq(sequence..20));
            let s = check_accounts(&q, sequence);
            assert_eq!((s.received, s.lost, s.lag), (20 - sequence, 0, 0));
        }
        q.seek(5).unwrap();
        assert_eq!(pop_next(&mut q).unwrap().unwrap().sequence, 5);
        for beyond in [21, 1 << 40, u64::MAX / 2] {
            let error = q.seek(beyond).unwrap_err();
            assert!(matches!(error, Error::Invalid(_)), "{error}");
            assert!(error.to_string().contains("20"), "{error}");
            assert_eq!(q.next_sequence(), 6);
        }
        assert_eq!(pop_next(&mut q).unwrap().unwrap().sequence, 6);
        (0..1000).for_each(|_| push_next(&mut out));
        q.seek(10).unwrap();
        let oldest = out.stats().unwrap().oldest;
        let s = check_accounts(&q, 10);
        assert_eq!((s.received, s.lost), (0, oldest - 10));
        let m = pop_next(&mut q).unwrap().unwrap();
        assert_eq!((m.sequence, m.lost), (oldest, oldest - 10));
    }
}

/// Pushes, pops, seeks and peeks at random, and keeps its own statistics.
#[test]
fn statistics_are_exact_at_every_moment() {
    for (kind, capacity) in [
        (Kind::Fixed(24), 64),
        (Kind::Fixed(1), 2),
        (Kind::Fixed(200), 1024),
        (Kind::Variable, 1024),
        (Kind::Variable, 16 << 10),
    ] {
        let dir = Dir::new();
        let mut out = kind.options(capacity).open(dir.name("q")).unwrap();
        let mut q = consumer(&dir.name("q"), Start::Oldest);
        let mut random = Random(capacity);
        let (mut start, mut received, mut lost, mut last_told) = (0, 0, 0, 0);
        for _ in 0..3000 {
            match random.below(8) {
                0..=2 => {
                    let most = if random.below(10) == 0 { 300 } else { 12 };
                    (0..random.below(most)).for_each(|_| push_next(&mut out));
                }
                3..=5 => {
                    for _ in 0..random.below(12) {
                        let Some(m) = pop_next(&mut q).unwrap() else {
                            break;
                        };
                        received += 1;
                        lost += m.lost;
                        assert_eq!(m.sequence + 1, start + received + lost);
                        last_told = m.sequence + 1;
                    }
                }
                6 => {
                    let Some(view) = q.peek().unwrap() else {
                        continue;
                    };
                    let m = view.message();
                    match random.below(3) {
                        0 => {
                            view.release().unwrap();
                            received += 1;
                            lost += m.lost;
                            assert_eq!(m.sequence + 1, start + received + lost);
                            last_told = m.sequence + 1;
                        }
                        1 => {}
                        _ => {
                            (0..random.below(2 * capacity)).for_each(|_| push_next(&mut out));
                            match q.release_raw(m.sequence) {
                                Ok(()) => {
                                    received += 1;
                                    lost += m.lost;
                                    last_told = m.sequence + 1;
                                }
                                Err(e) => assert!(matches!(e, Error::Stale(_)), "{e}"),
                            }
                        }
                    }
                }
                _ => {
                    if random.below(10) == 0 {
                        start = random.below(out.next_sequence() + 1);
                        q.seek(start).unwrap();
                        (received, lost, last_told) = (0, 0, start);
                    }
                }
            }
            let s = check_accounts(&q, start);
            assert_eq!(s.pushed, out.next_sequence());
            assert_eq!(s.received, received);
            // Losses that were not reported yet are reported with the next message.
            assert_eq!(s.lost - lost, q.next_sequence() - last_told);
        }
        assert!(out.next_sequence() > 3000);
    }
}

#[test]
fn a_consumer_waits_for_its_queue() {
    let dir = Dir::new();
    let name = dir.name("q");
    let error = Consumer::options().open(&name).unwrap_err();
    assert!(matches!(error, Error::NotFound(_)), "{error}");
    assert!(
        error.to_string().contains(name.to_str().unwrap()),
        "{error}"
    );
    let error = Consumer::options()
        .open_timeout(Duration::from_millis(30))
        .open(&name)
        .unwrap_err();
    assert!(matches!(error, Error::NotFound(_)), "{error}");

    let mut late = Process::start("push_late", &[("NAME", &name)]);
    let waiting = std::thread::spawn(move || {
        Consumer::options()
            .open_timeout(Duration::from_secs(60))
            .open(name)
    });
    late.tell("go");
    let mut q = waiting.join().unwrap().unwrap();
    let m = eventually("the message", || pop_next(&mut q).unwrap());
    assert_eq!(m.sequence, 0);
    late.tell("end");
    late.done();
}

#[test]
fn two_names_for_one_ring() {
    let dir = Dir::new();
    let mut child = Process::start("push_bare", &[("IPCQ_DIR", dir.path())]);
    child.expect("pushed");
    assert_eq!(
        dir.files(),
        ["ipcq.ticks", "ipcq.ticks.ctl", "ipcq.ticks.lock"]
    );
    let mut q = consumer(&dir.name("ipcq.ticks"), Start::Oldest);
    assert!(drain(&mut q).into_iter().eq(0..10));
    assert!(q.stats().unwrap().producer_alive);
    child.tell("end");
    child.done();
    assert!(matches!(pop_next(&mut q), Err(Error::Closed(_))));
}

/// A consumer that is slower than the producer loses messages, but gets long runs between the
/// losses. It does not resume at a place that is overwritten next.
#[test]
fn settles_after_a_lap() {
    for kind in [Kind::Fixed(24), Kind::Variable] {
        let dir = Dir::new();
        let capacity = if kind == Kind::Variable {
            64 << 10
        } else {
            1024
        };
        let mut out = kind.options(capacity).open(dir.name("q")).unwrap();
        let mut q = consumer(&dir.name("q"), Start::Oldest);
        let (mut received, mut gaps) = (0u64, 0u64);
        for _ in 0..20_000 {
            (0..2).for_each(|_| out.push(&message(out.next_sequence(), 24)).unwrap());
            let mut buffer = [0; 24];
            let m = q.pop(&mut buffer).unwrap().unwrap();
            assert!(is_whole(m.sequence, &buffer));
            received += 1;
            gaps += u64::from(m.lost > 0);
        }
        let s = check_accounts(&q, 0);
        assert!(gaps > 0, "the consumer was never lapped");
        assert!(s.received == received && s.lost > 0);
        // The producer gains one message on the consumer per turn, and the distance is 1/8 of the
        // ring.
        let ring = if kind == Kind::Variable {
            capacity / 48
        } else {
            capacity
        };
        assert!(
            received / gaps > ring / 16,
            "{kind:?}: {received} in {gaps} runs"
        );
    }
}

/// The same with a producer that runs without waiting.
#[test]
fn settles_behind_a_running_producer() {
    use std::sync::atomic::{AtomicBool, Ordering};
    for kind in [Kind::Fixed(64), Kind::Variable] {
        let dir = Dir::new();
        let capacity = if kind == Kind::Variable {
            1 << 20
        } else {
            16 << 10
        };
        let mut out = kind.options(capacity).open(dir.name("q")).unwrap();
        let mut q = consumer(&dir.name("q"), Start::Oldest);
        let stop = AtomicBool::new(false);
        let (mut received, mut gaps) = (0u64, 0u64);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let bytes = [7; 64];
                while !stop.load(Ordering::Relaxed) {
                    (0..100).for_each(|_| out.push(&bytes).unwrap());
                }
            });
            let mut buffer = [0; 64];
            while gaps < 20 && received < 5_000_000 {
                let Some(m) = q.pop(&mut buffer).unwrap() else {
                    continue;
                };
                received += 1;
                gaps += u64::from(m.lost > 0);
            }
            stop.store(true, Ordering::Relaxed);
        });
        let s = check_accounts(&q, 0);
        let share = 100.0 * s.received as f64 / (s.received + s.lost) as f64;
        println!("{kind:?}: {received} received ({share:.1} %), {gaps} gaps");
        // A consumer that resumed at the oldest message would be lapped at nearly every message.
        assert!(
            received / gaps.max(1) > 100,
            "{kind:?}: {received} in {gaps} runs"
        );
    }
}

#[test]
fn closed_drained_and_opened_again() {
    for kind in KINDS {
        let dir = Dir::new();
        let name = dir.name("q");
        let mut q = None;
        for epoch in 0..5u64 {
            let mut out = kind.options(small(kind)).open(&name).unwrap();
            assert_eq!(out.next_sequence(), epoch * 7);
            let q = q.get_or_insert_with(|| consumer(&name, Start::Oldest));
            assert_eq!(pop_next(q).unwrap(), None, "open again, nothing there");
            (0..7).for_each(|_| push_next(&mut out));
            out.close();
            for sequence in epoch * 7..epoch * 7 + 7 {
                let m = pop_next(q).unwrap().unwrap();
                assert_eq!((m.sequence, m.lost), (sequence, 0));
            }
            for _ in 0..2 {
                assert!(matches!(pop_next(q), Err(Error::Closed(_))));
                assert!(matches!(q.peek(), Err(Error::Closed(_))));
                assert!(matches!(
                    q.pop_many(&mut [0; 1000], 100),
                    Err(Error::Closed(_))
                ));
            }
            let s = check_accounts(q, 0);
            assert!(s.closed && !s.producer_alive);
            assert_eq!(u64::from(s.epoch), epoch + 1);
            // A consumer that attaches late also gets the retained messages and then the end.
            let mut late = consumer(&name, Start::Newest);
            assert_eq!(
                pop_next(&mut late).unwrap().unwrap().sequence,
                epoch * 7 + 6
            );
            assert!(matches!(pop_next(&mut late), Err(Error::Closed(_))));
        }
    }
}

#[test]
fn replaced_by_another() {
    let dir = Dir::new();
    let name = dir.name("q");
    let mut out = Kind::Fixed(24).options(64).open(&name).unwrap();
    (0..5).for_each(|_| push_next(&mut out));
    let mut old = consumer(&name, Start::Oldest);
    drop(out);
    // A queue that matches is continued, even with REPLACE.
    let out = Kind::Fixed(24)
        .options(64)
        .replace(true)
        .open(&name)
        .unwrap();
    assert_eq!(out.next_sequence(), 5);
    drop(out);
    let mut out = Kind::Variable
        .options(4096)
        .replace(true)
        .open(&name)
        .unwrap();
    assert_eq!(
        (out.next_sequence(), out.geometry().framing),
        (0, Framing::Variable)
    );
    push_next(&mut out);
    for sequence in 0..5 {
        assert_eq!(pop_next(&mut old).unwrap().unwrap().sequence, sequence);
    }
    for _ in 0..2 {
        assert!(matches!(pop_next(&mut old), Err(Error::Stale(_))));
    }
    check_accounts(&old, 0);
    let mut new = consumer(&name, Start::Oldest);
    assert_eq!(drain(&mut new), [0]);
    drop(out);
    assert!(
        matches!(pop_next(&mut old), Err(Error::Stale(_))),
        "the old queue stays replaced"
    );
    assert!(matches!(pop_next(&mut new), Err(Error::Closed(_))));
    assert_eq!(dir.files(), ["q", "q.ctl", "q.lock"]);
}

#[test]
fn exclusive_creation() {
    let dir = Dir::new();
    let name = dir.name("q");
    let options = Kind::Fixed(24).options(64).exclusive(true);
    let out = options.open(&name).unwrap();
    for _ in 0..2 {
        let error = options.open(&name).unwrap_err();
        assert!(matches!(error, Error::Exists(_)), "{error}");
    }
    drop(out);
    assert!(
        matches!(options.open(&name), Err(Error::Exists(_))),
        "closed, but existing"
    );
    ipcq::unlink(&name).unwrap();
    options.open(&name).unwrap();
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let dir = Dir::new();
    for options in [
        Producer::options().min_consumers(1),
        Producer::options().evict_after(Duration::from_secs(1)),
        Producer::options()
            .delivery(ipcq::Delivery::Lossless)
            .min_consumers(33),
        Producer::options().permissions(0o444),
        Producer::options().control_permissions(0o1600),
    ] {
        let error = options.open(dir.name("q")).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
        assert!(dir.files().is_empty(), "{:?}", dir.files());
    }
}

#[test]
fn evict_after_is_refused_for_a_lossy_queue() {
    let dir = Dir::new();
    let name = dir.name("q");
    let evicting = || Producer::options().evict_after(Duration::from_secs(1));
    let lossy = || Kind::Fixed(8).options(64);
    push_next(&mut lossy().open(&name).unwrap());
    let id = ipcq::inspect(&name).unwrap().stats.id;
    // The producer takes the existing queue, or requests a lossy one.
    for options in [
        evicting(),
        evicting().replace(true),
        evicting().delivery(ipcq::Delivery::Lossy),
        // The new queue would also be lossy.
        lossy().evict_after(Duration::ZERO).replace(true),
        Kind::Fixed(16)
            .options(64)
            .evict_after(Duration::from_secs(1))
            .replace(true),
    ] {
        let error = options.open(&name).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
        let text = error.to_string();
        assert!(
            text.ends_with(": evict_after is for lossless queues"),
            "{text}"
        );
        let stats = ipcq::inspect(&name).unwrap().stats;
        assert_eq!((stats.id, stats.pushed), (id, 1), "left as it was");
    }
    let lossless = evicting().delivery(ipcq::Delivery::Lossless);
    lossless.clone().replace(true).open(&name).unwrap();
    evicting().open(&name).unwrap();
    lossless.open(&name).unwrap();
}

#[test]
fn another_geometry_is_an_error_that_names_both() {
    let dir = Dir::new();
    let name = dir.name("q");
    let mut out = Kind::Fixed(24).options(64).open(&name).unwrap();
    push_next(&mut out);
    drop(out);
    for (options, asked) in [
        (Kind::Fixed(32).options(64), "64 messages of 32 bytes"),
        (Kind::Fixed(24).options(65), "128 messages of 24 bytes"),
        (Kind::Variable.options(4096), "variable length, 4096 bytes"),
        (
            Kind::Fixed(24).options(64).max_consumers(33),
            "lossy, 0 to 32 consumers, but 64 messages of 24 bytes, max_consumers 33 was requested",
        ),
        // The error does not name an option that was not set.
        (
            Producer::options().message_size(32),
            "lossy, but a message size of 32 bytes was requested",
        ),
    ] {
        let error = options.open(&name).unwrap_err();
        assert!(matches!(error, Error::Geometry(_)), "{error}");
        assert_eq!(error.code(), -libc::EINVAL);
        let text = error.to_string();
        assert!(text.contains("64 messages of 24 bytes, lossy"), "{text}");
        assert!(text.contains(asked), "{text}");
        assert!(text.contains(name.to_str().unwrap()), "{text}");
    }
    // The attempts have not changed the queue. Options that request nothing get the existing queue.
    for options in [
        Producer::options(),
        Kind::Fixed(24).options(33),
        Producer::options().capacity(64),
    ] {
        let out = options.open(&name).unwrap();
        assert_eq!(out.next_sequence(), 1);
    }
    assert_eq!(
        pop_next(&mut consumer(&name, Start::Oldest))
            .unwrap()
            .unwrap()
            .sequence,
        0
    );
}

#[test]
fn one_live_producer() {
    let dir = Dir::new();
    let name = dir.name("q");
    let mut out = Kind::Fixed(24).options(64).open(&name).unwrap();
    for options in [
        Producer::options(),
        Producer::options().replace(true),
        Kind::Variable.options(0),
    ] {
        let error = options.open(&name).unwrap_err();
        assert!(matches!(error, Error::ProducerExists(_)), "{error}");
        assert!(
            error.to_string().contains(name.to_str().unwrap()),
            "{error}"
        );
    }
    let mut child = Process::start("produce", &[("NAME", &name)]);
    assert!(child
        .expect("error")
        .starts_with(&format!("-{} ", libc::EBUSY)));
    child.done();
    // The queue is unchanged.
    push_next(&mut out);
    assert_eq!(drain(&mut consumer(&name, Start::Oldest)), [0]);
    drop(out);
    let mut child = Process::start("produce", &[("NAME", &name)]);
    child.expect("opened");
    child.done();
}

#[test]
fn handles_move_between_threads() {
    for kind in KINDS {
        let dir = Dir::new();
        let mut out = kind.options(small(kind)).open(dir.name("q")).unwrap();
        let mut q = consumer(&dir.name("q"), Start::Oldest);
        for sequence in 0..20 {
            out = std::thread::spawn(move || {
                push_next(&mut out);
                out
            })
            .join()
            .unwrap();
            q = std::thread::spawn(move || {
                assert_eq!(drain(&mut q), [sequence]);
                q
            })
            .join()
            .unwrap();
        }
    }
}

/// The sequences pass 2^32, 2^63 and 2^64, and so do the positions of a variable ring.
#[test]
fn sequences_wrap_around() {
    for (kind, capacity) in [
        (Kind::Fixed(24), 2),
        (Kind::Fixed(24), 64),
        (Kind::Variable, 1024),
        (Kind::Variable, 16384),
    ] {
        for around in [1u64 << 32, 1 << 63, 0] {
            // Runs end before, at and far beyond the wrap, with many laps on both sides.
            for before in [1, 2, 7, 1000] {
                wrap_around(kind, capacity, around.wrapping_sub(before));
            }
        }
    }
}

fn wrap_around(kind: Kind, capacity: u64, first: u64) {
    let dir = Dir::new();
    let name = dir.name("q");
    let options = ipcq::__binding::first_sequence(kind.options(capacity), first);
    let mut out = options.open(&name).unwrap();
    for start in [Start::Oldest, Start::Newest, Start::Next, Start::At(first)] {
        let mut q = consumer(&name, start);
        assert_eq!(q.next_sequence(), first, "{kind:?} {capacity} {start:?}");
        assert_eq!(pop_next(&mut q).unwrap(), None);
        check_accounts(&q, first);
    }
    assert!(Consumer::options()
        .start(Start::At(first.wrapping_add(1)))
        .open(&name)
        .is_err());
    let mut fast = consumer(&name, Start::Oldest);
    let mut slow = consumer(&name, Start::Oldest);
    let (mut received, mut lost) = (0u64, 0u64);
    for n in 0..2200u64 {
        let sequence = first.wrapping_add(n);
        assert_eq!(out.next_sequence(), sequence);
        push_next(&mut out);
        let m = pop_next(&mut fast).unwrap().unwrap();
        assert_eq!((m.sequence, m.lost), (sequence, 0));
        if n % 97 == 0 {
            // Pops now and then. If the ring is small, it is lapped each time.
            while let Some(m) = pop_next(&mut slow).unwrap() {
                received += 1;
                lost += m.lost;
                assert_eq!(
                    m.sequence.wrapping_add(1),
                    first.wrapping_add(received + lost)
                );
            }
            check_accounts(&slow, first);
            let mut joined = consumer(&name, Start::Oldest);
            let oldest = joined.next_sequence();
            assert_eq!(oldest, out.stats().unwrap().oldest);
            let got = drain(&mut joined);
            assert_eq!(got.first(), Some(&oldest));
            assert_eq!(got.last(), Some(&sequence));
            check_accounts(&joined, oldest);
            joined.seek(sequence).unwrap();
            assert_eq!(drain(&mut joined), [sequence]);
            assert!(joined.seek(sequence.wrapping_add(2)).is_err());
            assert_eq!(drain(&mut consumer(&name, Start::Newest)), [sequence]);
            assert!(drain(&mut consumer(&name, Start::Next)).is_empty());
        }
        if n % 301 == 0 {
            drop(out);
            assert!(matches!(pop_next(&mut fast), Err(Error::Closed(_))));
            out = options.open(&name).unwrap();
        }
    }
    let s = check_accounts(&slow, first);
    assert!(capacity > 2 && kind != Kind::Variable || s.lost > 0);
    check_accounts(&fast, first);
}

#[test]
fn unlinking() {
    let dir = Dir::new();
    let name = dir.name("q");
    assert!(matches!(ipcq::unlink(&name), Err(Error::NotFound(_))));
    // No process is alive, so no file stays.
    drop(Kind::Fixed(24).options(64).open(&name).unwrap());
    assert_eq!(dir.files(), ["q", "q.ctl", "q.lock"]);
    ipcq::unlink(&name).unwrap();
    assert_eq!(dir.files(), [""; 0]);

    // Handles keep the memory, and a second producer cannot open the same ring.
    let mut out = Kind::Fixed(24).options(64).open(&name).unwrap();
    let mut q = consumer(&name, Start::Oldest);
    ipcq::unlink(&name).unwrap();
    assert_eq!(dir.files(), ["q.lock"]);
    push_next(&mut out);
    assert_eq!(drain(&mut q), [0]);
    assert!(matches!(
        Consumer::options().open(&name),
        Err(Error::NotFound(_))
    ));
    assert!(matches!(
        Producer::options().open(&name),
        Err(Error::ProducerExists(_))
    ));
    drop(out);
    assert_eq!(
        dir.files(),
        [""; 0],
        "the last handle removes its lock file"
    );
    assert!(matches!(pop_next(&mut q), Err(Error::Closed(_))));
    check_accounts(&q, 0);

    // The name is free for another queue.
    let mut out = Kind::Variable.options(1024).open(&name).unwrap();
    push_next(&mut out);
    assert_eq!(drain(&mut consumer(&name, Start::Oldest)), [0]);
    assert!(matches!(pop_next(&mut q), Err(Error::Closed(_))));
}

/// Runs in its own process: forks with an open producer and checks it on both sides.
fn fork_with_a_producer() {
    let name = argument("NAME");
    let mut out = Kind::Fixed(24).options(64).open(&name).unwrap();
    let mut q = consumer(name.as_ref(), Start::Oldest);
    push_next(&mut out);
    // SAFETY: besides the thread of the harness, which holds no lock, this test process has one
    // thread.
    match unsafe { libc::fork() } {
        0 => {
            let refused = |r: ipcq::Result<()>| matches!(r, Err(Error::WrongRole(_)));
            let ok = refused(out.push(&[0; 24]))
                && refused(out.push_many(&[0; 48], 24).map(|_| ()))
                && refused(out.claim(24).map(|_| ()))
                && refused(out.commit_raw(24))
                && refused(out.abort_raw());
            drop(out);
            // The inherited consumer works normally.
            let ok = ok && drain(&mut q) == [0] && q.stats().unwrap().producer_alive;
            // SAFETY: ends the process at once, without the exit handlers of the parent.
            unsafe { libc::_exit(if ok { 0 } else { 1 }) };
        }
        child => {
            let mut status = 0;
            // SAFETY: `status` is valid for writes.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert_eq!(status, 0, "a check failed in the child");
        }
    }
    let s = q.stats().unwrap();
    assert!(
        s.producer_alive && !s.closed,
        "the drop in the child must change nothing"
    );
    assert!(matches!(
        Producer::options().open(&name),
        Err(Error::ProducerExists(_))
    ));
    push_next(&mut out);
    assert_eq!(drain(&mut q), [0, 1]);
    drop(out);
    assert!(matches!(pop_next(&mut q), Err(Error::Closed(_))));
    assert!(!q.stats().unwrap().producer_alive);
}

#[test]
fn a_producer_is_not_inherited() {
    let dir = Dir::new();
    Process::start("fork", &[("NAME", &dir.name("q"))]).done();
}

#[test]
fn a_forked_child_does_not_keep_the_lock_of_a_killed_producer() {
    let dir = Dir::new();
    let name = dir.name("q");
    let mut parent = Process::start("fork_and_die", &[("NAME", &name)]);
    let child: i32 = parent.expect("forked").parse().unwrap();
    assert!(matches!(
        Producer::options().open(&name),
        Err(Error::ProducerExists(_))
    ));
    parent.kill();
    // SAFETY: the call takes numbers. The child sleeps and has a deadline, so it still exists.
    assert_eq!(unsafe { libc::kill(child, 0) }, 0);
    // The child gives up the locks when it starts to run, which may be later.
    let q = consumer(&name, Start::Oldest);
    eventually("the end", || {
        (!q.stats().unwrap().producer_alive).then_some(())
    });
    eventually("the lock", || Producer::options().open(&name).ok());
    // SAFETY: the call takes numbers.
    assert_eq!(unsafe { libc::kill(child, libc::SIGKILL) }, 0);
}

#[test]
fn a_process_being_started_does_not_keep_the_lock_of_a_closed_producer() {
    let dir = Dir::new();
    Process::start("spawn", &[("NAME", &dir.name("q"))]).done();
}

/// Runs in its own process. Extends the time between the `vfork` and the `exec` of `posix_spawn`,
/// which shares all descriptors and calls no handler.
fn close_while_spawning() {
    let name = argument("NAME");
    let out = Kind::Fixed(24).options(64).open(&name).unwrap();
    // As fork without the handlers. Not every processor has a system call named fork.
    // SAFETY: the child has a copy of this memory and stack, and only sleeps.
    let child = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } as i32;
    if child == 0 {
        loop {
            // SAFETY: the call takes a number and does not access memory.
            unsafe {
                libc::alarm(30);
                libc::pause();
            }
        }
    }
    let q = consumer(name.as_ref(), Start::Oldest);
    drop(out);
    assert!(!q.stats().unwrap().producer_alive);
    Producer::options().open(&name).unwrap();
    // SAFETY: the call takes numbers, and the child was not waited for.
    assert_eq!(unsafe { libc::kill(child, libc::SIGKILL) }, 0);
}

/// A claim announces the maximum that it may need. Small messages then fill that space without
/// another announcement, far from the last announcement.
#[test]
fn the_front_is_found_after_a_long_claim() {
    let dir = Dir::new();
    let name = dir.name("q");
    let mut out = Producer::options().capacity(1 << 20).open(&name).unwrap();
    drop(out.claim(128 << 10).unwrap());
    for n in 0..3500u64 {
        out.push(&n.to_le_bytes()).unwrap();
    }
    let q = consumer(&name, Start::Oldest);
    assert_eq!(q.stats().unwrap().pushed, 3500);
    assert_eq!(consumer(&name, Start::Next).next_sequence(), 3500);
    assert_eq!(consumer(&name, Start::Newest).next_sequence(), 3499);
    // As after a kill: the next producer has only the content of the file.
    let copy = dir.name("copy");
    std::fs::copy(&name, &copy).unwrap();
    let next = Producer::options().open(&copy).unwrap();
    assert_eq!(next.next_sequence(), 3500);
}

#[test]
fn an_empty_file_can_be_replaced() {
    let dir = Dir::new();
    let name = dir.name("q");
    std::fs::write(&name, "").unwrap();
    let damaged = Producer::options().open(&name).unwrap_err();
    assert!(matches!(damaged, Error::Damaged(_)), "{damaged}");
    let mut out = Producer::options().replace(true).open(&name).unwrap();
    out.push(b"x").unwrap();
}
