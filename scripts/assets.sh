#!/bin/sh
# Builds what the portal and the PDF need beside the code: npm packages by the
# lock file, copied into the package, and the compiled translations.
set -eu
cd "$(dirname "$0")/.."

inputs=$(cat package.json package-lock.json scripts/assets.mjs $(find appliance -name '*.po' | sort) | sha256sum | cut -c1-16)
stamp=node_modules/.arhivar-$inputs
if [ ! -f "$stamp" ] || [ ! -d appliance/fonts ] || [ ! -d appliance/web/static/vendor ]; then
    printf '%s\n' "[assets] npm ci, then fonts, icons, scripts and translations"
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
    node scripts/assets.mjs
    for catalogue in $(find appliance -name '*.po'); do
        .venv/bin/pybabel -q compile -i "$catalogue" -o "${catalogue%.po}.mo"
    done
    touch "$stamp"
fi
