"""`python -m benchmarks`: see `run`."""

from benchmarks.run import main

if __name__ == "__main__":  # the worker processes import this module too
    main()
