#!/usr/bin/env bash
# Style, types and import contracts. Needs `pip install ".[check]"`.
set -euo pipefail
cd "$(dirname "$0")/.."
ruff check .
ruff format --check .
mypy
lint-imports
