"""What every call passes: the server's own in `built_in`, within them those that a host adds, each an `Interceptor`.

The deadline counts within the built-in ones.
"""

from stigmer.edge.interceptors.base import Interceptor, StreamNext, UnaryNext

__all__ = ["Interceptor", "StreamNext", "UnaryNext"]
