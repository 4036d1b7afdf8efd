#!/usr/bin/env bash
# Everything that a machine with an NVIDIA GPU can show, in under 8 minutes: the whole suite with
# the device required, compute-sanitizer on a small run, then the GPU benchmarks, which write
# benchmarks/results/gpu-<device>.json and .md. Needs CuPy, NumPy, numba, SciPy, scikit-image and
# pytest; builds and installs nothing; says which parts a missing package made it skip.
set -uo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
export GPUSEG_REQUIRE_GPU=1 GPUSEG_SKIP_MISSING=1
failed=0

"$python" - <<'PY' || exit 1
import sys
try:
    import cupy
    properties = cupy.cuda.runtime.getDeviceProperties(0)
except Exception as error:
    sys.exit(f"no CUDA device that CuPy can use: {error}")
print("device:", properties["name"].decode(), "| CuPy", cupy.__version__)
PY

say() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }
present() { "$python" -c "import importlib.util as u, sys; sys.exit(u.find_spec('$1') is None)"; }

for package in dask distributed dask_cuda cucim zarr imagecodecs openslide hypothesis; do
  present "$package" || echo "skipped: what needs $package (not installed)"
done

say "tests"
workers=()
present xdist && workers=(-n "${GPUSEG_TEST_WORKERS:-4}")
timeout 270 "$python" -m pytest -q -m "not emulator" "${workers[@]}" tests "$@" || failed=1

say "compute-sanitizer"
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck; do
    timeout 60 compute-sanitizer --tool "$tool" --error-exitcode 9 "$python" ci/sanitize.py || failed=1
  done
else
  echo "skipped: compute-sanitizer (not installed)"
fi

say "benchmarks"
timeout 150 "$python" -m benchmarks.gpu || failed=1

say "done, exit code $failed"
exit "$failed"
