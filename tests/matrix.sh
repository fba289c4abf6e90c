#!/usr/bin/env bash
# The tests on every supported Python that is on this machine, and on the oldest supported Falcon.
# In CI a missing Python is a failure; elsewhere it is skipped with a word.
set -euo pipefail
cd "$(dirname "$0")/.."

find_python() {
    local candidate
    for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python; do
        if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

# Links between processes know nothing of Falcon: the newest one is enough for them.
WITHOUT_FALCON=(backend_contract calls cluster lost_questions redis_outages seen topics)

run() { # python version, name, requirements
    local python venv=".venv-$2" ignored=()
    if [ $# -gt 2 ]; then
        ignored=("${WITHOUT_FALCON[@]/#/--ignore=tests/test_}")
        ignored=("${ignored[@]/%/.py}")
    fi
    if ! python=$(find_python "$1"); then
        echo "Python $1 is not on this machine: its tests are skipped"
        [ -z "${CI:-}" ] || exit 1
        return
    fi
    if [ ! -f "$venv/.ready" ] || [ pyproject.toml -nt "$venv/.ready" ]; then
        "$python" -m venv "$venv"
        "$venv/bin/python" -m pip install --quiet --editable '.[dev]' "${@:3}"
        touch "$venv/.ready"
    fi
    echo "== $("$venv/bin/python" --version), Falcon $("$venv/bin/python" -c 'import falcon; print(falcon.__version__)')"
    FEW_EXAMPLES=1 "$venv/bin/python" -m pytest -q -p no:cacheprovider -n 4 --dist worksteal "${ignored[@]}"
}

run 3.11 py3.11-falcon4.0 falcon==4.0.2
run 3.12 py3.12
run 3.13 py3.13
