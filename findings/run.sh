#!/usr/bin/env bash
# Runs the findings that are named, or all: findings/run.sh [NAME…]. Exits 1 if one no longer holds.
set -uo pipefail
cd "$(dirname "$0")"

names=("$@")
if [ $# -eq 0 ]; then
    for file in *.sh; do
        [ "$file" = run.sh ] || names+=("${file%.sh}")
    done
fi
changed=()
for name in "${names[@]}"; do
    echo "== $name"
    bash "${name%.sh}.sh" || changed+=("$name")
done
echo
if [ ${#changed[@]} -gt 0 ]; then
    echo "no longer as described: ${changed[*]}"
    exit 1
fi
echo "all ${#names[@]} as described"
