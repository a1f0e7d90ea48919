"""Draws what `make bench` measured: plots.py FOLDER, which has results.json."""

import json
import os
import sys

try:
    import matplotlib
except ImportError:
    sys.exit("bench: no plots: matplotlib is not installed")
matplotlib.use("Agg")
import matplotlib.pyplot as plt

# Red and orange are ours, grey the floors.
THEIRS = ["tab:blue", "tab:green", "tab:purple", "tab:brown", "tab:pink", "tab:olive", "tab:cyan"]
plt.rcParams["axes.prop_cycle"] = plt.cycler(color=[*THEIRS, "black", "navy"])
OURS = {"ipcq C": "tab:red", "ipcq Rust": "tab:orange"}


def style(key):
    if key == "ipcq C, lossy":
        return {"linewidth": 1.2, "color": "tab:red", "linestyle": ":"}
    if key.startswith("ipcq"):
        return {"linewidth": 2.4, "color": OURS.get(key, "tab:red")}
    if key in ("two lines", "one line", "line floor", "memcpy"):
        return {"linewidth": 1.2, "color": "grey", "linestyle": "--"}
    return {"linewidth": 1.2}


def latency(groups, folder):
    """Round trips: the percentiles of the middle one of the rounds."""
    names = ("roundtrip-8", "roundtrip-64", "python-roundtrip")
    wanted = [(name, groups[name]) for name in names if name in groups]
    if not wanted:
        return
    figure, axes = plt.subplots(1, len(wanted), figsize=(6 * len(wanted), 5), squeeze=False)
    for axis, (_, group) in zip(axes[0], wanted, strict=True):
        for f in group["figures"]:
            runs = sorted(f["runs"], key=lambda run: run["p50"])
            points = [p for p in runs[len(runs) // 2]["percentiles"] if 0 < p[0] < 100]
            # 90, 99, 99.9 ... at equal steps.
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


def throughput(groups, folder):
    """Streaming, a call a message, over the size of a message."""
    sizes = [8, 64, 1024, 65536]
    lines = {}
    for size in sizes:
        for f in groups.get(f"stream-{size}-1", {}).get("figures", []):
            if f["key"] == "line floor":
                continue  # a line a message, whatever the size
            lines.setdefault(f["key"], []).append((size, 1e3 / f["median"], size / f["median"]))
    if not lines:
        return
    figure, axes = plt.subplots(1, 2, figsize=(12, 5))
    for key, points in lines.items():
        for axis, column in zip(axes, (1, 2), strict=True):
            x, y = [p[0] for p in points], [p[column] for p in points]
            axis.plot(x, y, marker="o", label=key, **style(key))
    axes[0].set(ylabel="million messages a second")
    axes[1].set(ylabel="GB a second")
    for axis in axes:
        axis.set(xscale="log", yscale="log", xlabel="bytes a message")
        axis.set_xticks(sizes, [str(s) for s in sizes])
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=7)
    figure.suptitle("streaming, a call a message, received")
    figure.tight_layout()
    figure.savefig(os.path.join(folder, "throughput.png"), dpi=110)


def consumers(groups, folder):
    """What a push costs over the number of idle consumers."""
    if "consumers" not in groups:
        return
    lines = {}
    for f in groups["consumers"]["figures"]:
        peer, _, n = f["key"].rpartition(", ")
        lines.setdefault(peer, []).append((int(n), f["median"], f["min"], f["max"]))
    figure, axis = plt.subplots(figsize=(6, 5))
    for peer, points in lines.items():
        middle = [p[1] for p in points]
        bars = [[p[1] - p[2] for p in points], [p[3] - p[1] for p in points]]
        axis.errorbar(
            [p[0] for p in points], middle, bars, marker="o", capsize=3, label=peer, **style(peer)
        )
    axis.set(xlabel="consumers attached", ylabel="ns a push of 64 B", ylim=(0, None))
    axis.set_title("cost of a push over the number of consumers")
    axis.grid(alpha=0.3)
    axis.legend()
    figure.tight_layout()
    figure.savefig(os.path.join(folder, "consumers.png"), dpi=110)


def main():
    folder = sys.argv[1]
    with open(os.path.join(folder, "results.json")) as file:
        groups = {g["name"]: g for g in json.load(file)["groups"]}
    latency(groups, folder)
    throughput(groups, folder)
    consumers(groups, folder)


main()
