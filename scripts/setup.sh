#!/bin/sh
# Brings a Debian 12 or 13 to where `make demo` (argument: run), `make test`
# (argument: test) or `make bench` (argument: bench) can work, and says what it
# does. A second run finds everything in place and takes a second.
set -eu
cd "$(dirname "$0")/.."
purpose=${1:-run}
peers=""
if [ "$purpose" = bench ]; then
    # What the drive is measured beside, and what measures it.
    peers="apache2-bin nginx libnginx-mod-http-dav-ext python3-cheroot nghttp2-client"
    purpose=test
fi

say() { printf '%s\n' "[setup] $*"; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else say "these need root: $*  (run as root or install sudo)"; exit 1
    fi
}

missing_packages() {
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || printf '%s ' "$package"
    done
}

# 1 System packages: Pango and HarfBuzz for WeasyPrint; browser and drive clients for the tests.
packages="libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0"
find_python() {
    for name in python3 python3.13 python3.12 python3.11; do
        if command -v "$name" >/dev/null &&
            "$name" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null
        then command -v "$name"; return; fi
    done
}
[ -n "$(find_python)" ] || packages="$packages python3 python3-venv"
command -v npm >/dev/null || packages="$packages nodejs npm"
if [ "$purpose" = test ]; then
    # libatomic1: the browser driver's own Node needs it.
    packages="$packages git chromium libatomic1 rclone cadaver curl poppler-utils qpdf strace libfaketime"
fi
packages="$packages $peers"
# shellcheck disable=SC2086  # a list of words is meant
missing=$(missing_packages $packages)
if [ -n "$missing" ]; then
    command -v apt-get >/dev/null || { say "install by hand, there is no apt-get here: $missing"; exit 1; }
    say "installing system packages: $missing"
    as_root apt-get update -qq
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

# 2 Python packages, each checked against the hash in the lock file.
lock=requirements.lock
[ "$purpose" = test ] && lock=requirements-dev.lock
[ -f .venv/locked-dev ] && lock=requirements-dev.lock  # never take test tools away again
stamp=.venv/$(sha256sum "$lock" | cut -c1-16).installed
if [ ! -f "$stamp" ]; then
    python=$(find_python)
    [ -n "$python" ] || { say "Python 3.11, 3.12 or 3.13 with venv is needed"; exit 1; }
    say "creating .venv with $("$python" --version) and installing $lock"
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    # --no-deps: the lock is whole, and pip 23 loses the hash of a package that another asks for with an extra.
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r "$lock"
    .venv/bin/python -m pip check --disable-pip-version-check
    site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    pwd > "$site/arhivar-checkout.pth"
    [ "$lock" = requirements-dev.lock ] && touch .venv/locked-dev
    touch "$stamp"
fi

# The guard: the processes that make PDFs import this file again, and must not start a second sync.
printf '#!%s\nimport sys\nfrom appliance.cli import main\nif __name__ == "__main__":\n    sys.exit(main())\n' \
    "$PWD/.venv/bin/python" > .venv/bin/arhivar.new
chmod 755 .venv/bin/arhivar.new
mv .venv/bin/arhivar.new .venv/bin/arhivar

# 3 Fonts, icons and htmx from the npm lock file.
sh scripts/assets.sh

if [ "$purpose" = test ]; then say "ready to test"; else say "ready"; fi
