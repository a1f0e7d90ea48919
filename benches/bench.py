"""Runs the benchmarks: `make bench`, or `make bench QUICK=1`. See benches/README.md.

It needs only the standard library. benches/build.sh builds the programs that it runs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time

import cases
import report
from cases import Group, Run

OUT = os.path.join("target", "bench")


def processors() -> tuple[int, int, str]:
    """Two processors, on different cores if possible, and how the kernel describes them."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        sys.exit("bench: two processors are needed")

    def siblings(cpu: int) -> str:
        path = f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        try:
            with open(path) as file:
                return file.read().strip()
        except OSError:
            return "?"

    first = allowed[0]
    for other in allowed[1:]:
        if siblings(other) != siblings(first):
            return first, other, "separate cores according to the kernel"
    return first, allowed[1], "siblings according to the kernel"


class Bench:
    def __init__(self, quick: bool, only: str) -> None:
        self.quick = quick
        self.rounds = 5 if quick else 9
        self.seconds = 0.05 if quick else 0.25
        self.only = re.compile(only)
        self.cpus = processors()
        self.failures: list[str] = []
        with open(os.path.join(OUT, "skipped")) as file:
            self.skipped = [line.strip() for line in file]
        self.folder = tempfile.mkdtemp(prefix="ipcq-bench.", dir="/dev/shm")
        with open(os.path.join(OUT, "ringfire-folder")) as file:
            ringfire = file.read().strip()
        self.environment = {
            **os.environ,
            "IPCQ_DIR": self.folder,
            "PYTHONPATH": os.path.abspath(cases.BIN),
            "RINGFIRE_PYTHON": os.path.join(ringfire, "python"),
        }

    def once(self, run: Run, count: int) -> dict | None:
        """Runs once. A figure counts only if the distance of the processors did not change."""
        cpus = [f"cpu0={self.cpus[0]}", f"cpu1={self.cpus[1]}"]
        command = [*run.command, *cpus, f"count={count}"]
        for _ in range(3):
            before = self.distance(cpus) if run.between_pythons else None
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, timeout=60, env=self.environment
                )
            except subprocess.TimeoutExpired:
                self.fail(run, "took longer than a minute")
                return None
            if done.returncode != 0:
                self.fail(run, done.stderr.strip().splitlines()[-1:] or [str(done.returncode)])
                return None
            record = json.loads(done.stdout)
            if before:
                record["lines"] = [before, self.distance(cpus)]
            if report.stayed(record):
                break
        return record

    def distance(self, cpus: list[str]) -> float:
        """The distance between the processors, for programs that cannot measure it."""
        floor = [os.path.join(cases.BIN, "floor"), "what=lines", "count=1000", *cpus]
        done = subprocess.run(floor, capture_output=True, text=True, timeout=60, check=True)
        return json.loads(done.stdout)["p50"]

    def fail(self, run: Run, why: object) -> None:
        why = why[0] if isinstance(why, list) else why
        line = f"{' '.join(map(os.path.basename, run.command))}: {why}"
        self.failures.append(line)
        print(f"bench: FAILED: {line}", flush=True)

    def runnable(self, run: Run) -> bool:
        if not all(os.path.exists(word) for word in run.command[:2] if os.path.sep in word):
            return False
        named = " ".join(run.command)
        absent = [line.split(" (Python)")[0] for line in self.skipped if "(Python)" in line]
        if any(f"peer={name}" in named for name in absent):
            return False
        if "feed=" in named:
            feed = next(word for word in run.command if word.startswith("feed="))
            return os.path.exists(feed[5:])
        return not (named.endswith("calls.py") and "trivial" in " ".join(self.skipped))

    def measure(self, group: Group) -> dict[str, list[dict]]:
        """Returns the records of each run, one per round. The runs take turns."""
        runs = [run for run in group.runs if self.runnable(run)]
        counts = {}
        for run in runs:
            # The first run warms up and shows how many messages take the time that is given.
            record = self.once(run, run.count)
            if record is None:
                continue
            seconds = record[run.value] * 1e-9
            wanted = int(self.seconds / max(seconds, 1e-10))
            counts[run.key] = max(run.count, min(run.most, wanted))
        records: dict[str, list[dict]] = {run.key: [] for run in runs if run.key in counts}
        for turn in range(self.rounds):
            for run in runs[:: 1 if turn % 2 == 0 else -1]:
                if run.key not in counts:
                    continue
                record = self.once(run, counts[run.key])
                if record is None:
                    del counts[run.key]
                    del records[run.key]
                    continue
                records[run.key].append(record)
        return records

    def all(self) -> dict:
        begun = time.monotonic()
        results = {}
        cpus = f"processors {self.cpus[0]} and {self.cpus[1]}: {self.cpus[2]}"
        print(f"{cpus}; {self.rounds} rounds\n", flush=True)
        for group in cases.groups():
            if (self.quick and not group.quick) or not self.only.search(group.name):
                continue
            results[group.name] = self.measure(group)
            report.print_group(group, results[group.name], "siblings" in self.cpus[2])
        targets = report.targets(results)
        report.print_targets(targets)
        for line in self.skipped:
            print(f"skipped: {line}")
        seconds = time.monotonic() - begun
        print(f"\n{seconds:.0f} s, {OUT}/results.json")
        return {
            "version": 1,
            "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "seconds": round(seconds, 1),
            "quick": self.quick,
            "rounds": self.rounds,
            "machine": {
                "processor": processor_name(),
                "kernel": platform.release(),
                "python": platform.python_version(),
                "cpus": list(self.cpus[:2]),
                "topology": self.cpus[2],
                "load": os.getloadavg()[0],
            },
            "skipped": self.skipped,
            "failed": self.failures,
            "groups": [
                report.as_json(group, results[group.name])
                for group in cases.groups()
                if group.name in results
            ],
            "targets": targets,
        }


def processor_name() -> str:
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a short form, under three minutes")
    parser.add_argument("--only", default="", help="groups whose name matches this expression")
    options = parser.parse_args()
    bench = Bench(options.quick, options.only)
    try:
        results = bench.all()
    finally:
        shutil.rmtree(bench.folder, ignore_errors=True)
    with open(os.path.join(OUT, "results.json"), "w") as file:
        json.dump(results, file, indent=1)
    subprocess.run([cases.PYTHON, os.path.join("benches", "plots.py"), OUT], check=False)
    for line in bench.failures:
        print(f"failed: {line}")
    return 1 if bench.failures else 0


if __name__ == "__main__":
    sys.exit(main())
