//! A lossless queue never overwrites a message that an attached consumer has not consumed,
//! regardless of which processes are killed, stopped, attached or detached. A dead consumer does
//! not block the producer.

mod common;

use common::*;
use ipcq::{Consumer, Delivery, Error, Producer, ProducerOptions, Start};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const KINDS: [Kind; 3] = [Kind::Fixed(24), Kind::Fixed(300), Kind::Variable];

fn options(kind: Kind, capacity: u64) -> ProducerOptions {
    kind.options(capacity).delivery(Delivery::Lossless)
}

fn small(kind: Kind) -> ProducerOptions {
    match kind {
        Kind::Fixed(_) => options(kind, 8),
        Kind::Variable => options(kind, 1024),
    }
}

/// Pushes until the queue is full. Returns the number of messages.
fn fill_up(producer: &mut Producer) -> u64 {
    let first = producer.next_sequence();
    loop {
        let sequence = producer.next_sequence();
        let length = length_in(producer.geometry(), sequence);
        match producer.push(&message(sequence, length)) {
            Ok(()) => {}
            Err(Error::Full(_)) => return producer.next_sequence() - first,
            Err(e) => panic!("{e}"),
        }
        assert!(
            producer.next_sequence() - first < 1 << 20,
            "the queue never became full"
        );
    }
}

fn drain(consumer: &mut Consumer) -> u64 {
    let mut many = 0;
    while let Some(got) = pop_next(consumer).unwrap() {
        assert_eq!(got.lost, 0, "{got:?}");
        many += 1;
    }
    many
}

#[test]
fn child_main() {
    let Some(role) = role() else { return };
    // SAFETY: the call takes a number and cannot fail. A soak takes longer than other tests.
    unsafe { libc::alarm(60 + soak().as_secs() as u32) };
    let name = PathBuf::from(argument("NAME"));
    match role.as_str() {
        "attach" => {
            let mut q = Consumer::options().name("child").open(&name).unwrap();
            for _ in 0..number("POPS") {
                pop_next(&mut q).unwrap().unwrap();
            }
            say("attached");
            listen();
        }
        "produce" => produce(&name, number("COUNT")),
        "consume" => consume(&name, number("SEED")),
        role => panic!("unknown role {role}"),
    }
    std::process::exit(0);
}

fn attach(name: &Path, pops: u64) -> Process {
    let pops = pops.to_string();
    let mut child = Process::start(
        "attach",
        &[("NAME", name.to_str().unwrap()), ("POPS", &pops)],
    );
    child.expect("attached");
    child
}

#[test]
fn a_full_queue_returns_an_error_and_loses_nothing() {
    for kind in KINDS {
        let dir = Dir::new();
        let name = dir.name("q");
        let mut out = small(kind).open(&name).unwrap();
        let mut fast = Consumer::options().name("fast").open(&name).unwrap();
        let mut slow = Consumer::options().name("slow").open(&name).unwrap();
        let mut pushed = 0;
        for round in 0..200 {
            let more = fill_up(&mut out);
            pushed += more;
            if let Kind::Fixed(_) = kind {
                assert_eq!(pushed - slow.next_sequence(), 8, "the whole ring is used");
            }
            assert!(matches!(
                out.push(&message(pushed, length_in(out.geometry(), pushed))),
                Err(Error::Full(_))
            ));
            let length = length_in(out.geometry(), pushed);
            assert!(matches!(out.claim(length), Err(Error::Full(_))));
            drain(&mut fast);
            assert_eq!(
                fill_up(&mut out),
                0,
                "the slow consumer has consumed nothing"
            );
            for _ in 0..=round % 5 {
                assert_eq!(pop_next(&mut slow).unwrap().unwrap().lost, 0);
            }
            let list = out.consumers();
            assert_eq!(list.len(), 2);
            assert_eq!(
                (list[0].name.as_str(), list[1].name.as_str()),
                ("slow", "fast")
            );
            assert_eq!(list[0].lag, pushed - slow.next_sequence());
            assert_eq!(list[0].pid, std::process::id());
            assert_eq!(out.stats().unwrap().consumers, 2);
        }
        assert!(pushed > 200);
        drain(&mut fast);
        drain(&mut slow);
        for q in [&fast, &slow] {
            let s = check_accounts(q, 0);
            assert_eq!((s.received, s.lost, s.lag), (pushed, 0, 0));
        }
        drop(slow);
        drop(fast);
        // Without an attached consumer, the producer does not wait.
        for _ in 0..5000 {
            push_next(&mut out);
        }
        assert_eq!(out.stats().unwrap().consumers, 0);
    }
}

