"""Plots the samples of c-examples/machine.c live in the terminal: python live_plot.py [queue].

Start `target/examples/machine machine 60` before or after. The queue has the dtype of the samples.
Needs numpy and rich.
"""

import sys
from collections import deque

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel

import ipcq

COUNTERS = ["time_ns", "cpu_busy", "cpu_total", "context_switches"]
ROWS = 6
BARS = " ▁▂▃▄▅▆▇█"


def chart(title: str, values: "deque[float]", top: float) -> Panel:
    """A bar for each value. A row has eight steps."""
    steps = [round(min(value / top, 1) * 8 * ROWS) for value in values]
    rows = (
        "".join(BARS[min(max(step - 8 * row, 0), 8)] for step in steps)
        for row in reversed(range(ROWS))
    )
    return Panel("\n".join(rows), title=f"{title}: {values[-1]:.1f}")


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "machine"
    console = Console()
    width = console.width - 4
    cpu: deque[float] = deque(maxlen=width)
    switches: deque[float] = deque(maxlen=width)
    before: dict[str, float] = {}
    with (
        ipcq.Consumer(name, open_timeout=60) as q,
        Live(console=console, auto_refresh=False) as live,
    ):
        for batch in q.batches(linger=0.1):  # ten bars a second
            # The counters only increase. A bar is the difference from the batch before.
            first, last = (
                {name: float(batch.records[name][at]) for name in COUNTERS} for at in (0, -1)
            )
            before = before or first
            change = {name: last[name] - before[name] for name in COUNTERS}
            before = last
            cpu.append(100 * change["cpu_busy"] / (change["cpu_total"] or 1))
            switches.append(change["context_switches"] / (change["time_ns"] or 1) * 1e9)
            charts: list[RenderableType] = [
                chart("processors, % busy", cpu, 100),
                chart("context switches a second", switches, max(switches) or 1),
                f"received {q.stats.received}, lost {q.stats.lost}",
            ]
            live.update(Group(*charts), refresh=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
