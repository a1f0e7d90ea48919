#!/usr/bin/env python3
"""Lints the English of documents, comments, docstrings and error texts.

    scripts/prose/prose.py [FILE...]   report findings that the baseline does not allow
    scripts/prose/prose.py --all ...   report every finding, also those that the baseline allows
    scripts/prose/prose.py --write     write the baseline again after a file has been improved

rules.toml has the rules. baseline.txt lists the files that are not clean yet, with the number of
findings for each rule. It may only shrink. If the total of a rule has grown, --write refuses. If a
file has fewer findings than the baseline says, the linter fails until --write has run.

Two standard linters were considered. Vale downloads a binary when it first runs, and textlint needs
npm. Neither reads the error texts in Rust string literals.
"""

import argparse
import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from bisect import bisect_right
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BASELINE = HERE / "baseline.txt"
WIDTH = 100
WORDS = 40

# The start of a sentence or clause, of a list item or of a table cell.
START = r"""(?:^|(?<=[.!?;:|] )|(?<=[.!?][)"'*_] )|(?<=\(\*\*)|(?<=^\*\*))"""

SLASHES = {".rs", ".c", ".h", ".hpp", ".cpp"}
HASHES = {".sh", ".toml", ".yml", ".yaml", ".in", ".supp", ".cmake"}
# Rust files whose string literals are texts for users. Elsewhere they belong to tests.
TEXTS = re.compile(r"(?:src|cli/src|bindings/python/src)/(?!.*(?:model|simulation|tests))")
SKIPPED = re.compile(r"scripts/prose/|LICENSE|Cargo\.lock|fuzz/corpus/|tests/c/symbols\.txt")

# Code in a text, the target of a link, an address.
CODE = re.compile(r"(`+)[^`]+?\1|\]\([^)]*\)|<?https?://\S+")

TOKEN = re.compile(
    r"""(?P<line>//[^\n]*)
    |(?P<block>/\*.*?\*/)
    |(?P<raw>\bb?r(?P<hashes>\#*)".*?"(?P=hashes))
    |(?P<text>\bb?"(?:\\.|[^"\\])*"|"(?:\\.|[^"\\])*")
    |(?P<char>'(?:\\[^\n]{1,9}?|[^'\\\n])')""",
    re.S | re.X,
)


class Block:
    """A run of lines that is read as one text: a paragraph, a list item, a table row."""

    def __init__(self, heading=False):
        self.heading = heading
        self.text = ""
        self.starts = []
        self.lines = []

    def add(self, line, text):
        self.text += " " if self.text else ""
        self.starts.append(len(self.text))
        self.lines.append(line)
        self.text += text.strip()

    def line(self, offset):
        return self.lines[max(0, bisect_right(self.starts, offset) - 1)]

    def masked(self):
        """The same block with a neutral word in place of each piece of code and each address."""
        other = Block(self.heading)
        other.starts, other.lines = [0], self.lines[:1]
        end = 0
        for match in CODE.finditer(self.text):
            other.keep(self, end, match.start())
            link = match.group().startswith("](")
            other.text += "]" if link else "xcode"
            end = match.end()
        other.keep(self, end, len(self.text))
        return other

    def keep(self, block, start, end):
        """Appends a piece of another block, with its line numbers."""
        shift = len(self.text) - start
        self.starts.append(len(self.text))
        self.lines.append(block.line(start))
        for at, line in zip(block.starts, block.lines, strict=True):
            if start < at < end:
                self.starts.append(at + shift)
                self.lines.append(line)
        self.text += block.text[start:end]


def blocks(lines, indented_is_code=4):
    """Splits numbered lines of Markdown into blocks, without code."""
    found = []
    current, fence, example = None, False, False
    for number, raw in lines:
        text = raw.expandtabs(4).rstrip()
        bare = text.strip()
        indent = len(text) - len(text.lstrip())
        if re.match(r"(```|~~~)", bare):
            fence, current = not fence, None
            continue
        if fence:
            continue
        if bare.startswith(">>>"):
            example, current = True, None
        if not bare:
            current, example = None, False
            continue
        if example:
            continue
        if bare.startswith("|"):
            row = Block()
            row.add(number, re.sub(r"^\| *", "", bare))
            found.append(row)
            current = None
            continue
        heading = re.match(r"#{1,6} ", bare)
        item = re.match(r"(?:[-*+]|\d+[.)]) +", bare)
        if current is None and indent >= indented_is_code and not item:
            continue
        if heading or item or current is None:
            current = Block(bool(heading))
            found.append(current)
            bare = bare[(heading or item).end() :] if heading or item else bare
        current.add(number, bare)
        if heading:
            current = None
    return found


