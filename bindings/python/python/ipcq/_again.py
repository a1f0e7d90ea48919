"""Handles that go to another process, and how they end there."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

from ._errors import Incompatible, ProducerExists, escaped

if TYPE_CHECKING:
    from ._ipcq import Producer


# How to give up a handle that only one process can have open.
HAND_OVER = {"Producer": "detach() or close()", "SharedMemory": "close()"}


def open_again(kind: Any, path: str, options: dict[str, Any], id: int | None) -> Any:
    """What pickle calls for a handle. `id` is that of the queue, if it has to be the same one."""
    try:
        handle = kind(path, **options)
    except ProducerExists as e:
        hint = f"call {HAND_OVER[kind.__name__]} before a handle goes to another process"
        raise ProducerExists(e.errno, f"{e.strerror} ({hint})") from None
    if id is not None and handle.stats.id != id:
        handle.close()
        raise Incompatible(
            f"{escaped(path)}: the queue was made anew since this handle was pickled, and its "
            "position is of other messages"
        )
    return handle


# The producers of this process, and which process that is.
producers: weakref.WeakSet[Producer] = weakref.WeakSet()
process = 0


def close_at_exit(producer: Producer) -> None:
    """Sees to it that a producer is closed when a child of multiprocessing ends normally.

    Such a child may end without destroying its objects.
    """
    util = sys.modules.get("multiprocessing.util")
    if util is None:
        return
    if process != os.getpid():
        begin()
        # A child does this when it begins, after it was given what it is to work with.
        util.register_after_fork(producers, arm)
        if sys.modules["multiprocessing.process"].parent_process() is not None:
            arm()
    producers.add(producer)


def begin() -> None:
    global process
    process = os.getpid()
    # Those of the parent stay the parent's.
    producers.clear()


def arm(_: object = None) -> None:
    """In a child of multiprocessing: closes the producers at its end."""
    from multiprocessing.util import Finalize

    if process != os.getpid():
        begin()
    # After the finalizers of others, which may push.
    Finalize(None, close_all, exitpriority=-1000)


def close_all() -> None:
    try:
        # Threads may push on: a program waits for them before its objects end. Multiprocessing
        # calls the same, but after the finalizers. Those of executors end by it, not by a join.
        threading._shutdown()  # type: ignore[attr-defined]
    finally:
        for producer in list(producers):
            producer.close()
