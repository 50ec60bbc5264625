"""`python -m stigmer`: the same as the command `stigmer`."""

from stigmer.cli import main

main()
