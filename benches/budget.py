"""Counts the instructions of each operation of the C interface, and compares them with a budget.

    budget.py PROGRAM           fails if an operation takes more than benches/budget.json allows
    budget.py PROGRAM --write   writes what was counted as the new budget

Counts do not depend on how busy the machine is. They do depend on the compiler and, for longer
copies, on the C library. The budget names the compiler that it was counted with.
"""

import glob
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile

BUDGET = os.path.join(os.path.dirname(__file__), "budget.json")
FEW = 4096  # as in budget.c
OPERATIONS = [
    f"{name}_{size}"
    for size in (8, 64, 1024)
    for name in ("push", "pop", "push_many", "pop_many", "claim", "peek")
]
OPERATIONS += [f"{name}_64" for name in ("push_lossless", "pop_lossless", "push_variable")]
OPERATIONS += [f"{name}_64" for name in ("pop_variable", "pop_empty")]
# With another compiler than that of the budget, only a large difference is an error.
OTHER_COMPILER = 0.5


def compiler():
    version = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True)
    return " ".join(version.stdout.split()[:2])


def count(program):
    """Counts the instructions per message of each operation with callgrind."""
    with tempfile.TemporaryDirectory(prefix="ipcq-budget.") as folder:
        done = subprocess.run(
            [
                "valgrind",
                "--tool=callgrind",
                f"--callgrind-out-file={folder}/out",
                "--collect-atstart=no",
                "--toggle-collect=operation_*",
                *(f"--dump-after=operation_{name}" for name in sorted(OPERATIONS)),
                program,
            ],
            capture_output=True,
            text=True,
            env={**os.environ, "IPCQ_DIR": folder},
        )
        if done.returncode != 0:
            sys.exit(f"budget: {program} failed:\n{done.stderr}")
        totals = {}
        for path in sorted(glob.glob(f"{folder}/out.*"), key=lambda p: int(p.rpartition(".")[2])):
            with open(path) as file:
                text = file.read()
            trigger = re.search(r"^desc: Trigger: --dump-after=(\S+)", text, re.MULTILINE)
            total = re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)
            if trigger and total:
                totals.setdefault(trigger.group(1), []).append(int(total.group(1)))
    counted = {}
    for function, (_, few, many) in totals.items():
        name, _, size = function[len("operation_") :].rpartition("_")
        counted[f"{name.replace('_', ' ')}, {size} B"] = round((many - few) / FEW, 1)
    return counted


def main():
    if shutil.which("valgrind") is None:
        print("budget: valgrind is missing, instructions are not counted")
        return 0
    if platform.machine() != "x86_64":
        print("budget: no budget for this processor, instructions are not counted")
        return 0
    counted = count(sys.argv[1])
    if "--write" in sys.argv:
        with open(BUDGET, "w") as file:
            json.dump(
                {
                    "compiler": compiler(),
                    "tolerance": 0.04,
                    "tolerance_of_copies": 0.3,
                    "instructions": counted,
                },
                file,
                indent=2,
            )
            file.write("\n")
        print(f"budget: {BUDGET} was written")
        return 0
    with open(BUDGET) as file:
        budget = json.load(file)
    same = compiler() == budget["compiler"]
    over = set(budget["instructions"]) - set(counted)
    for name in over:
        print(f"budget: {name} was not counted")
    for name, now in counted.items():
        allowed = budget["instructions"].get(name)
        if allowed is None:
            print(f"budget: {name}: {now}, but it has no budget")
            over.add(name)
            continue
        tolerance = budget["tolerance_of_copies" if "1024 B" in name else "tolerance"]
        if not same:
            tolerance = max(tolerance, OTHER_COMPILER)
        if now > allowed * (1 + tolerance) + 0.5:
            print(f"budget: {name}: {now} instructions, {allowed} allowed")
            over.add(name)
        elif now < allowed * (1 - tolerance) - 0.5 and same:
            print(f"budget: {name}: {now} instructions, {allowed} allowed: lower it (make budget)")
    if over:
        return 1
    how = "" if same else f", widely: the budget was counted with {budget['compiler']}"
    print(f"budget: {len(counted)} operations are within their budget{how}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
