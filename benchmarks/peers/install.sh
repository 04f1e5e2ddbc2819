#!/usr/bin/env bash
# Installs every peer of versions.txt into benchmarks/out/peers/NAME, each in an environment of its own.
# Idempotent: a peer whose stamp holds the pinned version is left alone. A peer that cannot be installed is
# reported with its client's own words and does not stop the others. Needs python3 (3.11 or newer) and npm.
set -uo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
out="$here/../out/peers"
python="${PYTHON:-python3.11}"
failed=0
mkdir -p "$out"

install_pypi() { # package version directory
    rm -rf "$3"
    "$python" -m venv "$3" &&
        "$3/bin/python" -m pip install --quiet --disable-pip-version-check "$1==$2"
}

install_npm() { # package version directory
    rm -rf "$3"
    mkdir -p "$3"
    # peers/NAME.json holds overrides of a package's own dependencies, with the reason.
    if [ -f "$here/$(basename "$3").json" ]; then cp "$here/$(basename "$3").json" "$3/package.json"; fi
    # No scripts: an install step of a package may run nothing on the machine that measures.
    npm install --prefix "$3" --no-audit --no-fund --ignore-scripts --loglevel=error "$1@$2"
}

while read -r registry package version; do
    case "$registry" in "" | "#"*) continue ;; esac
    name="${package%%[*}"
    name="${name#@}"
    name="${name%%-ai/gateway}"
    directory="$out/$name"
    if [ "$(cat "$directory/installed" 2>/dev/null)" = "$package $version" ]; then
        echo "$name $version is installed"
        continue
    fi
    echo "installing $package $version from $registry"
    if "install_$registry" "$package" "$version" "$directory" >"$out/$name.log" 2>&1 </dev/null; then
        echo "$package $version" >"$directory/installed"
    else
        echo "$name $version could not be installed; the client said:" >&2
        tail -n 5 "$out/$name.log" >&2
        failed=1
    fi
done <"$here/versions.txt"
exit "$failed"
