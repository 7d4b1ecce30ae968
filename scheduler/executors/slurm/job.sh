#!/bin/sh
# $1: Python; $5: where this project is; $6: the folder of orders; $7: the array's token.
lacks() {
    printf '{"node": "%s", "why": "%s"}' "$SLURMD_NODENAME" "$2" >"$1.new" && mv "$1.new" "$1"
    exit 0
}
said="$6/$7.${SLURM_ARRAY_TASK_ID:-0}.unfit"
[ -x "$1" ] || lacks "$said" "the Python of the dispatcher is not there"
[ -r "$5/scheduler/executors/slurm/job.py" ] || lacks "$said" "the folder of this project is not there"
exec "$@"
