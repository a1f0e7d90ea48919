"""Measures the time for each message of 64 bytes that is received in Python.

    stream.py peer=ipcq way=for count=100000 feed=PROGRAM

A C program feeds ipcq and ringfire. The other peers have no C side, so Python feeds them. No peer
loses messages: ipcq uses a lossless queue or, like ringfire, a ring that is longer than the stream.
"""

import ctypes
import os
import sys

from common import (
    SIZE,
    Barrier,
    Feed,
    arg,
    check,
    forked,
    message,
    messages,
    now,
    pin,
    report,
)

COUNT = arg("count", 100000)
CAPACITY = arg("capacity", 16384)
BATCH = arg("batch", 32)
MANY = 4096


def memory():
    """Touches the memory for the messages that are kept for the check.

    The page faults took 60 ns for each message, about the time of a pop. They are a cost of the
    check and not of the queue. The result has one message of each arena of the allocator, so that
    no arena is returned to the kernel.
    """
    return [bytes(SIZE) for _ in range(COUNT)][::4096]


def ipcq_for():
    import ipcq

    name = f"stream.{os.getpid()}"
    lossless = arg("lossless", 1)
    feed = Feed(
        arg("feed", ""),
        name=name,
        count=COUNT,
        batch=BATCH,
        # A ring of twice the stream retains all of it.
        capacity=CAPACITY if lossless else 2 * COUNT,
        lossless=lossless,
        cpu=arg("cpu1", 1),
    )
    q = ipcq.Consumer(name)
    received = []
    keep = received.append
    arenas = memory()
    feed.go()
    begun = None
    left = COUNT
    for data in q:
        if begun is None:
            begun = now()
        keep(data)
        left -= 1
        if not left:
            break
    took = now() - begun
    del arenas
    stats = q.stats
    q.close()
    feed.end()
    return took, received, stats.lost


def ipcq_many(way):
    """Checks each batch when it comes, because all batches together would not fit the caches."""
    import numpy as np

    import ipcq

    record = np.dtype([("sequence", "u8"), ("middle", "V48"), ("last", "u8")])
    name = f"stream.{os.getpid()}"
    feed = Feed(
        arg("feed", ""),
        name=name,
        count=COUNT,
        batch=BATCH,
        capacity=CAPACITY,
        lossless=1,
        cpu=arg("cpu1", 1),
    )
    q = ipcq.Consumer(name, dtype=record)
    first = np.arange(MANY, dtype="u8")
    middle = np.frombuffer(message(0)[8:-8], "V48")[0]
    seen = 0
    feed.go()
    if way == "into":
        array = np.zeros(MANY, record)

        def batches():
            while True:
                q.wait()
                n = q.pop_into(array)
                if n:
                    yield array[:n]
    else:

        def batches():
            for batch in q.batches(max=MANY):
                yield batch.records

    begun = None
    for records in batches():
        if begun is None:
            begun = now()
        expected = first[: len(records)] + np.uint64(seen)
        assert (records["sequence"] == expected).all(), "out of order"
        assert (records["last"] == expected).all(), "torn"
        assert records["middle"][-1] == middle, "not what was sent"
        seen += len(records)
        if seen == COUNT:
            break
    took = now() - begun
    lost = q.stats.lost
    q.close()
    feed.end()
    assert seen == COUNT
    assert lost == 0
    return took, None, lost


def ringfire_for():
    sys.path.insert(0, os.environ["RINGFIRE_PYTHON"])
    from ringfire import RingConsumer

    class Message(ctypes.Structure):
        _fields_ = [("bytes", ctypes.c_ubyte * SIZE)]

    capacity = 1 << (COUNT - 1).bit_length()
    name = f"stream.{os.getpid()}"
    feed = Feed(
        arg("feed", ""), name=name, count=COUNT, batch=1, capacity=capacity, cpu=arg("cpu1", 1)
    )
    q = RingConsumer(f"{os.environ.get('IPCQ_DIR', '/dev/shm')}/ringfire.{name}", Message)
    received = []
    keep, pop = received.append, q.try_recv
    arenas = memory()
    feed.go()
    begun = None
    while len(received) < COUNT:
        item = pop()
        if item is not None:
            if begun is None:
                begun = now()
            keep(bytes(item))
    took = now() - begun
    del arenas
    lost = q.lapped_count
    q.close()
    feed.end()
    return took, received, lost


