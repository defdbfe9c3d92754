#!/bin/sh
# Print the Python that the environment is built with: $PYTHON if it is set; else that of an
# environment which is already there, else the first 3.11 or 3.12 on PATH. A name on PATH proves
# nothing (pyenv's shims are there for versions that aren't), so each candidate is run.
if [ -n "${PYTHON:-}" ]; then
    set -- "$PYTHON"
else
    set -- "${VENV:-.venv}/bin/python" python3.11 python3.12 python3 python
fi
tried=
for candidate in "$@"; do
    version=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
    case $version in
    3.11 | 3.12)
        echo "$candidate"
        exit 0
        ;;
    esac
    tried="$tried $candidate (${version:-does not run}),"
done
echo "No Python 3.11 or 3.12. Tried:${tried%,}." >&2
echo "Install one (Debian, Ubuntu: apt-get install python3 python3-venv; or conda, see environment.yml)" >&2
echo "or name yours: make setup PYTHON=python3.12" >&2
exit 1
