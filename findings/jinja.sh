#!/bin/sh
# @huggingface/jinja 0.5.11 prints, divides and multiplies unlike Python's Jinja2 3.1.6, which chat templates are written
# for. Needs the npm package in ./node_modules, and jinja2 of Python. Prints the templates whose texts differ.
set -eu
for template in '{{ true }}' '{{ none }}' '{{ [1, true, none] }}' "{{ {'a': 'b'} }}" '{{ -7 % 3 }}' "{{ 'x' * 3 }}" \
  '{{ 1e20 }}' '{{ 2.5 | round }}' '{{ 9007199254740993 }}' "{{ 'a' ~ true }}"; do
  python=$(python3 -c 'import jinja2, sys; print(jinja2.Template(sys.argv[1]).render())' "$template")
  javascript=$(node -e '
    const { Template } = require("@huggingface/jinja");
    try { console.log(new Template(process.argv[1]).render({})); } catch (error) { console.log("error: " + error.message); }
  ' "$template")
  [ "$python" = "$javascript" ] || printf '%-24s Jinja2: %-20s @huggingface/jinja: %s\n' "$template" "$python" "$javascript"
done