#[test]
fn the_first_lap_waits_for_the_consumers() {
    for kind in KINDS {
        let dir = Dir::new();
        let name = dir.name("q");
        let mut out = small(kind)
            .min_consumers(2)
            .max_consumers(2)
            .open(&name)
            .unwrap();
        let pushed = fill_up(&mut out);
        assert!(pushed > 0);
        let mut first = Consumer::options().open(&name).unwrap();
        assert_eq!(drain(&mut first), pushed);
        assert_eq!(
            fill_up(&mut out),
            0,
            "only one of two consumers has made room"
        );
        let mut second = Consumer::options().open(&name).unwrap();
        assert_eq!(drain(&mut second), pushed);
        assert!(fill_up(&mut out) > 0);
        let third = Consumer::options().open(&name).unwrap_err();
        assert!(matches!(third, Error::RegistryFull(_)), "{third}");
        let observer = Consumer::options().observer(true).open(&name).unwrap();
        assert_eq!(observer.stats().unwrap().consumers, 2);
        drop(first);
        Consumer::options().open(&name).unwrap();
    }
}

#[test]
fn a_producer_sleeps_until_space_is_free() {
    for kind in KINDS {
        let dir = Dir::new();
        let name = dir.name("q");
        let mut out = small(kind).open(&name).unwrap();
        let mut q = Consumer::options().open(&name).unwrap();
        fill_up(&mut out);
        let next = |out: &Producer| {
            let sequence = out.next_sequence();
            message(sequence, length_in(out.geometry(), sequence))
        };
        for timeout in [0, 1, 20_000] {
            let full = out.push_wait(&next(&out), Duration::from_micros(timeout));
            assert!(matches!(full, Err(Error::TimedOut(_))));
        }
        let count = 20_000;
        let popper = std::thread::spawn(move || {
            let mut next = 0;
            while next < count {
                match q.wait(Duration::MAX) {
                    Ok(()) => {}
                    Err(e) => panic!("{e}"),
                }
                while let Some(got) = pop_next(&mut q).unwrap() {
                    assert_eq!((got.sequence, got.lost), (next, 0));
                    next += 1;
                }
            }
            q
        });
        while out.next_sequence() < count {
            out.push_wait(&next(&out), Duration::MAX).unwrap();
        }
        drop(popper.join().unwrap());
        // A consumer that detaches also makes room.
        let q = Consumer::options().open(&name).unwrap();
        fill_up(&mut out);
        let left = std::thread::spawn(move || drop(q));
        out.push_wait(&next(&out), Duration::MAX).unwrap();
        left.join().unwrap();
        // A consumer that is killed also makes room.
        let mut child = attach(&name, 0);
        fill_up(&mut out);
        child.kill();
        out.push_wait(&next(&out), Duration::MAX).unwrap();
    }
}

#[test]
fn dead_consumers_are_evicted_and_stopped_ones_are_waited_for() {
    for kind in KINDS {
        let dir = Dir::new();
        let name = dir.name("q");
        let mut out = small(kind).open(&name).unwrap();
        let mut here = Consumer::options().open(&name).unwrap();
        push_next(&mut out);
        let mut child = attach(&name, 1);
        fill_up(&mut out);
        drain(&mut here);
        fill_up(&mut out);
        drain(&mut here);
        child.signal(libc::SIGSTOP);
        eventually("the stop", || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.pid())).unwrap();
            stat.contains(") T").then_some(())
        });
        // Longer than the producer needs to notice a death.
        let since = Instant::now();
        while since.elapsed() < Duration::from_millis(150) {
            assert_eq!(
                fill_up(&mut out),
                0,
                "the producer must wait for the stopped consumer"
            );
        }
        let slowest = &out.consumers()[0];
        assert_eq!(
            (slowest.name.as_str(), slowest.pid as i32),
            ("child", child.pid())
        );
        child.kill();
        let freed = eventually("room", || match fill_up(&mut out) {
            0 => None,
            more => Some(more),
        });
        assert_eq!(drain(&mut here), freed);
        assert_eq!(out.consumers().len(), 1);
    }
}

