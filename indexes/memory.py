"""Whether an error says that memory is full: each library has words of its own for it."""

from __future__ import annotations

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
