#!/bin/sh
# What a container of the lab is made of. The Dockerfile calls these steps and adds none of its own,
# so that scripts/clean-root.sh can run the same ones where there is no container engine.
#   container.sh system DEVICE   as root: Debian's packages, and the user `lab`
#   container.sh lab DEVICE      as lab: the environment from the locks, the model and the posts
#   container.sh start           as lab: JupyterLab on port 8888
set -eu
lab=$(cd "$(dirname "$0")/.." && pwd)
# Beside the lab, not in it: a devcontainer puts the reader's clone over that folder.
export VENV="${VENV:-/home/lab/venv}"
case ${1:-} in
system)
    # Triton, on a GPU, compiles a launcher at its first use.
    compiler=$([ "$2" = gpu ] && echo gcc libc6-dev python3-dev || true)
    apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends \
        ca-certificates git libnuma1 make python3 python3-venv $compiler
    rm -rf /var/lib/apt/lists/*
    useradd --create-home --uid 1000 --shell /bin/bash lab
    chown -R lab: "$lab"
    ;;
lab)
    PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1 make -C "$lab" setup DEVICE="$2"
    ;;
start)
    exec make -C "$lab" lab ARGS="--ip=0.0.0.0 --port=${PORT:-8888} --no-browser"
    ;;
*)
    echo "container.sh system|lab DEVICE, or container.sh start" >&2
    exit 2
    ;;
esac
