#!/bin/sh
# Prints the path of a Python from 3.11 on, newest supported first; fails with advice when there is none.
# Candidates are run, not only looked up: a pyenv shim is found on the PATH and still fails for a version that is not active,
# and Debian's own Python may come without ensurepip (package python3-venv), so that it cannot make a virtual environment.
# `find_python.sh bare` accepts an interpreter that has pip but no ensurepip.
set -u
probe='import sys, ssl, sqlite3, venv, ensurepip'
[ "${1:-}" = bare ] && probe='import sys, ssl, sqlite3, pip'
probe="$probe
sys.version_info >= (3, 11) or sys.exit(1)
print(sys._base_executable)"

folders() {
    printf '%s\n' "$PATH" | tr ':' '\n'
    root=$(pyenv root 2>/dev/null) && ls -d "$root"/versions/*/bin 2>/dev/null
    printf '%s\n' /usr/local/bin /opt/homebrew/bin /usr/bin
}

[ -n "${PYTHON:-}" ] && "$PYTHON" -c "$probe" 2>/dev/null && exit 0
all=$(folders)
for name in python3.13 python3.12 python3.11 python3; do
    while read -r folder; do
        [ -x "$folder/$name" ] && "$folder/$name" -c "$probe" 2>/dev/null && exit 0
    done <<LIST
$all
LIST
done
echo "No Python from 3.11 on was found that can make a virtual environment. Install one, or name it: make setup PYTHON=/path/to/python3" >&2
exit 1
