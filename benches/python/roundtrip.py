"""Sends 64 bytes to another Python process and back. Both processes spin if the peer allows it.

roundtrip.py peer=ipcq count=10000
"""

import ctypes
import os
import sys

from common import SIZE, Barrier, arg, forked, messages, now, percentiles, pin, report

COUNT = arg("count", 10000)
WARM = COUNT // 10


def spinning(receive):
    """A function that calls receive() until a message comes."""

    def get():
        while True:
            item = receive()
            if item is not None:
                return item

    return get


def ipcq_ends(out, back):
    import ipcq

    producer = ipcq.Producer(out, capacity=4096, message_size=SIZE)
    return producer.push, lambda: spinning(ipcq.Consumer(back).pop), producer


def ringfire_ends(out, back):
    sys.path.insert(0, os.environ["RINGFIRE_PYTHON"])
    from ringfire import RingConsumer, RingProducer

    class Message(ctypes.Structure):
        _fields_ = [("bytes", ctypes.c_ubyte * SIZE)]

    folder = os.environ.get("IPCQ_DIR", "/dev/shm")
    producer = RingProducer(f"{folder}/ringfire.{out}", Message, 4096)

    def receiver():
        get = spinning(RingConsumer(f"{folder}/ringfire.{back}", Message).try_recv)
        return lambda: bytes(get())

    return producer.push, receiver, producer


def pyzmq_ends(out, back):
    import zmq

    context = zmq.Context()
    sender = context.socket(zmq.PUSH)
    sender.bind(f"ipc:///tmp/ipcq-bench.{out}")

    def receiver():
        socket = context.socket(zmq.PULL)
        socket.connect(f"ipc:///tmp/ipcq-bench.{back}")
        return socket.recv

    return sender.send, receiver, context


def iceoryx2_ends(out, back):
    import iceoryx2 as iox

    iox.set_log_level(iox.LogLevel.Error)

    class Message(ctypes.Structure):
        _fields_ = [("bytes", ctypes.c_ubyte * SIZE)]

    node = iox.NodeBuilder.new().create(iox.ServiceType.Ipc)

    def service(name):
        builder = node.service_builder(iox.ServiceName.new(name)).publish_subscribe(Message)
        return builder.open_or_create()

    publisher = service(out).publisher_builder().create()

    def send(data):
        publisher.send_copy(Message.from_buffer_copy(data))

    def receiver():
        subscriber = service(back).subscriber_builder().create()
        get = spinning(subscriber.receive)
        return lambda: ctypes.string_at(get().payload_ptr, SIZE)

    return send, receiver, (node, publisher)


def made_before():
    """The peers that make their ends before the fork: multiprocessing and faster-fifo."""
    peer = arg("peer", "")
    if peer == "multiprocessing.Pipe":
        import multiprocessing as mp

        ends = mp.Pipe()
        return [(end.send_bytes, end.recv_bytes) for end in ends]
    if peer == "multiprocessing.Queue":
        import multiprocessing as mp

        there, back = mp.Queue(), mp.Queue()
        return [(there.put, back.get), (back.put, there.get)]
    if peer == "faster-fifo":
        from faster_fifo import Queue

        there, back = (Queue(loads=bytes, dumps=bytes) for _ in range(2))
        return [(there.put, back.get), (back.put, there.get)]
    return None


def main():
    peer = arg("peer", "ipcq")
    names = [f"{way}.{os.getpid()}" for way in ("there", "back")]
    named = {
        "ipcq": ipcq_ends,
        "ringfire": ringfire_ends,
        "pyzmq": pyzmq_ends,
        "iceoryx2": iceoryx2_ends,
    }
    ready = made_before()
    barrier = Barrier()

    def ends(side):
        if ready:
            return (*ready[side], None)
        send, receiver, keep = named[peer](names[side], names[1 - side])
        barrier.meet(side)  # both processes have their sending end
        receive = receiver()
        barrier.meet(side)
        return send, receive, keep

    def other():
        pin(1)
        send, receive, keep = ends(1)
        for _ in range(WARM + COUNT):
            send(receive())
        barrier.meet(1)
        del keep

    join = forked(other)
    pin(0)
    send, receive, keep = ends(0)
    data = messages(WARM + COUNT)
    samples = []
    for i, item in enumerate(data):
        begun = now()
        send(item)
        reply = receive()
        took = now() - begun
        assert reply == item, f"not the reply to message {i}"
        samples.append(took)
    barrier.meet(0)
    join()
    del keep
    if peer == "ipcq":
        import ipcq

        for name in names:
            ipcq.unlink(name)
    n = WARM + COUNT
    report(peer, "roundtrip", pushed=n, received=n, lost=0, **percentiles(samples[WARM:]))


main()
