"""The volume-weighted average price of a million ticks: python vwap.py [ticks].

One process pushes numpy records, and this process receives them in batches. The records have the
layout of a C struct, so a C program could push them as well. Needs numpy.
"""

import multiprocessing
import os
import sys
import time

import numpy as np
import numpy.typing as npt

import ipcq

# struct tick {uint64_t time_ns; double price; uint32_t quantity;};
TICK = np.dtype([("time_ns", "u8"), ("price", "f8"), ("quantity", "u4")], align=True)
BLOCK = 10_000  # the ticks of one call


def market(count: int) -> npt.NDArray[np.void]:
    """Ticks with a random walk of the price. The same count gives the same ticks."""
    chance = np.random.default_rng(count)
    ticks = np.zeros(count, TICK)
    ticks["time_ns"] = np.arange(count) * 1000
    ticks["price"] = 100 + np.cumsum(chance.integers(-1, 2, count)) * 0.01
    ticks["quantity"] = chance.integers(1, 1000, count)
    return ticks


def produce(name: str, count: int) -> None:
    ticks = market(count)
    # The queue is lossless, so the producer waits for its consumer. A market would not.
    with ipcq.Producer(
        name, capacity=1 << 16, dtype=TICK, delivery="lossless", min_consumers=1
    ) as out:
        for begin in range(0, count, BLOCK):
            out.push_many(ticks[begin : begin + BLOCK], timeout=None)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    name = f"vwap-{os.getpid()}"
    producer = multiprocessing.get_context("spawn").Process(target=produce, args=(name, count))
    producer.start()
    notional = volume = 0.0
    with ipcq.Consumer(name, open_timeout=60) as q:
        begin = time.monotonic()
        for batch in q.batches():
            price, quantity = batch.records["price"], batch.records["quantity"]
            notional += float(price @ quantity)
            volume += float(quantity.sum())
        seconds = time.monotonic() - begin
        stats = q.stats
    producer.join()
    ipcq.unlink(name)
    print(f"{stats.received} ticks in {seconds:.2f} s, {stats.lost} lost")
    print(f"VWAP {notional / volume:.6f}")


if __name__ == "__main__":
    main()
