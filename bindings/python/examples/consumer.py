"""Prints the ticks of a queue until its producer closes: python consumer.py [queue].

The producer may be c-examples/producer.c or producer.py, and may be started later.
"""

import struct
import sys

import ipcq

# struct tick {uint64_t time_ns; double price; uint32_t quantity; uint32_t reserved;};
TICK = struct.Struct("<QdII")


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "ticks"
    with ipcq.Consumer(name, open_timeout=None) as q:
        for message in q:
            time_ns, price, quantity, _ = TICK.unpack(message)
            print(f"{q.last.sequence:8} {time_ns / 1e9:.6f} {price:10.3f} {quantity:6}")
        stats = q.stats
    print(f"received {stats.received}, lost {stats.lost}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
