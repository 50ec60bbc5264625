"""Where resources live: the contract of stores, transactions above it, and two backends: `sqlite` and `memory`."""