def slashes(path, source):
    """The comments of Rust, C and C++, and the texts for users in Rust."""
    numbers = [0, *(m.end() for m in re.finditer("\n", source))]
    run, last, found = [], None, []

    def flush():
        nonlocal run
        found.extend(blocks(run, indented_is_code=3))
        run = []

    for match in TOKEN.finditer(source):
        number = bisect_right(numbers, match.start())
        kind = match.lastgroup if match.lastgroup != "hashes" else "raw"
        if kind == "line":
            before = source[numbers[number - 1] : match.start()]
            marker = re.match(r"///|//!|//", match.group()).group()
            here = (len(before), marker)
            if before.strip() or not run or here != last or number != run[-1][0] + 1:
                flush()
            last = None if before.strip() else here
            run.append((number, re.sub(r"^ ", "", match.group()[len(marker) :])))
        elif kind == "block":
            flush()
            text = match.group()[2:-2]
            lines = [re.sub(r"^\s*\*+ ?", "", line).strip("*!") for line in text.split("\n")]
            found.extend(blocks(list(enumerate(lines, number)), indented_is_code=3))
        elif kind in ("text", "raw") and TEXTS.match(path):
            text = re.sub(r"\\\n\s*", " ", re.sub(r'^b?r?#*"|"#*$', "", match.group()))
            text = re.sub(r"\\[nt]|\n", " ", text)
            text = re.sub(r"\{[^{}]*\}", "xcode", text)
            if len(re.findall(r"[A-Za-z]{2,}", text)) >= 3:
                block = Block()
                block.add(number, text)
                found.append(block)
    flush()
    return found


def python(source):
    """The comments, the docstrings and the texts of exceptions."""
    found = []
    run = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT or token.string.startswith("#!"):
            continue
        alone = not token.line[: token.start[1]].strip()
        if run and (not alone or token.start[0] != run[-1][0] + 1):
            found.extend(blocks(run))
            run = []
        run.append((token.start[0], re.sub(r"^#+ ?", "", token.string)))
    found.extend(blocks(run))
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None:
            value = node.body[0].value
            lines = list(enumerate(value.value.split("\n"), value.lineno))
            if isinstance(node, ast.Module):
                found.extend(blocks(lines))
            else:
                found.extend(blocks([(n, line.strip()) for n, line in lines]))
        elif isinstance(node, ast.Raise) and node.exc is not None:
            for part in ast.walk(node.exc):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    block = Block()
                    block.add(part.lineno, part.value)
                    found.append(block)
    return found


def hashes(source):
    """Full-line comments, and in a Makefile the lines of its help."""
    found, run = [], []
    for number, line in enumerate(source.split("\n"), 1):
        comment = re.match(r"\s*#(?!!) ?(.*)", line)
        printed = re.match(r'\t@echo "(.*)"$', line)
        if run and not comment:
            found.extend(blocks(run, indented_is_code=2))
            run = []
        if comment:
            run.append((number, comment.group(1)))
        elif printed:
            found.extend(blocks([(number, printed.group(1).strip())]))
    found.extend(blocks(run, indented_is_code=2))
    return found


def too_wide(path, lines):
    """The numbers of the lines that must be wrapped."""
    markdown, fence = path.endswith(".md"), False
    for number, line in enumerate(lines, 1):
        bare = line.strip()
        if markdown and re.match(r"(```|~~~)", bare):
            fence = not fence
        if len(line.expandtabs(4)) <= WIDTH:
            continue
        if markdown:
            # A table row, an address or an image cannot be wrapped.
            fixed = bare.startswith("|") or " " not in bare[: WIDTH - 10]
            if not (fence or fixed or re.match(r"(?:\[[^]]+\]:|!\[|<)", bare)):
                yield number
        elif re.match(r"(?://|/\*|\* |#(?![![]))", bare):
            yield number


def extract(path, source):
    suffix = Path(path).suffix
    if suffix == ".md":
        return blocks(list(enumerate(source.split("\n"), 1)))
    if suffix in SLASHES:
        return slashes(path, source)
    if suffix in (".py", ".pyi"):
        return python(source)
    if suffix in HASHES or Path(path).name == "Makefile" or source.startswith("#!"):
        return hashes(source)
    return None