#[test]
fn a_slow_consumer_is_evicted_and_learns_its_loss() {
    for kind in KINDS {
        let dir = Dir::new();
        let name = dir.name("q");
        let mut out = small(kind)
            .evict_after(Duration::from_millis(20))
            .open(&name)
            .unwrap();
        let mut slow = Consumer::options().open(&name).unwrap();
        push_next(&mut out);
        assert!(pop_next(&mut slow).unwrap().is_some());
        for round in 0..3 {
            let before = fill_up(&mut out);
            eventually("the eviction", || {
                let sequence = out.next_sequence();
                let length = length_in(out.geometry(), sequence);
                out.push(&message(sequence, length)).ok()
            });
            let target = out.next_sequence() + 1000;
            while out.next_sequence() < target {
                push_next(&mut out);
            }
            let got = pop_next(&mut slow).unwrap().unwrap();
            assert!(got.lost > 0, "round {round}, {before} before");
            // The producer waits for it again.
            fill_up(&mut out);
            assert_eq!(out.consumers().len(), 1);
            drain(&mut slow);
            let s = check_accounts(&slow, 0);
            assert_eq!((s.received + s.lost, s.lag), (s.pushed, 0));
        }
    }
}

#[test]
fn a_peeked_message_does_not_change() {
    for kind in KINDS {
        let dir = Dir::new();
        let name = dir.name("q");
        let mut out = small(kind).open(&name).unwrap();
        let mut q = Consumer::options().open(&name).unwrap();
        for _ in 0..100 {
            fill_up(&mut out);
            let view = q.peek().unwrap().unwrap();
            let got = view.message();
            let mut bytes = vec![0; got.length as usize];
            assert_eq!(fill_up(&mut out), 0);
            view.read(0, &mut bytes).unwrap();
            assert!(is_whole(got.sequence, &bytes));
            view.release().unwrap();
        }
    }
}

#[test]
fn the_producer_waits_for_a_consumer_from_where_it_joins_or_seeks() {
    for kind in KINDS {
        for start in [Start::Oldest, Start::Newest, Start::Next, Start::At(40)] {
            let dir = Dir::new();
            let name = dir.name("q");
            let mut out = small(kind).open(&name).unwrap();
            let mut first = Consumer::options().open(&name).unwrap();
            while out.next_sequence() < 50 {
                fill_up(&mut out);
                pop_next(&mut first).unwrap().unwrap();
            }
            let mut second = Consumer::options().start(start).open(&name).unwrap();
            let begin = second.next_sequence() - second.stats().unwrap().lost;
            if let Start::At(sequence) = start {
                assert_eq!(begin, sequence);
            }
            drain(&mut first);
            fill_up(&mut out);
            let pushed = out.next_sequence();
            let mut next = second.next_sequence();
            while let Some(got) = pop_next(&mut second).unwrap() {
                assert_eq!(got.sequence, next);
                next += 1;
            }
            assert_eq!(next, pushed);
            check_accounts(&second, begin);
            // Seek back to the oldest retained message. From then on the producer waits for it
            // again.
            drain(&mut first);
            let back = second.stats().unwrap().oldest;
            second.seek(back).unwrap();
            fill_up(&mut out);
            assert_eq!(second.next_sequence(), back);
            assert!(drain(&mut second) >= pushed - back);
        }
    }
}

/// If a block of the index holds many messages, the oldest retained message may be anywhere in a
/// block.
#[test]
fn the_oldest_message_is_found_in_long_blocks() {
    for kind in [Kind::Fixed(24), Kind::Variable] {
        let dir = Dir::new();
        let name = dir.name("q");
        let mut out = options(kind, 64 << 10).open(&name).unwrap();
        let mut first = Consumer::options().open(&name).unwrap();
        let mut random = Random(1);
        let mut next = 0;
        for _ in 0..100 {
            fill_up(&mut out);
            for _ in 0..random.below(2 * (out.next_sequence() - next)) {
                match pop_next(&mut first).unwrap() {
                    Some(got) => assert_eq!((got.sequence, got.lost), (next, 0)),
                    None => break,
                }
                next += 1;
            }
            check_accounts(&first, 0);
            let mut joins = Consumer::options().open(&name).unwrap();
            let begin = joins.next_sequence();
            // With variable length the message may be in a block whose start was overwritten. The
            // next block is near.
            let block = match kind {
                Kind::Fixed(_) => 0,
                Kind::Variable => (1 << 10) / 16,
            };
            assert!(begin <= next + block, "{begin} with {next} wanted");
            assert_eq!(drain(&mut joins), out.next_sequence() - begin);
            check_accounts(&joins, begin);
        }
        drop(out);
        while !matches!(pop_next(&mut first), Err(Error::Closed(_))) {}
        check_accounts(&first, 0);
    }
}

