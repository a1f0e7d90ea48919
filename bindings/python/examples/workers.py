"""Hashes a file block by block, in several processes: python workers.py FILE [workers].

Every worker sees every block, and hashes those whose sequences are its share.
"""

import hashlib
import multiprocessing
import os
import sys
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Event

import ipcq

BLOCK = 1 << 16
Digests = dict[int, str]  # by the sequence of the block


def work(
    q: ipcq.Consumer, share: int, workers: int, ready: Event, results: "SimpleQueue[Digests]"
) -> None:
    """Hashes every block of its share. The consumer was pickled with its position in the queue."""
    ready.set()
    digests: Digests = {}
    for message in q.messages():
        if message.sequence % workers == share:
            digests[message.sequence] = hashlib.sha256(message.data).hexdigest()
    results.put(digests)


def main() -> None:
    file = sys.argv[1]
    workers = int(sys.argv[2]) if len(sys.argv) > 2 else os.cpu_count() or 1
    name = f"workers-{os.getpid()}"
    spawn = multiprocessing.get_context("spawn")
    results: SimpleQueue[Digests] = spawn.SimpleQueue()
    # Lossless: the producer waits for the slowest worker, and no block is missed.
    with ipcq.Producer(name, capacity=16 * BLOCK, delivery="lossless") as out:
        # A consumer that is pickled continues in the other process at the same sequence.
        with ipcq.Consumer(name) as q:
            ready = [spawn.Event() for _ in range(workers)]
            processes = [
                spawn.Process(target=work, args=(q, share, workers, ready[share], results))
                for share in range(workers)
            ]
            for process in processes:
                process.start()
            for event in ready:
                event.wait()  # this consumer keeps the blocks until all workers are attached
        with open(file, "rb") as content:
            while block := content.read(BLOCK):
                out.put(block)
    # The queue is closed now, so the workers drain it and end.
    digests: Digests = {}
    for _ in processes:
        digests |= results.get()
    for process in processes:
        process.join()
    ipcq.unlink(name)
    for sequence in sorted(digests):
        print(digests[sequence])


if __name__ == "__main__":
    main()
