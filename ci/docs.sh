#!/usr/bin/env bash
# Builds the documentation; a broken link or reference is an error. Needs `pip install ".[docs]"`.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdocs build --strict --site-dir "${1:-docs/_build}"
