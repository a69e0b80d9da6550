"""The command line: the verbs of api.py, which commands/ holds, and what becomes of their errors. Nothing heavy is
imported before a verb runs, so that `graft --help` answers at once.

Talk goes to standard error, data to standard output. Exit codes are those of errors.py.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from types import FrameType

from graft.commands._flags import app
from graft.console import Console
from graft.errors import GraftError, Interrupted, ResourceError

for _name in ("choose", "learn", "ask", "share"):  # each adds its commands to the app, in the order that --help shows
    importlib.import_module(f"graft.commands.{_name}")


def _stop(number: int, frame: FrameType | None) -> None:
    """Ctrl-C or SIGTERM outside training, which has its own way to stop."""
    raise Interrupted(number, "interrupted", "run the same command again; what was kept in the cache is used")


def _unexpected(error: Exception) -> int:
    """What no error of ours describes: memory is said as such, the rest is our own bug."""
    if os.environ.get("GRAFT_DEBUG"):
        traceback.print_exc()
    no_room = isinstance(error, RuntimeError) and "not enough memory" in str(error)  # as PyTorch says it on a CPU
    if no_room or isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        hint = "a smaller --batch-size, a smaller backbone, or GRAFT_MEMORY=1 to keep less"
        Console().error(ResourceError(f"out of memory: {error}", hint))
        return ResourceError.exit_code
    what = f"a bug of Graft: {type(error).__name__}: {error}"
    Console().error(GraftError(what, "GRAFT_DEBUG=1 shows where; please report it"))
    return GraftError.exit_code


def main() -> None:
    """Run a verb; every refusal is a sentence and an exit code, and a traceback only with GRAFT_DEBUG=1."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin cost ten times the time beside another job
    before = {number: signal.signal(number, _stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        app(standalone_mode=True)
    except GraftError as error:
        Console().error(error)
        if os.environ.get("GRAFT_DEBUG"):
            traceback.print_exc()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)
    except Exception as error:
        sys.exit(_unexpected(error))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    main()
