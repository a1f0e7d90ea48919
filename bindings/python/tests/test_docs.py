"""Runs the examples of the pages and docstrings, and checks the list of the API page."""

import doctest
import inspect
import re
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

import ipcq

ROOT = Path(__file__).resolve().parent.parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PYTHON = Sybil(parsers=[PythonCodeBlockParser(doctest_optionflags=doctest.ELLIPSIS)])


def examples(page):
    """The blocks of "python" in a page. A block of "py" is a file that test_examples.py runs."""
    return list(PYTHON.parse(page).examples())


@pytest.mark.parametrize("page", [p for p in PAGES if examples(p)], ids=lambda p: p.name)
def test_page(page, tmp_path, monkeypatch):
    """The blocks of a page, one after the other, in one process."""
    monkeypatch.chdir(tmp_path)
    for example in examples(page):
        example.evaluate()


def shown():
    """The docstrings that have examples, by the name of the item."""
    items = {"ipcq": ipcq} | {name: getattr(ipcq, name) for name in ipcq.__all__}
    for name, item in list(items.items()):
        if inspect.isclass(item):
            items |= {f"{name}.{member}": value for member, value in vars(item).items()}
    texts = {name: inspect.getdoc(item) or "" for name, item in items.items()}
    return {name: text for name, text in texts.items() if ">>>" in text}


@pytest.mark.parametrize("name", shown())
def test_docstring(name):
    test = doctest.DocTestParser().get_doctest(shown()[name], {"ipcq": ipcq}, name, None, None)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    assert runner.run(test).attempted > 0
    assert not runner.failures


def test_the_api_page_has_everything():
    items = re.findall(r"^::: ipcq\.(\w+)$", (ROOT / "docs/api.md").read_text(), re.MULTILINE)
    assert sorted(items) == sorted(set(ipcq.__all__) - {"__version__"})
