"""``python -m benchmarks.gpu``; see :mod:`benchmarks.gpu.runner`."""

import sys

from benchmarks.gpu.runner import main

sys.exit(main())
