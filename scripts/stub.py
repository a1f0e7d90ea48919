"""`make stub`: copies the docstrings of the compiled module to its stub, _ipcq.pyi.

Editors and the pages show the docstrings of the stub. The docstrings are written in
bindings/python/src, as comments. A test compares the two.
"""

import ast
import inspect
from pathlib import Path
from typing import Any

from ipcq import _ipcq

STUB = Path(__file__).resolve().parent.parent / "bindings/python/python/ipcq/_ipcq.pyi"
WIDTH = 100

Documented = ast.ClassDef | ast.FunctionDef


def docstring(text: str, indent: str) -> list[str]:
    """The lines of a docstring."""
    text = text.replace("\\", "\\\\").replace('"""', r"\"\"\"")
    if "\n" not in text and len(f'{indent}"""{text}"""') <= WIDTH:
        return [f'{indent}"""{text}"""']
    first, *others = text.split("\n")
    return [f'{indent}"""{first}', *((indent + line).rstrip() for line in others), f'{indent}"""']


def document(lines: list[str], node: Documented, item: Any) -> None:
    """Replaces the docstring of a node, and of all that is in it, from the last to the first."""
    if isinstance(node, ast.ClassDef):
        for member in reversed(node.body):
            if isinstance(member, ast.FunctionDef) and not member.name.startswith("_"):
                document(lines, member, getattr(item, member.name))
    text = inspect.getdoc(item)
    if text is None:
        return
    new = docstring(text, " " * (node.col_offset + 4))
    body = node.body[0]
    had_one = ast.get_docstring(node) is not None
    if isinstance(node, ast.ClassDef):
        # The code after the docstring stays.
        after = (body.end_lineno or 0) if had_one else node.lineno
        lines[node.lineno : after] = new if had_one else [*new, ""]
    elif had_one:
        lines[body.lineno - 1 : body.end_lineno] = new
    else:
        lines[body.lineno - 1] = lines[body.lineno - 1][: body.col_offset].rstrip()
        lines[body.lineno : body.lineno] = new


def main() -> None:
    text = STUB.read_text()
    lines = text.splitlines()
    for node in reversed(ast.parse(text).body):
        if isinstance(node, Documented) and not node.name.startswith("_"):
            document(lines, node, getattr(_ipcq, node.name))
    STUB.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
