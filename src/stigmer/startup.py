"""The one failure of starting: `settings`, `store`, `server` and `app` raise it, `cli` alone prints it."""


class StartupError(Exception):
    """Why the server cannot start: one clear line saying what to do. Exit status 1."""
