"""Adds up the closing lines of cargo test and pytest in a log, and prints the sums.

.ci/count.py LOG

The status is 1 if the log has no such line, or if one of them reports a failure.
"""

import re
import sys
from collections import Counter
from pathlib import Path

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
CARGO = re.compile(r"test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored;")
PYTEST = re.compile(r"(?:=+ )?((?:\d+ [a-z]+, )*\d+ [a-z]+) in [\d.]+s\b")
KINDS = ("passed", "failed", "skipped")
# The words of pytest that are counted, and what they are counted as.
WORDS = {
    "passed": "passed",
    "xfailed": "passed",
    "failed": "failed",
    "xpassed": "failed",
    "error": "failed",
    "errors": "failed",
    "skipped": "skipped",
}


def count(lines):
    """Returns the sums of all closing lines."""
    sums = Counter()
    for raw in lines:
        line = COLOUR.sub("", raw).strip()
        if match := CARGO.match(line):
            sums.update(dict(zip(KINDS, map(int, match.groups()), strict=True)))
        elif match := PYTEST.match(line):
            for part in match.group(1).split(", "):
                number, word = part.split()
                if word in WORDS:
                    sums[WORDS[word]] += int(number)
    return sums


def main():
    sums = count(Path(sys.argv[1]).read_text(errors="replace").splitlines())
    print(f"ci: {sums['passed']} passed, {sums['failed']} failed, {sums['skipped']} skipped")
    if not sums["passed"]:
        print("ci: no test was run", file=sys.stderr)
    return 1 if sums["failed"] or not sums["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
