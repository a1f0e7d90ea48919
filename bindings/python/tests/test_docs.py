"""What the pages and docstrings show is run, and what they say exists."""

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
    """Its blocks of "python"; "py" is a file that it shows, which test_examples.py runs."""
    return list(PYTHON.parse(page).examples())


@pytest.mark.parametrize("page", [p for p in PAGES if examples(p)], ids=lambda p: p.name)
def test_page(page, tmp_path, monkeypatch):
    """The blocks of a page, one after the other, in one process."""
    monkeypatch.chdir(tmp_path)
    for example in examples(page):
        example.evaluate()


def documented():
    """Everything public, with its name."""
    yield "ipcq", ipcq
    for name in ipcq.__all__:
        item = getattr(ipcq, name)
        yield name, item
        if inspect.isclass(item):
            for member, value in vars(item).items():
                if not member.startswith("_"):
                    yield f"{name}.{member}", value


@pytest.mark.parametrize(
    ("name", "item"), list(documented()), ids=lambda x: x if type(x) is str else ""
)
def test_docstring(name, item):
    text = name == "__version__" or inspect.getdoc(item)
    assert text, f"{name} has no docstring"
    if text is not True:
        test = doctest.DocTestParser().get_doctest(text, {"ipcq": ipcq}, name, None, None)
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        runner.run(test)
        assert not runner.failures


def test_the_api_page_has_everything():
    shown = re.findall(r"^::: ipcq\.(\w+)$", (ROOT / "docs/api.md").read_text(), re.MULTILINE)
    assert sorted(shown) == sorted(set(ipcq.__all__) - {"__version__"})
