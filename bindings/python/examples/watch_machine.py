"""Shows the samples of c-examples/machine.c live: python watch_machine.py [queue]."""

import struct
import sys
import time
from typing import NamedTuple

import ipcq


class Sample(NamedTuple):
    """The struct sample of machine.c."""

    time_ns: int
    cpu_busy: int
    cpu_total: int
    context_switches: int
    memory_available_kb: int
    load: float
    running: int


SAMPLE = struct.Struct("<QQQQQfI")


def watch(name: str) -> tuple[ipcq.Stats, int, float]:
    """Shows four lines a second until the producer closes.

    Returns the figures of the queue, the bytes received, and the seconds it took.
    """
    print("    sample   cpu %   switches/s   available MB   load  running")
    shown = None
    length = 0
    with ipcq.Consumer(name, open_timeout=60) as q:
        begin = time.monotonic()
        for message in q.messages():
            length += len(message)
            now = Sample(*SAMPLE.unpack(message.data))
            if shown is None:
                shown = now
            seconds = (now.time_ns - shown.time_ns) / 1e9
            if seconds < 0.25:
                continue
            ticks = now.cpu_total - shown.cpu_total or 1
            print(
                f"{message.sequence:10}"
                f"{100 * (now.cpu_busy - shown.cpu_busy) / ticks:8.1f}"
                f"{(now.context_switches - shown.context_switches) / seconds:13.0f}"
                f"{now.memory_available_kb / 1024:15.0f}"
                f"{now.load:7.2f}{now.running:9}",
                flush=True,
            )
            shown = now
        return q.stats, length, time.monotonic() - begin


def main() -> None:
    stats, _, seconds = watch(sys.argv[1] if len(sys.argv) > 1 else "machine")
    print(f"{stats.received} samples in {seconds:.1f} s, {stats.lost} lost")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
