#!/bin/sh
# Builds what the portal and the PDF need beside the code: npm packages by the
# lock file, copied into the package.
set -eu
cd "$(dirname "$0")/.."

inputs=$(cat package.json package-lock.json scripts/assets.mjs | sha256sum | cut -c1-16)
stamp=node_modules/.arhivar-$inputs
if [ ! -f "$stamp" ] || [ ! -d appliance/fonts ] || [ ! -d appliance/web/static/vendor ]; then
    printf '%s\n' "[assets] npm ci, then fonts, icons and scripts"
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
    node scripts/assets.mjs
    touch "$stamp"
fi
