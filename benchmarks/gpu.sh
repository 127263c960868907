#!/usr/bin/env bash
# Measure on a GPU, in one call of at most 8 minutes, what only a GPU can tell.
#
#     benchmarks/gpu.sh [FOLDER] [--dry] [--install] [--budget SECONDS]
#
# Writes to FOLDER, or $OUT, or results/gpu. PYTHON names another interpreter.
# See benchmarks/README.md, "On a GPU".
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python3}" -m benchmarks.gpu "$@"
