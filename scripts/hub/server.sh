#!/bin/sh
# A learner's server on a JupyterHub (docs/hub.md): the first time it copies the lessons into the
# learner's folder (without solutions where the hub says so); then it starts JupyterLab, whose notebooks run in the lab's environment.
set -eu
[ -e lessons ] || "$BATCH_LAB_PYTHON" -m labkit lessons lessons ${BATCH_LAB_LESSONS:-}
"$BATCH_LAB_PYTHON" -m ipykernel install --user --name python3 --display-name "Python 3 (the lab)"
# That kernel, and not the one of JupyterLab's own environment, is `python3`.
export JUPYTER_PREFER_ENV_PATH=no
# No question about news when JupyterLab opens.
settings="$(cd "$(dirname "$0")/.." && pwd)/jupyter"
export JUPYTER_CONFIG_PATH="$settings${JUPYTER_CONFIG_PATH:+:$JUPYTER_CONFIG_PATH}"
exec jupyterhub-singleuser "$@"
