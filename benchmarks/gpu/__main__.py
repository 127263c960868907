"""``python -m benchmarks.gpu``; see :mod:`benchmarks.gpu.runner`."""

import signal
import sys

from benchmarks.gpu.runner import main

if __name__ == "__main__":
    # As by Ctrl-C, the part that runs is stopped, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
