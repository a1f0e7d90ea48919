"""Handles that are given to another process, and the end of such a process."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

from ._errors import IncompatibleError, ProducerExistsError, escaped

if TYPE_CHECKING:
    from ._ipcq import Producer


# How to give up a handle that only one process can have open.
HAND_OVER = {"Producer": "detach() or close()", "SharedMemory": "close()"}


def open_again(kind: Any, path: str, options: dict[str, Any], id: int | None) -> Any:
    """Opens a handle that was pickled. If `id` is not None, the queue must have this id."""
    try:
        handle = kind(path, **options)
    except ProducerExistsError as e:
        hint = f"{HAND_OVER[kind.__name__]} before a handle goes to another process"
        raise ProducerExistsError(e.errno, f"{e.strerror} ({hint})") from None
    if id is not None and handle.stats.id != id:
        handle.close()
        raise IncompatibleError(
            f"{escaped(path)}: the queue was recreated after this handle was pickled, so its "
            "position belongs to other messages"
        )
    return handle


# The producers of this process, and the pid of the process for which they were collected.
producers: weakref.WeakSet[Producer] = weakref.WeakSet()
process = 0


def close_at_exit(producer: Producer) -> None:
    """Arranges that a producer is closed when a child of multiprocessing ends normally.

    Such a child may end without destroying its objects.
    """
    util = sys.modules.get("multiprocessing.util")
    if util is None:
        return
    if process != os.getpid():
        begin()
        # A child calls this when it begins, after it has received its arguments.
        util.register_after_fork(producers, arm)
        if sys.modules["multiprocessing.process"].parent_process() is not None:
            arm()
    producers.add(producer)


def begin() -> None:
    """Starts with an empty set in a new process."""
    global process
    process = os.getpid()
    # The producers of the parent belong to the parent.
    producers.clear()


def arm(_: object = None) -> None:
    """Arranges, in a child of multiprocessing, that the producers are closed at its end."""
    from multiprocessing.util import Finalize

    if process != os.getpid():
        begin()
    # After other finalizers, which may push.
    Finalize(None, close_all, exitpriority=-1000)


def close_all() -> None:
    """Closes all producers of this process, after its threads have ended."""
    try:
        # A program waits for its threads before its objects are destroyed, so they may still push.
        # Multiprocessing waits for them only after the finalizers. The threads of executors end
        # by this call, not by a join.
        threading._shutdown()  # type: ignore[attr-defined]
    finally:
        for producer in list(producers):
            producer.close()
