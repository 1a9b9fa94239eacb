# Sourced by scripts/run, scripts/test and scripts/bench:   . "$(dirname "$0")/setup.sh"; set_up EXTRA
# Makes .venv in the repository root with the project (editable) and the dependencies of that extra, at the versions of
# scripts/constraints.txt. Needs Python >= 3.11 with pip, nothing else. Does nothing, without network, when all is in place.
# Afterwards the working directory is the root and $python the environment's interpreter.

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$root"
python="$root/.venv/bin/python"

# What a user's own settings could break: a --user default, a path of other packages, a home directory that cannot be written;
# and what they could make slow: every process would compile the source of torch and Numba anew.
unset PYTHONHOME PYTHONPATH PYTHONDONTWRITEBYTECODE
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore PIP_USER=0 PYTHONNOUSERSITE=1
export MPLCONFIGDIR="${MPLCONFIGDIR:-$root/.venv/matplotlib}"

say() { printf 'set-up: %s\n' "$*" >&2; }

suits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' 2>/dev/null; }

can_install() { "$1" -c 'import ensurepip, venv' 2>/dev/null || "$1" -c 'import pip, venv' 2>/dev/null; }

# The first interpreter that will do: $PYTHON if it is set, else every usual name in every directory of PATH.
find_python() {
    local candidate
    while IFS= read -r candidate; do
        if suits "$candidate" && can_install "$candidate"; then printf '%s\n' "$candidate"; return; fi
    done < <(type -ap ${PYTHON:+"$PYTHON"} python3 python python3.14 python3.13 python3.12 python3.11 || true)
    say "no Python 3.11 to 3.14 with pip found; python3 here is: $(python3 --version 2>&1 || true)"
    say "install one, or name it:  PYTHON=/path/to/python3.12 $0"
    return 1
}

make_environment() {
    local base
    base=$(find_python) || return 1
    say "making .venv with $("$base" --version)"
    rm -rf .venv
    if "$base" -c 'import ensurepip' 2>/dev/null; then
        "$base" -m venv .venv
    else    # Debian ships ensurepip apart from Python; a pip of one's own can fill an environment too
        "$base" -m venv --without-pip .venv && "$base" -m pip --python "$python" install --quiet pip
    fi
}

# What the environment was made from: when any of it changes, the next run installs again.
fingerprint() {
    { printf '%s\n' "$root" "$1"; "$python" -c 'import sys; print(sys.version)'; cat pyproject.toml scripts/constraints.txt; } | cksum
}

is_ready() { [ "$(fingerprint "$1")" = "$(cat ".venv/ready-$1" 2>/dev/null)" ]; }

install() {
    local extra=$1 bar=off
    if [ -t 2 ]; then bar=on; fi
    say "installing what '$extra' needs (once; one to four minutes)"
    "$python" -m pip install --progress-bar "$bar" --no-compile --constraint scripts/constraints.txt --editable ".[$extra]" >&2 || return 1
    fingerprint "$extra" >".venv/ready-$extra"
    say "'$extra' is ready after $SECONDS s"
}

set_up() {
    # One set-up at a time, where the system can lock: two scripts started together must not fill the same directory.
    exec 9<"$root/scripts/setup.sh"
    if command -v flock >/dev/null; then flock 9; fi
    suits "$python" || make_environment || exit 1
    is_ready "$1" || install "$1" || {
        say "installing failed, see above. Is the package index reachable? Run this again to go on; delete .venv to start over."
        exit 1
    }
    exec 9<&-
}
