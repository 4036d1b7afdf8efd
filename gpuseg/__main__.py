"""`python -m gpuseg`."""

import sys

from gpuseg.cli import main

# Guarded: worker processes import the main module again.
if __name__ == "__main__":
    sys.exit(main())
