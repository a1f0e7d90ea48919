"""For `make docs`: shows the arguments of compiled classes, whose stubs have __new__."""

from typing import Any

import griffe


class Signatures(griffe.Extension):
    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        """Renames __new__ to __init__, because the pages show the arguments of __init__."""
        new = cls.members.get("__new__")
        if isinstance(new, griffe.Function) and "__init__" not in cls.members:
            cls.del_member("__new__")
            new.name, new.returns, new.docstring = "__init__", None, None
            cls.set_member("__init__", new)
