#!/usr/bin/env bash
# Sets everything up in .venv and then runs the demo or all checks; quick when called again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
    echo "usage: bash setup.sh demo [--headless] [-o DIR]   set up, then run the demo on the included clip"
    echo "       bash setup.sh test                         set up, then run every check"
}

say() { printf '\n== %s\n' "$*"; }

stop() {
    printf '\nsetup.sh: %s\n' "$*" >&2
    exit 1
}

qt_packages=(
    libdbus-1-3 libegl1 libfontconfig1 libgl1 libgl1-mesa-dri libglib2.0-0 libxcb-cursor0 libxcb-icccm4 libxcb-image0
    libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0 libxcb-sync1 libxcb-xfixes0 libxcb-xkb1
    libxkbcommon-x11-0
)

has_package() {
    # Newer Debian and Ubuntu releases renamed some libraries to NAMEt64.
    local name
    for name in "$1" "$1t64"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] && return 0
    done
    return 1
}

# Installs Debian packages as root; otherwise says which are missing and returns 1.
need_packages() {
    command -v dpkg-query >/dev/null || return 0
    local name missing=()
    for name in "$@"; do has_package "$name" || missing+=("$name"); done
    [ "${#missing[@]}" -eq 0 ] && return 0
    if [ "$(id -u)" -ne 0 ]; then
        printf '\nsetup.sh: these packages are missing; install them with\n    sudo apt-get install %s\n' "${missing[*]}" >&2
        return 1
    fi
    say "Installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.11 /usr/bin/python3.11 python3.12 python3.13 python3 /usr/bin/python3; do
        [ -n "$candidate" ] || continue
        if "$candidate" -c 'import sys, ensurepip, venv; assert sys.version_info >= (3, 11)' >/dev/null 2>&1; then
            echo "$candidate"
            return 0
        fi
    done
    return 1
}

make_venv() {
    if [ -x .venv/bin/python ] && .venv/bin/python -c 'import pip' 2>/dev/null; then return 0; fi
    local python
    if ! python=$(find_python); then
        need_packages python3-venv || stop "Python 3.11 or newer with its venv module is needed."
        python=$(find_python) || stop "Python 3.11 or newer with its venv module is needed; set PYTHON to its path."
    fi
    say "Making .venv with $("$python" --version)"
    rm -rf .venv
    "$python" -m venv .venv
}

install_package() {
    local stamp=".venv/installed-$1" sum
    sum=$(cat pyproject.toml setup.sh | cksum)
    [ "$(cat "$stamp" 2>/dev/null)" = "$sum" ] && return 0
    say "Installing napari-appearrefine[$1] into .venv"
    .venv/bin/python -m pip install -q --disable-pip-version-check -e ".[$1]"
    echo "$sum" >"$stamp"
}

demo() {
    # Without a display the demo writes files and needs no Qt.
    if [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
        need_packages "${qt_packages[@]}" || echo "Going on; without them the demo writes files instead of opening napari." >&2
    fi
    make_venv
    install_package all
    say "Demo"
    .venv/bin/napari-appearrefine demo "$@"
}

check_wheel() {
    local work
    work=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "rm -rf '$work'" EXIT
    say "Building the wheel and running its demo in an empty environment"
    .venv/bin/python -m build --wheel --no-isolation --outdir "$work" . >"$work/build.log" 2>&1 || { cat "$work/build.log"; return 1; }
    .venv/bin/python -m venv "$work/env"
    "$work/env/bin/python" -m pip install -q --disable-pip-version-check --no-compile "$work"/*.whl
    (cd "$work" && env -u DISPLAY -u WAYLAND_DISPLAY "$work/env/bin/napari-appearrefine" demo --headless -o "$work/demo")
    local file
    for file in overlay.png report.json; do
        [ -s "$work/demo/$file" ] || stop "the demo of the wheel wrote no $file"
    done
}

check() {
    need_packages xvfb xauth "${qt_packages[@]}" || stop "the tests need them."
    make_venv
    install_package test
    say "Lint"
    .venv/bin/ruff check .
    .venv/bin/ruff format --check .
    say "Types"
    .venv/bin/mypy
    check_wheel
    say "Tests"
    # QT_QPA_PLATFORM must not be set: napari's canvas needs the X server that pytest-xvfb starts.
    env -u QT_QPA_PLATFORM .venv/bin/python -m pytest
}

command=${1:-}
[ $# -gt 0 ] && shift
case "$command" in
    demo) demo "$@" ;;
    test) check "$@" ;;
    -h | --help) usage ;;
    *)
        usage >&2
        exit 2
        ;;
esac
