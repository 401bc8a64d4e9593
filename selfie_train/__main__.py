"""`python -m selfie_train` (and torchrun -m selfie_train) is the command `selfie-train`."""

import sys

from selfie_train.start import main

if __name__ == "__main__":
    sys.exit(main())
