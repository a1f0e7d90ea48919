"""For `make docs`: the front page from README.md, the C reference from include/ipcq.h, examples."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BANNER = re.compile(r"^/\* -+ (.+?) -+ \*/$", re.MULTILINE)
# A banner may also hold a comment about the section.
LONG_BANNER = re.compile(r"^(/\* -+ [^\n]+? -+)\n(.*?)\s*\*/$", re.MULTILINE | re.DOTALL)
GUARDS = re.compile(
    r"^#(ifndef IPCQ_H|define IPCQ_H|ifdef __cplusplus|if !defined|endif|include <std)"
)
CODE = re.compile(
    r"-E[A-Z0-9]+\b|\b(ipcq|IPCQ)_\w+(\(\))?|\b[a-z]+_[a-z_]+\b|\bNULL\b|\.(ctl|lock)\b"
)
ROW = re.compile(r"(-E\w+|[A-Z][a-z]+) {2,}(\S.*)")
NAME = re.compile(
    r"^(?:enum (?P<enum>\w+)? ?\{|typedef (?:enum|struct) (?P<tag>\w+)?|struct (?P<struct>\w+)"
    r"|#define (?P<macro>\w+)|[\w *]*?\b(?P<function>ipcq_\w+)\()",
    re.MULTILINE,
)


def on_page_markdown(markdown, page, **_):
    """Fills in the pages that are made from other files."""
    if page.file.src_uri == "index.md":
        return front_page((ROOT / "README.md").read_text())
    if "<!-- ipcq.h -->" in markdown:
        header = reference((ROOT / "include/ipcq.h").read_text())
        markdown = markdown.replace("<!-- ipcq.h -->", header)
    return re.sub(r"<!-- files: (.+?) -->", files, markdown)


def front_page(readme):
    """Returns README.md with links between pages. Links to other files are removed."""
    readme = readme.replace("](docs/", "](")
    return re.sub(r"\[([^\]]+)\]\((?=[A-Z]+\.md)[^)]+\)", r"\1", readme)


def reference(header):
    """Returns the sections of the header, with a heading for each function and type."""
    header = LONG_BANNER.sub(with_comment, header)
    first, *rest = BANNER.split(header)
    sections = list(zip(rest[::2], rest[1::2], strict=True)) or [("All of it", first)]
    lines = []
    for title, text in sections:
        lines += [f"## {title}", ""]
        for block in blocks_of(text):
            lines += entry(block)
    return "\n".join(lines)


def with_comment(banner):
    """Returns the comment in a banner as a comment below it."""
    comment = [f"// {line.removeprefix('   ')}".rstrip() for line in banner[2].splitlines()]
    return "\n".join([f"{banner[1]} */", "", *comment])


def blocks_of(text):
    """Yields the blocks between blank lines, except guards. Blank lines in braces do not count."""
    depth, block = 0, []
    for line in [*text.strip().splitlines(), ""]:
        if line or depth:
            block.append(line)
            code = line.split("//")[0]
            if not code.startswith(('extern "C"', "} // extern", "}  // extern")):
                depth += code.count("{") - code.count("}")
        elif block:
            if not GUARDS.match("\n".join(code_of(block))):
                yield block
            block = []


def code_of(block):
    return [line for line in block if not line.startswith("//")]


def entry(block):
    """Returns a block as Markdown: its name, its declaration, and its comment as text."""
    code = code_of(block)
    comment = [line[2:].removeprefix(" ") for line in block if line.startswith("//")]
    if "}" in "".join(code) and comment and not block[0].startswith("//"):
        comment, code = [], block
    found = NAME.search("\n".join(code)) if comment or "{" in "".join(code) else None
    name = next(filter(None, found.groups()), None) if found else None
    if not comment and re.fullmatch(r"typedef struct (\w+) \1;", "\n".join(code)):
        return []  # it is declared again with its members
    lines = [f"### {name}", ""] if name else []
    if "".join(code).strip():
        lines += ["```c", *code, "```", ""]
    return lines + text_of(comment)


def text_of(comment):
    """Returns the comment as Markdown. Two columns become a table. Indented lines are kept."""
    lines, kind = [], "text"
    for line in comment:
        row = ROW.match(line)
        if kind == "row" and line.startswith(" " * 6):
            lines[-1] = f"{lines[-1].removesuffix(' |')} {marked(line.strip())} |"
            continue
        new = "row" if row else "code" if line.startswith("  ") else "text"
        if line and new != kind:
            ends = {"code": ["```"], "row": [""], "text": [""]}
            begins = {"code": ["```c"], "row": ["| | |", "|---|---|"], "text": [""]}
            lines += ends[kind] + begins[new]
            kind = new
        if kind == "row" and row:
            lines.append(f"| {marked(row[1])} | {marked(row[2])} |")
        else:
            lines.append(line if kind == "code" else marked(line))
    return [*lines, *(["```"] if kind == "code" else []), ""]


def files(match):
    """Returns files of the tree, each under its name, for `<!-- files: c-examples/*.c -->`."""
    lines = []
    for path in sorted(path for pattern in match[1].split() for path in ROOT.glob(pattern)):
        language = {"cpp": "cpp", "rs": "rust"}.get(path.suffix[1:], path.suffix[1:])
        lines += [f"### {path.name}", "", f"```{language}", path.read_text().rstrip(), "```", ""]
    return "\n".join(lines)


def marked(line):
    """Returns a line of a comment with the C identifiers in it as code."""
    parts = line.split("`")
    parts[::2] = [CODE.sub(r"`\g<0>`", part).replace("*", r"\*") for part in parts[::2]]
    line = re.sub(r"\bdocs/(\w+)\.md", r"[\1](\1.md)", "`".join(parts))
    return re.sub(r"^Errors:", "\n**Errors:**", line)
