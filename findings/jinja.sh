#!/usr/bin/env bash
# @huggingface/jinja 0.5.11, with which JavaScript renders the chat templates of checkpoints, prints and computes unlike
# Python's Jinja2, for which they are written: a template can render another prompt without any error.
#
# Seen with Node.js 20.20 (left) and, beside it, with Jinja2 3.1.6 on Python 3.11:
#   {{ true }}               true         True
#   {{ none }}               (empty)      None
#   {{ -7 % 3 }}             -1           2
#   {{ 'a' ~ true }}         atrue        aTrue
#   {{ [1, true, none] }}    [1, true, null]  [1, True, None]
# Exits with 1 if the library's output is another one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --no-save --no-audit --no-fund --loglevel=error @huggingface/jinja@0.5.11 >/dev/null
cat >run.mjs <<'JS'
import { Template } from "@huggingface/jinja";
const python = { "{{ true }}": "True", "{{ none }}": "None", "{{ -7 % 3 }}": "2", "{{ 'a' ~ true }}": "aTrue", "{{ [1, true, none] }}": "[1, True, None]" };
const seen = { "{{ true }}": "true", "{{ none }}": "", "{{ -7 % 3 }}": "-1", "{{ 'a' ~ true }}": "atrue", "{{ [1, true, none] }}": "[1, true, null]" };
let changed = 0;
for (const [template, expected] of Object.entries(seen)) {
  const text = new Template(template).render({});
  console.log(`${template.padEnd(24)} @huggingface/jinja: ${text.padEnd(16)} Jinja2: ${python[template]}`);
  if (text !== expected) changed++;
}
process.exit(changed ? 1 : 0);
JS
node run.mjs
