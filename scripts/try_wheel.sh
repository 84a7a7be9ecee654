#!/usr/bin/env bash
# Build the wheel, install it into an empty environment, and run the demo in a folder without a checkout.
#   scripts/try_wheel.sh PYTHON
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

rm -rf "$root/build"
"$python" -m pip wheel -q --no-deps --wheel-dir "$place" "$root"
"$python" -m venv "$place/venv"
"$place/venv/bin/python" -m pip install -q -c "$root/constraints.txt" "$(echo "$place"/inarch-*.whl)[demo]"
mkdir "$place/elsewhere"
cd "$place/elsewhere"
"$place/venv/bin/inarch" demo classify --quick
"$place/venv/bin/python" -c 'import inarch, sys; assert "site-packages" in inarch.__file__, inarch.__file__'
