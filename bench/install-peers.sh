#!/bin/bash
# Install what fedq is measured against into a virtual environment: the newest PyTorch, Flower with its simulation
# engine, and ONNX Runtime. Nothing of fedq needs them; bench/run.sh measures beside those that it finds.
#
#   bench/install-peers.sh          into $FEDQ_PEERS, or bench/.venv: about 6 GB, most of it PyTorch's libraries
#
# A peer that cannot be installed is left out with a message; PyTorch must succeed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
peers=${FEDQ_PEERS:-$here/.venv}
python=${PYTHON:-python3}

[ -x "$peers/bin/python" ] || "$python" -m venv "$peers"
install() { "$peers/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check --upgrade "$@"; }
install pip
install numpy torch
for peer in 'flwr[simulation]' onnxruntime; do
    install "$peer" || echo "install-peers: $peer cannot be installed here and will be left out" >&2
done
"$peers/bin/python" "$here/peers/versions.py"
