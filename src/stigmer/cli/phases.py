"""The phases of an execution as people write them, such as COMPLETED, and the exit status that its end means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stigmer.cli import ENDED_OTHERWISE

if TYPE_CHECKING:
    from stigmer.types import AgentExecution

COMPLETED = "COMPLETED"
FINAL = frozenset({COMPLETED, "FAILED", "CANCELLED"})
"""None follows these."""
_STEM = "EXECUTION_"
_NO_PHASE = "EXECUTION_PHASE_UNSPECIFIED"


def phases() -> list[str]:
    """All that there are."""
    from stigmer.types import ExecutionPhase  # noqa: PLC0415  # not wanted for help

    return [str(one.name).removeprefix(_STEM) for one in ExecutionPhase if one.name != _NO_PHASE]


def phase_named(text: str) -> str:
    """The phase that a text means, in any case and with or without the stem that protos have; ValueError lists them."""
    word = text.strip().upper().removeprefix(_STEM)
    if word not in phases():
        raise ValueError(f"{text!r} is no phase; there are {', '.join(phases())}")
    return word


def phase_of(state: AgentExecution) -> str:
    """Which one an execution is in."""
    return str(state.status.phase.name).removeprefix(_STEM) if state.status is not None else ""


def exit_status(phase: str) -> int:
    """What a command that has followed an execution to this end exits with."""
    return 0 if phase == COMPLETED else ENDED_OTHERWISE
