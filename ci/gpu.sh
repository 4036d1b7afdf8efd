#!/usr/bin/env bash
# Everything that a machine with an NVIDIA GPU can show, in under 8 minutes: the tests that need the
# device, the GPU benchmarks (benchmarks/results/gpu-<device>.json and .md), compute-sanitizer on a
# small run, and the rest of the suite. Builds and installs nothing; says which parts a missing
# package made it skip. Needs CuPy, NumPy, numba, SciPy, scikit-image, tifffile, array-api-compat and
# pytest. What is missing on a machine without a network can be carried there in the folder
# `.packages` of this checkout: `pip install --no-deps --target .packages array-api-compat dask ...`
set -uo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"
export PYTHONPATH="$PWD:$PWD/.packages${PYTHONPATH:+:$PYTHONPATH}"
export GPUSEG_REQUIRE_GPU=1 GPUSEG_SKIP_MISSING=1
CUPY_CACHE_DIR="$(mktemp -d)"
export CUPY_CACHE_DIR
trap 'rm -rf "$CUPY_CACHE_DIR"' EXIT
failed=0

"$python" - <<'PY' || exit 1
import importlib.util
import sys

needed = "numpy numba scipy skimage tifffile array_api_compat pytest cupy".split()
missing = [name for name in needed if importlib.util.find_spec(name) is None]
if missing:
    sys.exit(f"not installed, and nothing runs without: {', '.join(missing)}")
try:
    import cupy

    properties = cupy.cuda.runtime.getDeviceProperties(0)
except Exception as error:
    sys.exit(f"no CUDA device that CuPy can use: {error}")
print("device:", properties["name"].decode(), "| CuPy", cupy.__version__)
PY

missing=""
for name in dask distributed dask_cuda cucim zarr imagecodecs openslide pyarrow hypothesis; do
  "$python" -c "import importlib.util as u, sys; sys.exit(u.find_spec('$name') is None)" ||
    missing+=" $name"
done
[ -z "$missing" ] || echo "skipped: what needs$missing (not installed)"

# Run a part for so many seconds at most; the others go on whatever comes of it.
part() {
  local limit="$1" name="$2" code=0
  shift 2
  printf '\n== %s (%ss)\n' "$name" "$SECONDS"
  timeout "$limit" "$@" || code=$?
  [ "$code" = 124 ] && echo "not finished within $limit s: $name"
  [ "$code" = 0 ] || failed=1
}

tests=("$python" -m pytest -q -p no:cacheprovider)
if "$python" -c "import xdist" 2>/dev/null; then
  tests+=(-n "${GPUSEG_TEST_WORKERS:-4}")
fi

part 150 "tests on the device" "${tests[@]}" -m gpu tests
part 130 "benchmarks" "$python" -m benchmarks.gpu
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck; do
    part 40 "compute-sanitizer $tool" \
      compute-sanitizer --tool "$tool" --error-exitcode 9 "$python" ci/sanitize.py
  done
else
  echo "skipped: compute-sanitizer (not installed)"
fi
# Without decoders and Dask most of the suite would only say so.
case "$missing" in
  *dask\ * | *distributed* | *zarr* | *imagecodecs* | *pyarrow*)
    mapfile -t files < <(grep -lw xp tests/test_*.py)
    part 100 "the same tests on the CPU" "${tests[@]}" -m "not gpu and not emulator" "${files[@]}"
    echo "skipped: the rest of the suite, which needs$missing"
    ;;
  *) part 100 "the rest of the suite" "${tests[@]}" -m "not gpu and not emulator" tests ;;
esac

printf '\n== done after %ss, exit code %s\n' "$SECONDS" "$failed"
exit "$failed"
