"""The backend that keeps everything in this process, and nothing when it ends."""

from stigmer.store.memory.store import MemoryStore
from stigmer.store.memory.tables import Tables

__all__ = ["MemoryStore", "Tables"]