def findings(path, source, rules):
    """Yields (line, rule, excerpt, advice)."""
    found = extract(path, source)
    if found is None:
        return
    for number in too_wide(path, source.split("\n")):
        yield number, "columns", "", f"wrap the line at {WIDTH} columns"
    for block in found:
        text = block.masked()
        for rule in rules:
            if block.heading and not rule.get("headings", True):
                continue
            for match in rule["compiled"].finditer(text.text):
                yield text.line(match.start()), rule["name"], match.group().strip(), rule["advice"]
        if not text.text.startswith(("|", "[")) and "|" not in text.text:
            offset = 0
            for sentence in re.split(r"(?<=[.!?])\s+", text.text):
                words = len(re.findall(r"[A-Za-z0-9][\w'-]*", sentence))
                if words > WORDS:
                    yield (
                        text.line(text.text.find(sentence, offset)),
                        "long-sentence",
                        f"{words} words",
                        f"split it: at most {WORDS} words",
                    )
                offset += len(sentence)


def load_rules():
    rules = tomllib.loads((HERE / "rules.toml").read_text())["rule"]
    for rule in rules:
        rule["compiled"] = re.compile(rule["pattern"].replace("{start}", START), re.I)
        if not rule["compiled"].search(rule["bad"]) or rule["compiled"].search(rule["good"]):
            sys.exit(f"prose: the examples of the rule {rule['name']} do not fit its pattern")
    return rules


def load_baseline():
    allowed = {}
    if BASELINE.exists():
        for line in BASELINE.read_text().splitlines():
            if line and not line.startswith("#"):
                path, rule, count = line.rsplit(" ", 2)
                allowed[path, rule] = int(count)
    return allowed


def files():
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return sorted(
        p for p in set(listed.split("\0")) if p and not SKIPPED.search(p) and (ROOT / p).is_file()
    )


def write(counts, allowed):
    """Writes the baseline, unless the total of a rule has grown."""
    if BASELINE.exists():
        before, now = Counter(), Counter()
        for (_, rule), count in allowed.items():
            before[rule] += count
        for (_, rule), count in counts.items():
            now[rule] += count
        grown = [f"{rule}: {before[rule]} -> {n}" for rule, n in now.items() if n > before[rule]]
        if grown:
            sys.exit("prose: the baseline may only shrink. " + ", ".join(sorted(grown)))
    lines = [f"{path} {rule} {count}\n" for (path, rule), count in sorted(counts.items())]
    head = "# The files that are not clean yet: file, rule, findings. This list may only shrink.\n"
    BASELINE.write_text(head + "".join(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="*", help="files to lint (default: the whole tree)")
    parser.add_argument("--all", action="store_true", help="ignore the baseline")
    parser.add_argument("--write", action="store_true", help="write the baseline again")
    arguments = parser.parse_args()

    rules = load_rules()
    allowed = load_baseline()
    chosen = [str(Path(f).resolve().relative_to(ROOT)) for f in arguments.files] or files()
    # Files that were removed or moved are dropped, so that a move does not count findings twice.
    kept = {k: n for k, n in allowed.items() if k[0] not in chosen and (ROOT / k[0]).exists()}
    counts, reports = Counter(kept), {}
    for path in chosen:
        try:
            source = (ROOT / path).read_text()
        except UnicodeDecodeError:
            continue
        for line, rule, excerpt, advice in findings(path, source, rules):
            counts[path, rule] += 1
            quoted = f' "{excerpt}"' if excerpt else ""
            reports.setdefault((path, rule), []).append((line, f"{rule}:{quoted} {advice}"))
    if arguments.write:
        write(counts, allowed)
        allowed = dict(counts)

    bad = []
    for (path, rule), lines in reports.items():
        if arguments.all or len(lines) > allowed.get((path, rule), 0):
            bad += [(path, line, text) for line, text in lines]
    for path, line, text in sorted(bad):
        print(f"{path}:{line}: {text}")
    stale = sorted({p for (p, r), n in allowed.items() if p in chosen and counts[p, r] < n})
    gone = {p for p, _ in allowed if not (ROOT / p).exists()} if not arguments.files else set()
    stale = sorted({*stale, *gone})
    left = len({p for p, _ in allowed if p not in gone})
    total = sum(n for (p, _), n in allowed.items() if p not in gone)
    print(f"prose: {left} files with {total} findings are not clean yet")
    if bad and not arguments.all:
        print("prose: a file has more findings of a rule than the baseline allows (all are listed)")
    if stale and not arguments.all:
        print(f"prose: improved or gone: {' '.join(stale)}")
        print("prose: run scripts/prose/prose.py --write and commit the shorter baseline")
    return 1 if bad or (stale and not arguments.all) else 0


if __name__ == "__main__":
    sys.exit(main())