/// While a consumer has not consumed a message, another consumer and itself can start there.
#[test]
fn unconsumed_messages_are_available_to_others() {
    for (kind, capacity) in [
        (Kind::Fixed(24), 256),
        (Kind::Fixed(300), 64),
        (Kind::Variable, 1 << 11),
        (Kind::Variable, 1 << 17),
    ] {
        let dir = Dir::new();
        let name = dir.name("q");
        let mut out = options(kind, capacity).open(&name).unwrap();
        let mut keeper = Consumer::options().open(&name).unwrap();
        fill_up(&mut out);
        let mut random = Random(capacity);
        for _ in 0..200 {
            for _ in 0..random.below(5) {
                pop_next(&mut keeper).unwrap().unwrap();
            }
            fill_up(&mut out);
            let next = keeper.next_sequence();
            assert!(keeper.stats().unwrap().oldest <= next, "{kind:?}");
            let options = Consumer::options().start(Start::At(next));
            let mut other = options.open(&name).unwrap();
            let got = pop_next(&mut other).unwrap().unwrap();
            assert_eq!((got.sequence, got.lost), (next, 0), "{kind:?} {capacity}");
            drop(other);
            let mut oldest = Consumer::options().open(&name).unwrap();
            assert!(oldest.next_sequence() <= next, "{kind:?} {capacity}");
            drain(&mut oldest);
            drop(oldest);
            keeper.seek(next).unwrap();
            let got = pop_next(&mut keeper).unwrap().unwrap();
            assert_eq!((got.sequence, got.lost), (next, 0), "{kind:?} {capacity}");
        }
    }
}

#[test]
fn the_producer_waits_for_a_forked_child_separately() {
    let dir = Dir::new();
    let name = dir.name("q");
    let mut out = small(Kind::Fixed(24)).open(&name).unwrap();
    let mut q = Consumer::options().open(&name).unwrap();
    fill_up(&mut out);
    assert!(pop_next(&mut q).unwrap().is_some());
    let (mut told, mut tell) = (os_pipe(), os_pipe());
    let child = fork_to_the_end(|| {
        // The child starts at the position of the parent.
        assert_eq!(pop_next(&mut q).unwrap().unwrap().sequence, 1);
        write_byte(&mut told.1);
        read_byte(&mut tell.0);
        // The child has held the producer back, so nothing is lost.
        assert_eq!(pop_next(&mut q).unwrap().unwrap().sequence, 2);
        assert_eq!(q.stats().unwrap().lost, 0);
    });
    read_byte(&mut told.0);
    assert_eq!(out.consumers().len(), 2);
    drain(&mut q);
    fill_up(&mut out);
    assert_eq!(out.next_sequence(), 10, "both have consumed two");
    write_byte(&mut tell.1);
    assert!(wait_for(child).success());
    drain(&mut q);
    eventually("the child's consumer slot", || {
        (fill_up(&mut out) == 8 || out.next_sequence() >= 18).then_some(())
    });
}

