"""The benchmarks, the peers they are compared with, and the targets.

A group is a list of runs that take turns, so that noise hits all of them. A run is a command that
prints one line of JSON. A target is a ratio of two figures of the same turn.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

BIN = os.path.join("target", "bench", "bin")
PYTHON = os.path.join("target", "bench", "venv", "bin", "python")
SCRIPTS = os.path.join("benches", "python")


@dataclass
class Run:
    key: str  # unique in its group, and the name in the tables
    command: list[str]  # without the processors and the count
    value: str = "ns"  # the member of the JSON that is the figure
    count: int = 20000  # of the first run, which is discarded; then as many as fit in the time
    most: int = 50_000_000
    between_pythons: bool = False  # two processes that do not measure their distance


@dataclass
class Group:
    name: str
    title: str
    unit: str
    runs: list[Run]
    quick: bool = True  # also in the short form


@dataclass
class Target:
    text: str
    group: str
    a: str
    b: str  # a run, or "lines" for the distance measured in the same run
    limit: float
    a_value: str | None = None  # a member of the JSON other than the figure
    b_value: str | None = None
    b_group: str | None = None
    factor: float = 1.0  # the ratio is a / b * factor
    at_least: bool = False
    values: list[float] = field(default_factory=list)


def c(program: str, *arguments: str) -> list[str]:
    return [os.path.join(BIN, program), *arguments]


def rust(peer: str, what: str, *arguments: str) -> list[str]:
    return [os.path.join(BIN, f"rust-{peer}"), f"what={what}", *arguments]


def python(script: str, *arguments: str) -> list[str]:
    return [PYTHON, os.path.join(SCRIPTS, script), *arguments]


def capacity(size: int) -> int:
    """The capacity of a ring of about 256 KiB, which fits in a second-level cache."""
    return {8: 16384, 64: 4096, 1024: 256, 65536: 16}[size]


def round_trips(size: int, quick: bool = True) -> Group:
    at = f"size={size}"
    runs = [
        Run("two lines", c("floor", "what=lines"), "p50"),
        Run("one line", c("floor", "what=line"), "p50"),
        Run("ipcq C", c("roundtrip-ipcq", at), "p50"),
        Run("ipcq Rust", rust("ipcq", "roundtrip", at), "p50"),
        Run("ringfire C", c("roundtrip-ringfire", at), "p50"),
        Run("ringfire Rust", rust("ringfire", "roundtrip", at), "p50"),
    ]
    if size in (8, 64):
        # The default size of its buffer. Only one message is in transit.
        iceoryx2 = rust("iceoryx2", "roundtrip", at, "capacity=16")
        runs += [
            Run("iceoryx2", iceoryx2, "p50", 5000),
            Run("rtrb (threads)", rust("inprocess", "roundtrip", "peer=rtrb", at), "p50"),
            Run("disruptor (threads)", rust("inprocess", "roundtrip", "peer=disruptor", at), "p50"),
            Run("pipe, spinning", c("roundtrip-pipe", at), "p50", 5000),
            Run("Unix socket, spinning", c("roundtrip-socket", at), "p50", 2000),
        ]
    return Group(f"roundtrip-{size}", f"round trip, {size} B, p50", "ns", runs, quick)


def streams(size: int, batch: int, all_peers: bool, quick: bool = True) -> Group:
    at = [f"size={size}", f"batch={batch}", f"capacity={capacity(size)}"]
    runs = [
        Run("ipcq C", c("stream-ipcq", *at, "lossless=1")),
        Run("ipcq Rust", rust("ipcq", "stream", *at, "lossless=1")),
        Run("ringfire C (lossy)", c("stream-ringfire", *at)),
        Run("ringfire Rust", rust("ringfire", "stream", *at, "lossless=1")),
    ]
    if size <= 64:
        runs = [Run("line floor", c("floor", "what=stream")), *runs]
        runs += [Run("ipcq C, lossy", c("stream-ipcq", *at))]
    else:
        runs = [Run("memcpy", c("floor", "what=memcpy", f"size={size}")), *runs]
    if size >= 1024:
        # Its other form, for large messages: descriptors in a ring, payloads in an arena. Lossy.
        runs += [Run("ringfire Rust, blobs", rust("ringfire", "stream", "blobs=1", *at))]
    if all_peers:
        iceoryx2 = rust("iceoryx2", "stream", *at[:2], "capacity=512")
        runs += [Run("iceoryx2", iceoryx2, count=5000)]
        if size <= 1024:
            runs += [
                Run("rtrb (threads)", rust("inprocess", "stream", "peer=rtrb", *at)),
                Run("disruptor (threads)", rust("inprocess", "stream", "peer=disruptor", *at)),
            ]
        runs += [
            Run("pipe", c("stream-pipe", *at), count=5000),
            Run("Unix socket", c("stream-socket", *at), count=2000),
        ]
    how = "one call per message" if batch == 1 else f"batches of {batch}"
    return Group(f"stream-{size}-{batch}", f"streaming {size} B, {how}", "ns", runs, quick)


def overrun(size: int) -> Group:
    """A consumer that is slower than the producer, by nature or because of additional work."""
    at = [f"size={size}", f"capacity={capacity(size)}"]
    work = f"work={size // 2}"
    return Group(
        f"overrun-{size}",
        f"lossy at full speed, {size} B, consumer too slow",
        "ns per message received",
        [
            Run("lossless", c("stream-ipcq", *at, "lossless=1")),
            Run("lossy", c("stream-ipcq", *at)),
            Run("lossless, working", c("stream-ipcq", *at, work, "lossless=1")),
            Run("lossy, working", c("stream-ipcq", *at, work)),
        ],
    )


def local() -> Group:
    ipcq, ringfire = "local-ipcq", "local-ringfire"
    return Group(
        "local",
        "one process, warm, 64 B: push",
        "ns",
        [
            Run("ipcq C, no consumer", c(ipcq, "what=push"), "push"),
            Run("ipcq C", c(ipcq, "what=pushpop"), "push"),
            Run("ipcq C, lossless", c(ipcq, "what=pushpop", "lossless=1"), "push"),
            Run("ipcq Rust", rust("ipcq", "pushpop"), "push"),
            Run("ringfire C", c(ringfire, "what=pushpop"), "push"),
            Run("ringfire Rust", rust("ringfire", "pushpop"), "push"),
            Run("rtrb", rust("inprocess", "pushpop", "peer=rtrb"), "push"),
            Run("disruptor", rust("inprocess", "pushpop", "peer=disruptor"), "push"),
        ],
    )


def consumers() -> Group:
    runs = []
    for n in (0, 1, 4, 16, 64):
        runs += [
            Run(f"ipcq C, {n}", c("local-ipcq", f"attached={n}"), "push"),
            Run(f"ringfire C, {n}", c("local-ringfire", f"attached={n}"), "push"),
        ]
    return Group("consumers", "push of 64 B with this many idle consumers", "ns", runs)


def sleepers() -> Group:
    return Group(
        "sleepers",
        "push without sleepers, checking for them",
        "ns",
        [
            Run(f"ipcq Rust, {size} B", rust("ipcq", "sleepers", f"size={size}"), "push", 400000)
            for size in (8, 64)
        ],
    )


def wake_up() -> Group:
    return Group(
        "wakeup",
        "waking a sleeping consumer, p50",
        "ns",
        [Run("ipcq C", c("wakeup"), "p50", 100, 500)],
    )


def python_calls() -> Group:
    run = Run("ipcq", python("calls.py"), "pop", 20000, 1_000_000)
    return Group("python-calls", "Python, 64 B: pop() to bytes", "ns", [run])


def python_streams() -> Group:
    feed, fire = (f"feed={os.path.join(BIN, 'feed-' + peer)}" for peer in ("ipcq", "ringfire"))
    at = ["size=64", "batch=32", "capacity=16384"]
    # The peers whose only interface is one call per message.
    peers = {
        "pyzmq": (10000, 200_000),
        "multiprocessing.Pipe": (10000, 200_000),
        "faster-fifo": (10000, 100_000),
        "multiprocessing.Queue": (5000, 100_000),
        "iceoryx2": (5000, 100_000),
    }

    def of(key: str, peer: str, way: str, count: int, most: int, *more: str) -> Run:
        command = python("stream.py", f"peer={peer}", f"way={way}", *more)
        return Run(key, command, "ns", count, most, between_pythons=True)

    return Group(
        "python-stream",
        "into Python, 64 B",
        "ns",
        [
            Run("C batch consumer", c("stream-ipcq", *at, "lossless=1"), count=200000),
            of("ipcq, pop_into", "ipcq", "into", 100000, 10_000_000, feed),
            of("ipcq, batches()", "ipcq", "batches", 100000, 10_000_000, feed),
            of("ipcq, for message in q", "ipcq", "for", 20000, 200_000, feed, "lossless=0"),
            of("ipcq, for, lossless", "ipcq", "for", 20000, 200_000, feed),
            of("ringfire, try_recv", "ringfire", "for", 10000, 100_000, fire),
            of("faster-fifo, many", "faster-fifo", "many", 10000, 200_000),
            *(of(peer, peer, "for", *counts) for peer, counts in peers.items()),
        ],
    )


def python_round_trips() -> Group:
    peers = {
        "ipcq": 5000,
        "ringfire": 5000,
        "iceoryx2": 2000,
        "multiprocessing.Pipe": 1000,
        "pyzmq": 1000,
        "faster-fifo": 1000,
        "multiprocessing.Queue": 500,
    }
    runs = [
        Run(peer, python("roundtrip.py", f"peer={peer}"), "p50", count, 50000, True)
        for peer, count in peers.items()
    ]
    return Group("python-roundtrip", "Python to Python and back, 64 B, p50", "ns", runs)


def groups() -> list[Group]:
    return [
        round_trips(8),
        round_trips(48),
        round_trips(64),
        round_trips(1024, quick=False),
        streams(64, 1, True),
        streams(64, 32, True),
        streams(8, 1, False),
        streams(8, 256, False),
        streams(1024, 1, True),
        streams(65536, 1, True),
        overrun(64),
        overrun(1024),
        local(),
        consumers(),
        sleepers(),
        wake_up(),
        python_calls(),
        python_streams(),
        python_round_trips(),
    ]


def targets() -> list[Target]:
    wanted = [
        Target("round trip 8 B / two lines", "roundtrip-8", "ipcq C", "lines", 1.10),
        Target("round trip 48 B / two lines", "roundtrip-48", "ipcq C", "lines", 1.10),
        Target("round trip 64 B / ringfire C", "roundtrip-64", "ipcq C", "ringfire C", 0.75),
        Target("round trip 64 B / ringfire Rust", "roundtrip-64", "ipcq C", "ringfire Rust", 1.05),
        Target(
            "streaming 64 B / ringfire Rust lossless",
            "stream-64-1",
            "ipcq C",
            "ringfire Rust",
            0.75,
        ),
        Target("streaming 64 B / ringfire C", "stream-64-1", "ipcq C", "ringfire C (lossy)", 0.4),
        Target("streaming 64 B / iceoryx2", "stream-64-1", "ipcq C", "iceoryx2", 0.03),
        Target(
            "batches of 32, 64 B / ringfire Rust batch",
            "stream-64-32",
            "ipcq C",
            "ringfire Rust",
            0.7,
        ),
        Target("batches of 32, 64 B / line floor", "stream-64-32", "ipcq C", "line floor", 1.3),
        Target("batches, 8 B / line floor", "stream-8-256", "ipcq C", "line floor", 2.5 / 6),
        Target("streaming 1 KiB / ringfire", "stream-1024-1", "ipcq C", "ringfire Rust", 0.6),
        Target("streaming 64 KiB / ringfire", "stream-65536-1", "ipcq C", "ringfire Rust", 0.9),
        Target(
            "streaming 64 KiB / ringfire, blobs",
            "stream-65536-1",
            "ipcq C",
            "ringfire Rust, blobs",
            0.9,
        ),
    ]
    for size in (64, 1024):
        for kind in ("", ", working"):
            wanted.append(
                Target(
                    f"received, too slow{kind}, {size} B / lossless",
                    f"overrun-{size}",
                    f"lossless{kind}",
                    f"lossy{kind}",
                    0.5,
                    at_least=True,
                )
            )
    wanted += [
        Target("push, 64 consumers / 1", "consumers", "ipcq C, 64", "ipcq C, 1", 1.05),
        Target("push, not blocked, lossless / lossy", "local", "ipcq C, lossless", "ipcq C", 1.10),
    ]
    for size in (8, 64):
        run = f"ipcq Rust, {size} B"
        text = f"push that checks for sleepers / without, {size} B"
        wanted.append(Target(text, "sleepers", run, run, 1.05, b_value="unchecked"))
    wanted.append(
        Target("wake-up / bare futex", "wakeup", "ipcq C", "ipcq C", 1.15, b_value="futex")
    )
    for call, value in (("pop()", None), ("push(bytes)", "push")):
        text = f"Python {call} / trivial method"
        wanted.append(Target(text, "python-calls", "ipcq", "ipcq", 2.5, value, "get"))
    for way in ("pop_into", "batches()"):
        text = f"Python {way} / C batch consumer"
        wanted.append(Target(text, "python-stream", f"ipcq, {way}", "C batch consumer", 1.5))
    for way, times in (("for message in q", 8), ("batches()", 80)):
        text = f"Python {way}: best peer / ipcq"
        wanted.append(
            Target(text, "python-stream", "best peer", f"ipcq, {way}", times, at_least=True)
        )
    wanted.append(
        Target("Python round trip 64 B / ringfire", "python-roundtrip", "ipcq", "ringfire", 0.4)
    )
    for group, text in (
        ("roundtrip-8", "round trip 8 B"),
        ("roundtrip-64", "round trip 64 B"),
        ("stream-64-1", "streaming 64 B"),
        ("stream-64-32", "batches of 32, 64 B"),
        ("stream-1024-1", "streaming 1 KiB"),
        ("local", "push"),
    ):
        # Rust must not be slower. The tolerance covers the noise.
        wanted.append(Target(f"Rust / C, {text}", group, "ipcq Rust", "ipcq C", 1.05))
    wanted.append(Target("Rust / C, pop", "local", "ipcq Rust", "ipcq C", 1.05, "pop", "pop"))
    return wanted


# The peers of which the best counts, and the targets in nanoseconds.
BEST = ["ringfire, try_recv", "pyzmq", "multiprocessing.Pipe", "faster-fifo", "faster-fifo, many"]
ABSOLUTE = [
    ("push with no consumer, 64 B", "local", "ipcq C, no consumer", "push", 3.5),
    ("pop of warm data, 64 B", "local", "ipcq C", "pop", 3.5),
]
