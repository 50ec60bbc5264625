"""`python -m benchmarks.abuse`: attack a server on both loops and write ABUSE.md; see `run`."""

from benchmarks.abuse.run import main

if __name__ == "__main__":  # the worker processes import this module too
    main()