/// Each consumed message makes room for exactly one.
#[test]
fn a_full_ring_frees_space_message_by_message() {
    // A message of 16 bytes takes 32 bytes of a variable ring, whose last 16 bytes are reserved.
    let rings = [4, 64, 4096].map(|slots| (Kind::Fixed(24), slots, 24, slots));
    let long = [4, 64].map(|slots| (Kind::Fixed(300), slots, 300, slots));
    let variable = [(Kind::Variable, 1 << 10, 16, (1 << 10) / 32 - 1)];
    for (kind, capacity, length, room) in rings.into_iter().chain(long).chain(variable) {
        let dir = Dir::new();
        let name = dir.name("q");
        let mut out = options(kind, capacity).open(&name).unwrap();
        let mut q = Consumer::options().open(&name).unwrap();
        let push = |out: &mut Producer| out.push(&message(out.next_sequence(), length));
        let mut buffer = vec![0; length];
        while push(&mut out).is_ok() {}
        for sequence in 0..3 * room + 5 {
            assert_eq!(out.next_sequence() - q.next_sequence(), room, "{kind:?}");
            assert!(
                matches!(push(&mut out), Err(Error::Full(_))),
                "{kind:?} {capacity}"
            );
            let got = q.pop(&mut buffer).unwrap().unwrap();
            assert_eq!((got.sequence, got.lost), (sequence, 0));
            assert!(is_whole(sequence, &buffer));
            assert_eq!(push(&mut out), Ok(()), "{kind:?} {capacity}, {sequence}");
        }
        // The same with batches.
        let mut many = vec![0; 5 * length];
        for _ in 0..room {
            let (count, first) = q.pop_many(&mut many, length).unwrap().unwrap();
            for (sequence, bytes) in (first.sequence..).zip(many.chunks(length).take(count)) {
                assert!(is_whole(sequence, bytes));
            }
            for _ in 0..count {
                assert_eq!(push(&mut out), Ok(()), "{kind:?} {capacity}");
            }
            assert!(
                matches!(push(&mut out), Err(Error::Full(_))),
                "{kind:?} {capacity}"
            );
        }
    }
}

/// The producer keeps the whole block that the slowest consumer is reading.
#[test]
fn a_full_variable_ring_frees_space_block_by_block() {
    let (capacity, length) = (64 << 10, 16);
    let (room, block) = (capacity / 32 - 1, capacity / 64 / 32);
    let dir = Dir::new();
    let name = dir.name("q");
    let mut out = options(Kind::Variable, capacity).open(&name).unwrap();
    let mut q = Consumer::options().open(&name).unwrap();
    let mut buffer = vec![0; length];
    for sequence in 0..3 * room {
        while out.push(&message(out.next_sequence(), length)).is_ok() {}
        let unread = out.next_sequence() - q.next_sequence();
        assert!((room - block..=room).contains(&unread), "{unread}");
        let got = q.pop(&mut buffer).unwrap().unwrap();
        assert_eq!((got.sequence, got.lost), (sequence, 0));
        assert!(is_whole(sequence, &buffer));
    }
}

/// A consumer publishes its position once a block, so the producer gets all of the space except for
/// less than a block.
#[test]
fn a_consumer_that_stops_popping_holds_less_than_a_block() {
    let fixed = [4, 64, 128, 4096, 1 << 14].map(|slots| (Kind::Fixed(24), slots));
    let exact = [
        (Kind::Fixed(300), 4096),
        (Kind::Variable, 4096),
        (Kind::Variable, 64 << 10),
    ];
    for (kind, capacity) in fixed.into_iter().chain(exact) {
        let dir = Dir::new();
        let name = dir.name("q");
        let mut out = options(kind, capacity).open(&name).unwrap();
        let slack = match kind {
            Kind::Fixed(24) => out.geometry().block.min(64) - 1,
            // The consumer publishes each of these.
            _ => 0,
        };
        let half = match kind {
            Kind::Fixed(_) => capacity / 2,
            Kind::Variable => 4,
        };
        let mut random = Random(capacity);
        let mut kept_most = 0;
        for round in 0..40 {
            let mut q = Consumer::options().start(Start::Next).open(&name).unwrap();
            (0..half).for_each(|_| push_next(&mut out));
            for _ in 0..random.below(half.min(200) + 1) {
                assert_eq!(pop_next(&mut q).unwrap().unwrap().lost, 0);
            }
            fill_up(&mut out);
            let unread = |out: &Producer, q: &Consumer| out.next_sequence() - q.next_sequence();
            if let Kind::Fixed(_) = kind {
                let got = unread(&out, &q);
                assert!(
                    (capacity - slack..=capacity).contains(&got),
                    "{kind:?} {capacity}: {got} in round {round}"
                );
            }
            // The next pop frees everything that it has consumed. So does a call for the
            // statistics.
            let kept = if round % 2 == 0 {
                assert_eq!(pop_next(&mut q).unwrap().unwrap().lost, 0);
                fill_up(&mut out).saturating_sub(1)
            } else {
                check_accounts(&q, q.next_sequence() - q.stats().unwrap().received);
                fill_up(&mut out)
            };
            if let Kind::Fixed(_) = kind {
                assert!(kept <= slack, "{kind:?} {capacity}: {kept} kept");
                assert_eq!(unread(&out, &q), capacity, "{kind:?} in round {round}");
                kept_most = kept_most.max(kept);
            } else if round % 2 == 1 {
                assert_eq!(kept, 0, "{kind:?} {capacity}: its position was published");
            }
            // So does a pop that finds no message.
            drain(&mut q);
            assert!(fill_up(&mut out) > 0);
            drain(&mut q);
        }
        println!("{kind:?} {capacity}: at most {kept_most} kept");
    }
}

