"""Where resources live: the contract in `base`, transactions above it, SQLite below it."""
