"""The stub has the docstrings of the module, because editors show no others."""

import ast
import inspect
from pathlib import Path

import ipcq
from ipcq import _ipcq

STUB = ast.parse((Path(ipcq.__file__).parent / "_ipcq.pyi").read_text())


def in_the_stub():
    """The docstrings of the stub, by name."""
    for node in STUB.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name, ast.get_docstring(node)
        if isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, ast.FunctionDef):
                    yield f"{node.name}.{member.name}", ast.get_docstring(member)


def in_the_module():
    """The docstrings of the module, by name. The stub may leave out names that begin with _."""
    for name in _ipcq.__all__:
        item = getattr(_ipcq, name)
        if name.startswith("_"):
            continue
        yield name, inspect.getdoc(item)
        if isinstance(item, type):
            for member, value in vars(item).items():
                if not member.startswith("_"):
                    yield f"{name}.{member}", inspect.getdoc(value)


def test_the_docstrings_are_equal():
    stub = {name: text for name, text in in_the_stub() if text is not None}
    module = dict(in_the_module())
    assert None not in module.values()
    assert len(module) > 100
    assert stub == module, "make stub copies them"


def test_no_test_hook_is_typed():
    """The tests need a module with `_panic`. Programs do not see it."""
    names = {node.name for node in STUB.body if isinstance(node, ast.FunctionDef)}
    assert "_panic" not in names
    assert "_panic" not in _ipcq.__all__
