"""``python -m benchmarks.gpu``; see :mod:`benchmarks.gpu.runner`."""

import signal
import sys

from benchmarks.gpu.runner import main

if __name__ == "__main__":
    # Like Ctrl-C, a termination also stops the part that runs.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
