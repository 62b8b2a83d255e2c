"""Files for clusters: a recipe as a Slurm batch script or a SkyPilot task. Light.

Each runs one command on each machine, `luthier train RECIPE`, with torchrun's own variables around it (trainer.placement): the machines
meet at the first one's address. What only the user knows, the account or the cloud, stands at the top.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from jobs.errors import LuthierError
from jobs.spec import slug
from trainer.recipe import Recipe

Kind = Literal["slurm", "skypilot"]

_SLURM = """\
#!/bin/bash
# {name}: {recipe} on {machines} x {gpus}. Fill in account and partition, then: sbatch FILE
#SBATCH --account=FILL_IN
#SBATCH --partition=FILL_IN
#SBATCH --job-name={name}
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node={gpus_number}
#SBATCH --cpus-per-task={cores}
#SBATCH --time=24:00:00
#SBATCH --output={name}-%j.log
#SBATCH --signal=B:TERM@300
# Five minutes before the time is over, and at `scancel --signal=TERM --batch`, the run saves a checkpoint and stops. `sbatch FILE` with
# RESUME=ID (the run's id, in the log) goes on from it.
set -euo pipefail

export PET_NNODES="$SLURM_NNODES"
export PET_MASTER_ADDR="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"
export PET_MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
LUTHIER_HOME="${{LUTHIER_HOME:-{home}}}"
export LUTHIER_HOME RESUME="${{RESUME:-}}"

# Each machine has a home of its own beside the first one's, which is yours: there the run and its result are found.
machine='export PET_NODE_RANK="$SLURM_NODEID"
[ "$SLURM_NODEID" = 0 ] || LUTHIER_HOME="$LUTHIER_HOME/machines/$SLURM_JOB_ID-$SLURM_NODEID"
luthier() {{ {python} -P -m tui.cli "$@"; }}'
run="$machine"'
if [ -n "$RESUME" ] && [ "$SLURM_NODEID" = 0 ]; then luthier resume "$RESUME"; job="$RESUME"; else job="$(luthier train {path})"; fi
luthier log --follow "$job"'
stop="$machine"'
luthier stop {name}'

trap 'srun --overlap --ntasks-per-node=1 bash -c "$stop"' TERM
srun --kill-on-bad-exit=0 bash -c "$run" &
while kill -0 $! 2>/dev/null; do wait $! && exit 0 || code=$?; done
exit "$code"
"""
