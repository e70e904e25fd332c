#!/usr/bin/env bash
# A Slurm of one node on this machine, all of it below one folder, beside any other Slurm there may be:
#     single_node.sh start FOLDER     then: export SLURM_CONF=FOLDER/slurm.conf
#     single_node.sh stop FOLDER
# Where Slurm is not installed and this runs as root on Debian or its like, it installs slurm-wlm and munge.
# Exit status 77: impossible here, and why is the last line said.
set -euo pipefail

export PATH=$PATH:/usr/sbin:/sbin
unset "${!SLURM_@}" "${!SBATCH_@}"
folder=$2

impossible() {
    echo "$*"
    exit 77
}

installed() {
    type munged slurmctld slurmd sbatch > /dev/null 2>&1
}

install() {
    [ "$(id -u)" = 0 ] || impossible "Slurm is not installed, and only root can: apt-get install slurm-wlm munge"
    type apt-get > /dev/null 2>&1 || impossible "Slurm is not installed, and there is no apt-get to install it with"
    export DEBIAN_FRONTEND=noninteractive
    apt="flock /var/lock/xh2cm-apt apt-get -q -y -o DPkg::Lock::Timeout=120 -o Acquire::Retries=2" # one test at a time
    $apt update || impossible "Slurm is not installed, and the packages of this system cannot be listed"
    $apt install --no-install-recommends slurm-wlm munge ||
        impossible "Slurm is not installed, and slurm-wlm and munge cannot be"
}

running() { # a zombie is not
    { read -r _ _ state _ < "/proc/$1/stat"; } 2> /dev/null && [ "$state" != Z ]
}

stop() {
    export SLURM_CONF=$folder/slurm.conf
    [ -e "$SLURM_CONF" ] || return 0 # it was not started
    scancel --quiet --user="$(id -un)" || true # jobs outlive the daemons
    for _ in $(seq 100); do
        [ -z "$(squeue --noheader 2> /dev/null)" ] && break
        sleep 0.2
    done
    for daemon in slurmd slurmctld munged; do
        pid=$(cat "$folder/$daemon.pid" 2> /dev/null) || continue
        kill "$pid" 2> /dev/null || true
        for _ in $(seq 100); do
            running "$pid" || continue 2
            sleep 0.1
        done
        kill -KILL "$pid" 2> /dev/null || true
    done
}

free_port() {
    while port=$((20000 + RANDOM % 10000)) && (: < "/dev/tcp/127.0.0.1/$port") 2> /dev/null; do :; done
    echo "$port"
}

start() {
    installed || install
    mkdir -p "$folder"/{state,spool}
    chmod 755 "$folder" # munged refuses a folder that others may write to
    folder=$(cd "$folder" && pwd)
    node=$(hostname -s)
    (umask 077 && head -c 1024 /dev/urandom > "$folder/munge.key")
    # A job that is requeued waits for cred_expire seconds, 120 if not given
    cat > "$folder/slurm.conf" << EOF
ClusterName=single
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket,cred_expire=10
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
KillWait=5
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MailProg=/bin/true
SlurmdParameters=config_overrides
NodeName=$node NodeAddr=127.0.0.1 CPUs=2 RealMemory=8000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
EOF
    export SLURM_CONF=$folder/slurm.conf
    munged --key-file="$folder/munge.key" --socket="$folder/munge.socket" --seed-file="$folder/munge.seed" \
        --pid-file="$folder/munged.pid" --log-file="$folder/munged.log"
    slurmctld
    slurmd
    for _ in $(seq 60); do
        [ "$(sinfo --noheader --format %T 2> /dev/null)" = idle ] && return
        sleep 1
    done
    tail -n 20 "$folder"/*.log
    echo "Slurm does not come up"
    return 1
}

"$1"
