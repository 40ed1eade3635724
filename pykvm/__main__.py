"""The command ``pykvm``, and ``python -m pykvm``."""

import gc
import sys

gc.disable()  # all that is loaded now stays, and is never searched for garbage
from pykvm.cli.main import main  # noqa: E402

gc.freeze()
gc.enable()

if __name__ == "__main__":
    sys.exit(main())