def between_pythons(make):
    """Measures a peer between two Python processes.

    make() returns a function that sends all messages in the other process, and an iterator that
    receives them here, as lists of bytes.
    """
    barrier = Barrier()
    send, receive = make()

    def other():
        pin(1)
        work = send(messages(COUNT))
        barrier.meet(1)
        work()
        barrier.meet(1)

    join = forked(other)
    pin(0)
    batches = receive()
    arenas = memory()
    barrier.meet(0)
    received = []
    begun = None
    for batch in batches:
        if begun is None:
            begun = now()
        received += batch
        if len(received) == COUNT:
            break
    took = now() - begun
    del arenas
    barrier.meet(0)
    join()
    return took, received, 0


def pipe():
    """multiprocessing.Pipe with send_bytes, which does not pickle."""
    import multiprocessing as mp

    here, there = mp.Pipe(duplex=False)

    def send(data):
        def work():
            put = there.send_bytes
            for item in data:
                put(item)

        return work

    def receive():
        get = here.recv_bytes
        while True:
            yield (get(),)

    return send, receive


def mp_queue():
    import multiprocessing as mp

    q = mp.Queue()

    def send(data):
        def work():
            for item in data:
                q.put(item)
            q.close()
            q.join_thread()

        return work

    def receive():
        while True:
            yield (q.get(),)

    return send, receive


def faster_fifo(many):
    """faster-fifo without pickling."""
    from faster_fifo import Queue

    q = Queue(max_size_bytes=1 << 22, loads=bytes, dumps=bytes)

    def send(data):
        def work():
            if many:
                for i in range(0, len(data), 256):
                    q.put_many(data[i : i + 256])
            else:
                for item in data:
                    q.put(item)

        return work

    def receive():
        while True:
            if many:
                yield q.get_many()
            else:
                yield (q.get(),)

    return send, receive


def pyzmq():
    """PUSH and PULL without a high-water mark. Small messages are faster if they are copied."""
    import zmq

    address = f"ipc:///tmp/ipcq-bench.{os.getpid()}"

    def send(data):
        socket = zmq.Context().socket(zmq.PUSH)
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.connect(address)

        def work():
            put = socket.send
            for item in data:
                put(item)

        return work

    def receive():
        socket = zmq.Context().socket(zmq.PULL)
        socket.setsockopt(zmq.RCVHWM, 0)
        socket.bind(address)

        def each():
            get = socket.recv
            while True:
                yield (get(),)

        return each()

    return send, receive


def iceoryx2():
    """Publish and subscribe without overflow: a full buffer blocks the publisher."""
    import iceoryx2 as iox

    iox.set_log_level(iox.LogLevel.Error)

    class Message(ctypes.Structure):
        _fields_ = [("bytes", ctypes.c_ubyte * SIZE)]

    name = iox.ServiceName.new(f"stream.{os.getpid()}")
    kept = []

    def service():
        node = iox.NodeBuilder.new().create(iox.ServiceType.Ipc)
        service = (
            node.service_builder(name)
            .publish_subscribe(Message)
            .enable_safe_overflow(False)
            .history_size(0)
            .subscriber_max_buffer_size(4096)
            .open_or_create()
        )
        kept.extend((node, service))
        return service

    def send(data):
        publisher = (
            service()
            .publisher_builder()
            .backpressure_strategy(iox.BackpressureStrategy.RetryUntilDelivered)
            .create()
        )
        items = [Message.from_buffer_copy(item) for item in data]

        def work():
            for item in items:
                publisher.send_copy(item)

        return work

    def receive():
        subscriber = service().subscriber_builder().buffer_size(4096).create()

        def each():
            get = subscriber.receive
            while True:
                sample = get()
                if sample is not None:
                    yield (ctypes.string_at(sample.payload_ptr, SIZE),)

        return each()

    return send, receive


def main():
    peer, way = arg("peer", "ipcq"), arg("way", "for")
    if peer == "ipcq":
        pin(0)
        took, received, lost = ipcq_for() if way == "for" else ipcq_many(way)
    elif peer == "ringfire":
        pin(0)
        took, received, lost = ringfire_for()
    else:
        makers = {
            "multiprocessing.Pipe": pipe,
            "multiprocessing.Queue": mp_queue,
            "faster-fifo": lambda: faster_fifo(way == "many"),
            "pyzmq": pyzmq,
            "iceoryx2": iceoryx2,
        }
        took, received, lost = between_pythons(makers[peer])
    if received is not None:
        check(received, COUNT, lost)
    report(
        peer,
        "stream",
        way=way,
        ns=round(took / COUNT, 2),
        pushed=COUNT,
        received=COUNT - lost,
        lost=lost,
    )


main()
