"""`stigmer serve` with a sampling profiler: `python -m benchmarks.profiled_server REPORT serve …`.

From SIGUSR1 on, every millisecond of processor time the main thread notes where it is: the module of the running
function, and the innermost function of stigmer's above it. Unlike cProfile it hardly slows what it looks at. The
report is JSON.
"""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from stigmer.cli import main

if TYPE_CHECKING:
    from types import FrameType

INTERVAL_S = 0.001

_modules: Counter[str] = Counter()
_lines: Counter[str] = Counter()


def _sample(_number: int, frame: FrameType | None) -> None:
    if frame is None:
        return
    name = _module(frame)
    _modules["(waiting)" if name in ("selectors", "asyncio.selector_events.select") else name] += 1
    above: FrameType | None = frame
    while above is not None and not _module(above).startswith("stigmer."):
        above = above.f_back
    if above is not None:
        _lines[f"{_module(above)}.{above.f_code.co_qualname}"] += 1


def _start(_number: int, _frame: FrameType | None) -> None:
    signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "?"))


def _report(path: Path) -> None:
    path.write_text(json.dumps({"modules": _modules.most_common(), "functions": _lines.most_common()}))


if __name__ == "__main__":
    report = Path(sys.argv.pop(1))
    signal.signal(signal.SIGPROF, _sample)
    signal.signal(signal.SIGUSR1, _start)
    try:
        main()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        _report(report)
