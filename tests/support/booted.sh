# A machine with systemd as its first process, for tests/support/booted.rs: `bash -c SCRIPT booted ROOT BASE NETWORK GROUP PROGRAM`.
# What it mounts ends with it; what it writes stays in BASE, for its next boot.
set -euo pipefail
root=$1 base=$2 network=$3 group=$4 program=$5
mount --make-rprivate /
mkdir -p "$base/upper" "$base/work" "$base/root"
mount -t overlay overlay -o "lowerdir=$root,upperdir=$base/upper,workdir=$base/work" "$base/root"
# systemd wants a tree of control groups for itself.
mkdir "$group"
echo $$ >"$group/cgroup.procs"
export UNIFIED_CGROUP_HIERARCHY=yes
# Without the system calls that systemd-nspawn refuses to all in it (Landlock's among them): those of the units are tested.
export SYSTEMD_SECCOMP=0
# As on a machine of its own, container engines switch forwarding on.
export SYSTEMD_NSPAWN_API_VFS_WRITABLE=network
exec systemd-nspawn --quiet --register=no --keep-unit --resolv-conf=off --link-journal=no --hostname=machine \
    --network-namespace-path="$network" --capability=CAP_NET_ADMIN --bind-ro="$program:/usr/bin/callsign" --directory="$base/root" --boot
