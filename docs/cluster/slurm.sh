#!/bin/bash
# A search on a SLURM allocation: one Ray node on each machine, the search's driver on the first.
#
#     sbatch docs/cluster/slurm.sh RUN_FILE.yaml
#
# Submit it again after a time limit or a fault: it goes on with the run. Submit it from a folder
# that all machines see. The study lives in the run folder, which is one job's at a time. Several
# jobs share a study in a database, each with a run folder of its own in runs/job-NUMBER:
#     export STUDY_URL=postgresql+psycopg://USER@HOST/DATABASE   (its password in ~/.pgpass)
# One that is submitted again takes part anew; to go on in the folder of an earlier one, with its
# checkpoints, say which:
#     export RUNS=runs/job-NUMBER
#
#SBATCH --job-name=hwnas
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=08:00:00
#SBATCH --signal=B:INT@120
##SBATCH --gpus-per-node=1

set -euo pipefail
config=${1:?give the run file: sbatch docs/cluster/slurm.sh RUN_FILE.yaml}
source "${HWNAS_VENV:-$HOME/hwnas}/bin/activate"

# A token for this job alone, readable by its owner alone. Other users of these machines can reach
# Ray's ports, and without it run code in your name.
umask 077
export RAY_AUTH_MODE=token
export RAY_AUTH_TOKEN_PATH="$PWD/.ray-token-$SLURM_JOB_ID"
python -c 'import secrets; print(secrets.token_hex(32), end="")' > "$RAY_AUTH_TOKEN_PATH"
nodes=()
search=
cleanup() {
    kill "${nodes[@]}" 2> /dev/null || true
    wait || true
    rm -f "$RAY_AUTH_TOKEN_PATH"
}
trap cleanup EXIT
trap '[ -z "$search" ] || kill -INT "$search"' INT  # SLURM's warning: finish, and save

mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head_address=$(getent ahostsv4 "${hosts[0]}" | awk 'NR == 1 { print $1 }')
# Ports and folders by the job's number, as other jobs may share the machines.
port=$((20000 + SLURM_JOB_ID % 20000))
gpus=${SLURM_GPUS_ON_NODE:-0}
options=(
    "--num-cpus=$SLURM_CPUS_PER_TASK" "--num-gpus=$gpus"
    --min-worker-port=0 --max-worker-port=0 --dashboard-agent-listen-port=0
    --disable-usage-stats --block
)

srun --nodes=1 --ntasks=1 --overlap -w "${hosts[0]}" \
    ray start --head --node-ip-address="$head_address" --port="$port" \
    --include-dashboard=false --temp-dir="/tmp/ray-$SLURM_JOB_ID" "${options[@]}" &
nodes+=($!)
for _ in $(seq 60); do
    (: < "/dev/tcp/$head_address/$port") 2> /dev/null && break
    sleep 1
done
for host in "${hosts[@]:1}"; do
    srun --nodes=1 --ntasks=1 --overlap -w "$host" \
        ray start --address="$head_address:$port" "${options[@]}" &
    nodes+=($!)
done
sleep 10

study=(--resume --runs "${RUNS:-runs}")
if [ -n "${STUDY_URL:-}" ]; then
    study=(--study-url "$STUDY_URL" --join --runs "${RUNS:-runs/job-$SLURM_JOB_ID}")
fi
nas search "$config" --ray "$head_address:$port" "${study[@]}" &
search=$!
status=0
wait "$search" || status=$?
# A signal ends the first wait; the search goes on until what runs is finished.
if kill -0 "$search" 2> /dev/null; then
    status=0
    wait "$search" || status=$?
fi
exit "$status"
