"""Draws the results of `make bench`: plots.py FOLDER, a folder with results.json.

It writes messages.svg and python.svg, the bars of the README, and latency.png if matplotlib is
installed. docs/images/results.json has the figures that the pages show, so
`benches/plots.py docs/images` draws the published bars again.
"""

import json
import os
import re
import sys
from html import escape

# The name of each bar, and the group and key of its figure.
MESSAGES = [
    ("ipcq, batches of 32", "stream-64-32", "ipcq C"),
    ("ipcq, from Rust", "stream-64-1", "ipcq Rust"),
    ("ipcq, from C", "stream-64-1", "ipcq C"),
    ("ringfire, from Rust", "stream-64-1", "ringfire Rust"),
    ("iceoryx2", "stream-64-1", "iceoryx2"),
    ("pipe", "stream-64-1", "pipe"),
]
PYTHON = [
    ("ipcq, pop_into(array)", "python-stream", "ipcq, pop_into"),
    ("ipcq, for message in q", "python-stream", "ipcq, for, lossless"),
    ("pyzmq", "python-stream", "pyzmq"),
    ("faster-fifo, batches", "python-stream", "faster-fifo, many"),
    ("ringfire", "python-stream", "ringfire, try_recv"),
    ("multiprocessing.Pipe", "python-stream", "multiprocessing.Pipe"),
    ("iceoryx2", "python-stream", "iceoryx2"),
    ("multiprocessing.Queue", "python-stream", "multiprocessing.Queue"),
]
WIDTH, LEFT, RIGHT, ROW, TOP = 760, 190, 90, 28, 62
STYLE = """
  text { font: 14px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #24292f }
  .title { font-weight: 600; font-size: 16px } .note { font-size: 12px; fill: #6e7781 }
  .ours { fill: #d1442f } .theirs { fill: #afb8c1 } .name { text-anchor: end }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .note { fill: #8b949e } .theirs { fill: #57606a }
  }"""


def figure_of(groups, group, key):
    """Returns a figure of a run without losses, or None."""
    for figure in groups.get(group, {}).get("figures", []):
        if figure["key"] == key and not figure.get("lost_share"):
            return figure
    return None


def machine_of(results, groups):
    """Returns the processor, and the round trip of a word between the two cores."""
    text = f"on two cores of {results['machine']['processor']}"
    floor = figure_of(groups, "roundtrip-8", "two lines")
    if floor:
        return f"{text}, core-to-core round trip {floor['median']:.0f} ns"
    stream = figure_of(groups, "stream-64-1", "ipcq C")
    apart = stream and re.search(r"(\d+) ns", stream.get("cores", ""))
    return f"{text}, core-to-core round trip {apart[1]} ns" if apart else text


def bars(path, title, note, rows):
    """Draws horizontal bars, the shortest first. Names that begin with ipcq are highlighted."""
    if not rows:
        return
    rows = sorted(rows, key=lambda row: row[1])
    height = TOP + ROW * len(rows) + 8
    longest = rows[-1][1]
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}\n</style>",
        f'<text class="title" x="8" y="22">{escape(title)}</text>',
        f'<text class="note" x="8" y="42">{escape(note)}</text>',
    ]
    for index, (name, value) in enumerate(rows):
        y = TOP + ROW * index
        length = max(value / longest * (WIDTH - LEFT - RIGHT), 2)
        kind = "ours" if name.startswith("ipcq") else "theirs"
        figure = f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
        lines += [
            f'<text class="name" x="{LEFT - 10}" y="{y + 15}">{escape(name)}</text>',
            f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{length:.1f}" height="20" rx="2"/>',
            f'<text x="{LEFT + length + 8:.1f}" y="{y + 15}">{figure} ns</text>',
        ]
    with open(path, "w") as file:
        file.write("\n".join([*lines, "</svg>", ""]))


def latency(groups, folder):
    """Draws the percentiles of the round trips, from the median round."""
    names = ("roundtrip-8", "roundtrip-64", "python-roundtrip")
    wanted = [
        (groups[name], [f for f in groups[name]["figures"] if "runs" in f])
        for name in names
        if name in groups
    ]
    wanted = [(group, figures) for group, figures in wanted if figures]
    if not wanted:
        return
    try:
        import matplotlib
    except ImportError:
        print("bench: no latency.png: matplotlib is not installed", file=sys.stderr)
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    theirs = ["blue", "green", "purple", "brown", "pink", "olive", "cyan"]
    colors = [*(f"tab:{name}" for name in theirs), "black", "navy"]
    plt.rcParams["axes.prop_cycle"] = plt.cycler(color=colors)

    def style(key):
        if key.startswith("ipcq"):
            return {"linewidth": 2.4, "color": "tab:orange" if "Rust" in key else "tab:red"}
        if key in ("two lines", "one line"):
            return {"linewidth": 1.2, "color": "grey", "linestyle": "--"}
        return {"linewidth": 1.2}

    figure, axes = plt.subplots(1, len(wanted), figsize=(6 * len(wanted), 5), squeeze=False)
    for axis, (group, figures) in zip(axes[0], wanted, strict=True):
        for f in figures:
            runs = sorted(f["runs"], key=lambda run: run["p50"])
            points = [p for p in runs[len(runs) // 2]["percentiles"] if 0 < p[0] < 100]
            # 90, 99, 99.9 ... at equal distances.
            x = [-1 if p < 50 else 100 / (100 - p) for p, _ in points]
            kept = [(a, ns) for a, (_, ns) in zip(x, points, strict=True) if a > 0]
            key = f["key"]
            axis.plot([a for a, _ in kept], [ns for _, ns in kept], label=key, **style(key))
        axis.set(xscale="log", yscale="log", title=group["title"].replace(", p50", ""))
        axis.set(xlabel="percentile", ylabel="ns")
        marks = [50, 90, 99, 99.9, 99.99]
        axis.set_xticks([100 / (100 - m) for m in marks], [str(m) for m in marks])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(os.path.join(folder, "latency.png"), dpi=110)


def main():
    folder = sys.argv[1]
    with open(os.path.join(folder, "results.json")) as file:
        results = json.load(file)
    groups = {g["name"]: g for g in results["groups"]}
    machine = machine_of(results, groups)
    for name, wanted, title in (
        ("messages.svg", MESSAGES, "ns per 64-byte message, nothing lost"),
        ("python.svg", PYTHON, "ns per 64-byte message into Python, nothing lost"),
    ):
        found = [(bar, figure_of(groups, group, key)) for bar, group, key in wanted]
        rows = [(bar, figure["median"]) for bar, figure in found if figure]
        bars(os.path.join(folder, name), title, f"Median of make bench, {machine}", rows)
    latency(groups, folder)


main()
