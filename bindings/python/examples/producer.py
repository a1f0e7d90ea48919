"""Pushes ticks into a queue: python producer.py [queue] [count].

Without a count it pushes ten per second until Ctrl-C. consumer.py or c-examples/consumer.c reads
them.
"""

import struct
import sys
import time

import ipcq

# struct tick {uint64_t time_ns; double price; uint32_t quantity; uint32_t reserved;};
TICK = struct.Struct("<QdII")


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "ticks"
    count = int(sys.argv[2]) if len(sys.argv) > 2 else None
    with ipcq.Producer(name, capacity=1 << 16, message_size=TICK.size) as out:
        n = 0
        while count is None or n < count:
            price = 100 + n % 64 / 8
            out.push(TICK.pack(time.time_ns(), price, n % 1000 + 1, 0))
            n += 1
            if count is None:
                time.sleep(0.1)
        print(f"pushed {n} ticks, the next one is {out.next_sequence}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
