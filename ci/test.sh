#!/usr/bin/env bash
# Runs the tests, as the README says. Needs `pip install ".[test]"`.
set -euo pipefail
cd "$(dirname "$0")/.."
pytest "$@"
