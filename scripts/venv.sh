#!/bin/sh
# Create .venv and fill it from requirements.lock, unless it is complete and current already.
# PYTHON=... chooses the interpreter.
set -eu
cd "$(dirname "$0")/.."
unset PYTHONHOME PYTHONPATH
export PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1

# Written last, so that its presence means complete. It holds the folder's path too: scripts in
# .venv/bin contain it, a moved .venv does not work.
stamp=.venv/facet.stamp
wanted() { pwd -P; cat requirements.lock; }

if [ ! -e .venv ]; then
    reason="it is missing"
elif [ ! -f "$stamp" ]; then
    reason="its installation was not completed"
elif ! wanted | cmp -s - "$stamp"; then
    reason="requirements.lock or the folder changed"
else
    exit 0
fi

# A .venv that is active must not rebuild itself.
PATH=$(printf '%s\n' "$PATH" | tr ':' '\n' | grep -vxF "$(pwd)/.venv/bin" | paste -s -d : -)
python=
for candidate in ${PYTHON:+"$PYTHON"} python3.12 python3.11 python3; do
    if "$candidate" -c 'import ensurepip, sys, venv
sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "facet: expected Python 3.11 or 3.12 with its venv module as python3.12, python3.11 or" >&2
    echo "python3; found none. Install one (Debian: apt-get install python3-venv) or name it:" >&2
    echo "PYTHON=/path/to/python3.11 make venv" >&2
    exit 1
fi

count=$(grep -c '==' requirements.lock)
echo "Creating .venv, as $reason: $("$python" -V) and $count packages from requirements.lock."
echo "On Linux that is up to 7 GB, most of it torch with CUDA, and 11 GB while it installs; it takes"
echo "some minutes."
if [ -t 1 ]; then quiet=; else quiet=--quiet; fi
"$python" -m venv --clear .venv
if ! .venv/bin/python -m pip install $quiet -r requirements.lock; then
    echo "facet: the packages could not be installed; pip says why above. Free disk space:" >&2
    df -hP . "${TMPDIR:-/tmp}" | awk 'NR > 1 { print "  " $4 " on " $NF }' | sort -u >&2
    exit 1
fi
.venv/bin/python -m pip install --quiet --no-deps --no-build-isolation -e .
wanted >"$stamp.tmp"
mv "$stamp.tmp" "$stamp"
echo "Done. To use it in this shell: . .venv/bin/activate"