/// A consumer that has consumed more than it has published is evicted. It does not notice at once,
/// because no message that it needs was overwritten.
#[test]
fn an_evicted_consumer_that_lost_nothing_takes_a_slot_again() {
    for how in ["pop", "many"] {
        let dir = Dir::new();
        let name = dir.name("q");
        let mut out = options(Kind::Fixed(24), 4096)
            .evict_after(Duration::from_millis(20))
            .open(&name)
            .unwrap();
        let mut slow = Consumer::options().name("slow").open(&name).unwrap();
        let mut other = Consumer::options().name("other").open(&name).unwrap();
        (0..2048).for_each(|_| push_next(&mut out));
        for sequence in 0..41 {
            assert_eq!(pop_next(&mut slow).unwrap().unwrap().sequence, sequence);
        }
        for _ in 0..2 {
            pop_next(&mut other).unwrap().unwrap();
        }
        check_accounts(&other, 0); // publishes the position
        fill_up(&mut out);
        assert_eq!(out.next_sequence(), 4096, "no position was published");
        eventually("the eviction", || {
            let sequence = out.next_sequence();
            out.push(&message(sequence, 24)).ok()
        });
        let names = |out: &Producer| out.consumers().into_iter().map(|c| c.name);
        assert_eq!(names(&out).collect::<Vec<_>>(), ["other"]);
        let mut next = 41;
        while next < 70 {
            if how == "pop" {
                let got = pop_next(&mut slow).unwrap().unwrap();
                assert_eq!((got.sequence, got.lost), (next, 0));
                next += 1;
            } else {
                let mut buffer = [0; 24 * 7];
                let (count, got) = slow.pop_many(&mut buffer, 24).unwrap().unwrap();
                assert_eq!((count, got.sequence, got.lost), (7, next, 0));
                for (sequence, bytes) in (next..).zip(buffer.chunks(24)) {
                    assert!(is_whole(sequence, bytes));
                }
                next += 7;
            }
        }
        // By now it has noticed. The producer waits for it and it loses nothing.
        let mut listed: Vec<_> = names(&out).collect();
        listed.sort();
        assert_eq!(listed, ["other", "slow"], "by {how}");
        drain(&mut other);
        fill_up(&mut out);
        assert_eq!(out.next_sequence() - next, 4096, "by {how}");
        assert_eq!(drain(&mut slow), 4096);
        assert_eq!(check_accounts(&slow, 0).lost, 0);
    }
}

/// The bytes of the first consumer slot in the control file.
fn first_slot(name: &Path) -> Vec<u8> {
    let mut control = name.as_os_str().to_owned();
    control.push(".ctl");
    std::fs::read(control).unwrap()[512..768].to_vec()
}

#[test]
fn a_forked_child_leaves_the_slot_to_its_parent() {
    for delivery in [Delivery::Lossy, Delivery::Lossless] {
        let dir = Dir::new();
        let name = dir.name("q");
        let mut out = Kind::Fixed(24)
            .options(4096)
            .delivery(delivery)
            .open(&name)
            .unwrap();
        let mut q = Consumer::options().open(&name).unwrap();
        (0..500).for_each(|_| push_next(&mut out));
        // Not a position that the consumer publishes, because the copy in the child would publish
        // it first.
        for sequence in 0..100 {
            assert_eq!(pop_next(&mut q).unwrap().unwrap().sequence, sequence);
        }
        let before = first_slot(&name);
        let (mut told, mut tell) = (os_pipe(), os_pipe());
        let child = fork_to_the_end(|| {
            for sequence in 100..300 {
                let got = pop_next(&mut q).unwrap().unwrap();
                assert_eq!((got.sequence, got.lost), (sequence, 0));
            }
            let mut buffer = [0; 24 * 50];
            let (count, first) = q.pop_many(&mut buffer, 24).unwrap().unwrap();
            assert_eq!((count, first.sequence, first.lost), (50, 300, 0));
            q.peek().unwrap().unwrap().release().unwrap();
            assert_eq!(drain(&mut q), 149);
            assert!(matches!(
                q.wait(Duration::from_millis(1)),
                Err(Error::TimedOut(_))
            ));
            check_accounts(&q, 0);
            write_byte(&mut told.1);
            read_byte(&mut tell.0);
            // SAFETY: dropped once, because this process ends without running destructors.
            drop(unsafe { std::ptr::read(&q) });
            write_byte(&mut told.1);
        });
        drop(told.1);
        read_byte(&mut told.0);
        assert!(
            first_slot(&name) == before,
            "{delivery:?}: the child wrote to it"
        );
        // The child takes its own consumer slot only in a lossless queue.
        let lossless = usize::from(delivery == Delivery::Lossless);
        assert_eq!(out.consumers().len(), 1 + lossless);
        write_byte(&mut tell.1);
        read_byte(&mut told.0);
        assert!(
            first_slot(&name) == before,
            "{delivery:?}: the child wrote to it"
        );
        assert_eq!(out.consumers().len(), 1);
        assert!(wait_for(child).success());
        assert_eq!(q.next_sequence(), 100);
        assert_eq!(drain(&mut q), 400);
        assert_eq!(out.consumers()[0].sequence, 500);
    }
}

