"""Every error that a person may see, drawn as one tree, and how a full memory or disk is told by any library."""

from __future__ import annotations

import errno


def counted(n: int, what: str) -> str:
    """`n` with the word for it: "1 file", "2,000 files"."""
    return f"{n:,} {what}{'s' * (n != 1)}"


class UserError(Exception):
    """Something a person can mend; its message is the sentence to show."""


class InputError(UserError):
    """A file, a question list or an argument is not what it should be."""


class UnreadableFileError(InputError):
    """A file cannot be turned into text."""


class NotFoundError(UserError):
    """A corpus, an encoder, a source or a run does not exist."""


class EncoderMismatchError(UserError):
    """An index was made by another encoder than the one at hand."""


class StoreError(UserError):
    """The data folder cannot be read or written: full disk, no permission, a newer format."""


class DamagedError(StoreError):
    """The manifest of a corpus is not whole any more."""


class BusyError(StoreError):
    """Someone else is writing there: trying again later helps."""


class EndpointError(UserError):
    """An embedding endpoint cannot be used, or answers nonsense."""


class LLMError(UserError):
    """The LLM endpoint cannot be used. `concerns_all`: nor could it for any other request (key, credit, address).
    `may_cost`: it has written, or may have, what was not taken.
    """

    def __init__(self, sentence: str, *, concerns_all: bool = False, may_cost: bool = False) -> None:
        super().__init__(sentence)
        self.concerns_all = concerns_all
        self.may_cost = may_cost


class LLMUnavailableError(LLMError):
    """The endpoint is unreachable, overloaded or stopped answering: trying again may help."""


class LLMRefusedError(LLMError):
    """The endpoint rejects us (wrong key, unknown model): trying again does not help."""


class BudgetSpentError(LLMError):
    """The next request could cost more than was allowed."""


class WeightsError(UserError):
    """Model weights are missing, truncated or not the ones expected."""


DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DISK_WORDS = (
    "no space left",  # the system's own, in the words of a library that wraps it, as safetensors does
    "disk is full",  # SQLite
    "pytorchstreamwriter failed",  # torch, which does not say why
    "inline_container.cc",  # torch again, as it closes what it could not write
)
_WORDS = (
    "out of memory",  # torch on a GPU
    "allocate memory",  # torch on a processor: "DefaultCPUAllocator: can't allocate memory"
    "could not create a primitive",  # oneDNN, which computes for torch on a processor
    "bad_alloc",  # C++ at large
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` came of a full memory, of the machine or of a GPU."""
    said = str(error).lower()
    known = any(word in said for word in _WORDS) and "descriptor" not in said  # oneDNN: an operation it does not have
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and known)


def outage(error: BaseException) -> str:
    """The sentence for an `error` that came of a full memory or a full disk, "" for every other one."""
    if is_out_of_memory(error):
        return "Memory is full. End other programs, or give fewer things at a time; what is done is kept."
    known = any(word in str(error).lower() for word in _DISK_WORDS)
    if known or (isinstance(error, OSError) and error.errno in DISK_ERRORS):
        return "The disk is full. Free some space and give the same command again; what is done is kept."
    return outage(error.__cause__) if error.__cause__ else ""
