#!/usr/bin/env bash
# Style, types and import contracts. Needs `pip install ".[check]"`; with the extra `docs` as well the
# documentation is built, in a few seconds.
set -euo pipefail
cd "$(dirname "$0")/.."
ruff check .
ruff format --check .
mypy
lint-imports
if command -v mkdocs >/dev/null; then
  site="$(mktemp -d)"
  trap 'rm -rf "$site"' EXIT
  bash ci/docs.sh "$site"
else
  echo 'documentation not built: pip install ".[docs]"'
fi