type Pipe = (std::fs::File, std::fs::File);

fn os_pipe() -> Pipe {
    use std::os::fd::FromRawFd;
    let mut fds = [0; 2];
    // SAFETY: `fds` is valid for writes, and this function owns the two descriptors.
    unsafe {
        assert_eq!(libc::pipe(fds.as_mut_ptr()), 0);
        (
            std::fs::File::from_raw_fd(fds[0]),
            std::fs::File::from_raw_fd(fds[1]),
        )
    }
}

fn read_byte(file: &mut std::fs::File) {
    use std::io::Read;
    file.read_exact(&mut [0]).unwrap();
}

fn write_byte(file: &mut std::fs::File) {
    use std::io::Write;
    file.write_all(&[0]).unwrap();
}

#[test]
fn without_write_permission_a_consumer_is_only_an_observer() {
    // SAFETY: the call takes no arguments and cannot fail.
    if unsafe { libc::geteuid() } == 0 {
        return; // root may write any file; tests/hostile.rs tests another user
    }
    let dir = Dir::new();
    let name = dir.name("q");
    let mut out = small(Kind::Fixed(24))
        .control_permissions(0o600)
        .open(&name)
        .unwrap();
    push_next(&mut out);
    let control = dir.name("q.ctl");
    let mut mode = std::fs::metadata(&control).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o400);
    std::fs::set_permissions(&control, mode).unwrap();
    let e = Consumer::options().open(&name).unwrap_err();
    assert!(matches!(e, Error::PermissionDenied(_)), "{e}");
    assert!(e.to_string().contains("observer"), "{e}");
    let mut q = Consumer::options().observer(true).open(&name).unwrap();
    assert_eq!(drain(&mut q), 1);
}

#[test]
fn lossy_consumers_are_also_listed() {
    for kind in KINDS {
        let dir = Dir::new();
        let name = dir.name("q");
        let mut out = kind.options(4096).open(&name).unwrap();
        let mut q = Consumer::options().name("monitor-me").open(&name).unwrap();
        for _ in 0..10 {
            push_next(&mut out);
        }
        assert_eq!(drain(&mut q), 10);
        for _ in 0..3 {
            push_next(&mut out);
        }
        let list = out.consumers();
        assert_eq!(list.len(), 1);
        let q0 = &list[0];
        assert_eq!(
            (q0.name.as_str(), q0.sequence, q0.lag, q0.lost),
            ("monitor-me", 10, 3, 0)
        );
        assert_eq!(q.consumers().unwrap(), list);
        drop(q);
        assert!(out.consumers().is_empty());
    }
}

/// The duration of the test of each kind of queue.
fn soak() -> Duration {
    let seconds = std::env::var("IPCQ_SOAK_SECONDS").ok();
    Duration::from_secs(seconds.map_or(3, |s| s.parse().expect("IPCQ_SOAK_SECONDS")))
}

// --- many processes at once ----------------------------------------------------------------------

