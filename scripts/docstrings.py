"""For `make docs`: signatures from the stubs and sources, docstrings from the module itself.

The compiled part has its docstrings in Rust, and its stubs have none.
"""

import importlib
import inspect
from typing import Any

import griffe


class Docstrings(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, loader: griffe.GriffeLoader, **_: Any) -> None:
        if obj.docstring is None and not obj.is_module and not obj.name.startswith("_"):
            item: Any = importlib.import_module(obj.module.path)
            for name in obj.path.removeprefix(f"{obj.module.path}.").split("."):
                item = getattr(item, name, None)
            if text := inspect.getdoc(item):
                obj.docstring = griffe.Docstring(
                    text,
                    parent=obj,
                    parser=loader.docstring_parser,
                    parser_options=loader.docstring_options,
                )

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        """Shows the arguments of a class made by __new__, as compiled classes are."""
        new = cls.members.get("__new__")
        if isinstance(new, griffe.Function) and "__init__" not in cls.members:
            cls.del_member("__new__")
            new.name, new.returns, new.docstring = "__init__", None, None
            cls.set_member("__init__", new)
