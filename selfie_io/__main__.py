"""`python -m selfie_io` is the command `selfie-convert`."""

import sys

from selfie_io.start import main

if __name__ == "__main__":
    sys.exit(main())