fn produce(name: &Path, count: u64) {
    let mut out = ProducerOptions::default().open(name).unwrap();
    while out.next_sequence() < count {
        let sequence = out.next_sequence();
        let length = length_in(out.geometry(), sequence);
        let message = message(sequence, length);
        match sequence % 2 {
            0 => out.push_wait(&message, Duration::from_secs(30)).unwrap(),
            // A producer that does not wait must also see the current positions.
            _ => {
                while let Err(e) = out.push(&message) {
                    assert!(matches!(e, Error::Full(_)));
                    std::thread::yield_now();
                }
            }
        }
    }
    say("done");
    listen();
}

/// Attaches, consumes for a while, detaches, and repeats this until the producer has finished. It
/// receives every message from the place where it attached, and loses none.
fn consume(name: &Path, seed: u64) {
    let mut random = Random(seed);
    let mut received = 0;
    loop {
        let mut q = Consumer::options().open(name).unwrap();
        let mut next = q.next_sequence();
        let stay = random.below(5000);
        let mut popped = 0;
        while popped < stay {
            let waited = match random.below(2) {
                0 => q.wait(Duration::from_secs(30)),
                _ => Ok(()),
            };
            match waited.and_then(|()| pop_next(&mut q)) {
                Ok(Some(got)) => {
                    assert_eq!((got.sequence, got.lost), (next, 0), "a gap");
                    next += 1;
                    popped += 1;
                    received += 1;
                    if received % 64 == 0 {
                        say(received);
                    }
                }
                Ok(None) => std::thread::yield_now(),
                Err(Error::Closed(_)) => {
                    say("closed");
                    listen();
                    return;
                }
                Err(e) => panic!("{e}"),
            }
        }
    }
}

#[test]
fn nothing_is_lost_when_any_process_dies() {
    let small = KINDS.map(|kind| (kind, small(kind)));
    // In a large ring of short messages a consumer does not publish each step.
    let large = (Kind::Fixed(24), options(Kind::Fixed(24), 2048));
    for (kind, options) in small.into_iter().chain([large]) {
        let dir = Dir::new();
        let name = dir.name("q");
        let path = name.to_str().unwrap();
        drop(options.max_consumers(8).open(&name).unwrap());
        let mut witness = Consumer::options().name("witness").open(&name).unwrap();
        let mut random = Random(std::process::id().into());
        let start = |random: &mut Random| {
            let seed = random.next().to_string();
            Process::start("consume", &[("NAME", path), ("SEED", &seed)])
        };
        let mut consumers: Vec<_> = (0..3).map(|_| start(&mut random)).collect();
        let mut producer = Process::start("produce", &[("NAME", path), ("COUNT", "1000000000")]);
        let (mut next, mut kills, mut restarts, mut stops) = (0, 0, 0, 0);
        let mut stopped: Option<usize> = None;
        let since = Instant::now();
        let mut acted = Instant::now();
        while since.elapsed() < soak() {
            match pop_next(&mut witness) {
                Ok(Some(got)) => {
                    assert_eq!((got.sequence, got.lost), (next, 0), "a gap");
                    next += 1;
                }
                Ok(None) => std::thread::yield_now(),
                Err(Error::Closed(_)) => {}
                Err(e) => panic!("{e}"),
            }
            if acted.elapsed() > Duration::from_millis(20) {
                acted = Instant::now();
                // A stopped consumer holds the producer back until it continues.
                if let Some(at) = stopped.take() {
                    consumers[at].signal(libc::SIGCONT);
                }
                match random.below(6) {
                    0 | 1 => {
                        let at = random.below(3) as usize;
                        consumers[at].signal(libc::SIGSTOP);
                        stops += 1;
                        stopped = Some(at);
                    }
                    2 => {
                        producer.kill();
                        restarts += 1;
                        producer =
                            Process::start("produce", &[("NAME", path), ("COUNT", "1000000000")]);
                    }
                    _ => {
                        let at = random.below(3) as usize;
                        consumers[at].kill();
                        kills += 1;
                        consumers[at] = start(&mut random);
                    }
                }
            }
        }
        producer.kill();
        let mut out = ProducerOptions::default().open(&name).unwrap();
        for mut consumer in consumers {
            consumer.kill();
        }
        next += drain(&mut witness);
        assert_eq!(next, out.next_sequence());
        eventually("room", || (fill_up(&mut out) > 0).then_some(()));
        println!(
            "{kind:?}: {next} messages, {kills} consumers and {restarts} producers killed, {stops} consumers stopped, 0 lost"
        );
        assert!(next > 1000 && kills > 10);
    }
}
