"""`python -m torana` is `torana`."""

import sys

from torana.cli import main

if __name__ == "__main__":
    sys.exit(main())
