// Copies what the wheel carries from node_modules to the places where the
// appliance reads it. `npm ci --ignore-scripts` comes first; running this again
// changes nothing. Each target folder is made anew, so it holds just what this
// table says: nothing that an earlier version copied stays behind.

import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));

// The portal writes these into its pages, so that they follow the colour of the text.
const icons = [
  "archive-box", "arrow-down-tray", "arrow-path", "arrow-right-start-on-rectangle",
  "arrow-uturn-left", "bell", "book-open", "building-office", "check", "check-circle",
  "chevron-down", "chevron-left", "chevron-right", "clock", "code-bracket", "computer-desktop",
  "document-text", "exclamation-circle", "exclamation-triangle", "hand-raised", "inbox",
  "information-circle", "key", "language", "link", "lock-closed", "paper-clip", "question-mark-circle", "shield-check",
  "shield-exclamation", "user-circle", "users", "x-circle", "x-mark",
];

// [file in node_modules, name in the folder; its own name when left out]
const folders = {
  // One family for portal and PDF; "complete" has ș and ț with the comma below.
  "appliance/fonts": [
    ["@ibm/plex-sans/fonts/complete/woff2/IBMPlexSans-Regular.woff2"],
    ["@ibm/plex-sans/fonts/complete/woff2/IBMPlexSans-SemiBold.woff2"],
    ["@ibm/plex-sans/LICENSE.txt", "IBMPlexSans-LICENSE.txt"],
  ],
  // Two weights of the same family, cut by alphabet: Romanian needs the three Latin parts.
  "appliance/web/static/vendor": [
    ["htmx.org/dist/htmx.min.js"],
    ...["Regular", "SemiBold"].flatMap((weight) =>
      ["Latin1", "Latin2", "Latin3"].map((part) => [
        `@ibm/plex-sans/fonts/split/woff2/IBMPlexSans-${weight}-${part}.woff2`,
      ]),
    ),
    ...icons.map((name) => [`heroicons/20/solid/${name}.svg`, `icon-${name}.svg`]),
  ],
};

const source = (file) => join(root, "node_modules", ...file.split("/"));
const missing = Object.values(folders).flat().map(([file]) => file).filter((file) => !existsSync(source(file)));
if (missing.length > 0) {
  console.error(`assets: run \`npm ci --ignore-scripts\` first; missing: ${missing.join(", ")}`);
  process.exit(1);
}

const same = (target, files) =>
  existsSync(target) &&
  readdirSync(target).sort().join("\n") === files.map(([, name]) => name).sort().join("\n") &&
  files.every(([file, name]) => readFileSync(source(file)).equals(readFileSync(join(target, name))));

for (const [folder, entries] of Object.entries(folders)) {
  const target = join(root, ...folder.split("/"));
  const files = entries.map(([file, name]) => [file, name ?? basename(file)]);
  if (same(target, files)) {
    console.log(`assets: ${folder} is up to date`);
    continue;
  }
  rmSync(target, { recursive: true, force: true });
  mkdirSync(target, { recursive: true });
  for (const [file, name] of files) cpSync(source(file), join(target, name));
  console.log(`assets: ${folder}: ${files.length} files`);
}
