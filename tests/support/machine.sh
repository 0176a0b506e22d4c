# The first process of a machine of tests/support/machine.rs: `bash -c SCRIPT machine BASE PROGRAM NETAVARK`, in mount, process,
# UTS and IPC namespaces of its own, and in the network namespace of a lab's host. All that it mounts is gone when it ends.
set -euo pipefail
base=$1 program=$2 netavark=$3

# Nothing comes back to the machine that the tests run on, and mounts in here reach the containers, as on any host.
mount --make-rprivate /
mount --make-rshared /

# A place that no system hides. The programs first: they may be anywhere, also where an unprivileged user may not go.
mount -t tmpfs -o mode=755 tmpfs "$base"
mkdir "$base/bin" "$base/image" "$base/storage" "$base/home"
touch "$base/bin/callsign" "$base/bin/netavark"
mount --bind "$program" "$base/bin/callsign"
mount --bind "$netavark" "$base/bin/netavark"
ln -s callsign "$base/bin/aardvark-dns"

# Its own /run (no systemd, no resolver of the real machine), /etc and /dev.
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -m 755 /run/dev /run/dev/net /run/dev/pts
mkdir -m 1777 /run/dev/shm
cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /run/dev
mknod -m 666 /run/dev/net/tun c 10 200
ln -s pts/ptmx /run/dev/ptmx
ln -s /proc/self/fd /run/dev/fd
ln -s fd/0 /run/dev/stdin
ln -s fd/1 /run/dev/stdout
ln -s fd/2 /run/dev/stderr
mount --rbind /dev/pts /run/dev/pts
mount --rbind /run/dev /dev
cp -a /etc /run/etc
mount --bind /run/etc /etc
rm -rf /etc/containers
mkdir -p /etc/containers /etc/containers/networks

# Where the kernel still has the old groups beside the new ones, crun wants the new ones alone.
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup

# What a Podman takes that may not raise limits and has no systemd; the line of `helper_binaries_dir` is the one under test.
cat >/etc/containers/containers.conf <<END
[containers]
default_ulimits = ["nofile=1024:4096", "nproc=1024:1024"]
cgroups = "disabled"
log_driver = "k8s-file"
[engine]
helper_binaries_dir = ["$base/bin", "/usr/lib/podman"]
events_logger = "file"
cgroup_manager = "cgroupfs"
[network]
network_backend = "netavark"
END
cat >/etc/containers/storage.conf <<END
[storage]
driver = "vfs"
graphroot = "$base/storage"
runroot = "/run/containers/storage"
END
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >/etc/containers/policy.json

# A user, for Podman without root.
echo "user:x:4000:4000::$base/home:/bin/sh" >>/etc/passwd
echo 'user:x:4000:' >>/etc/group
echo 'user:100000:65536' | tee /etc/subuid >/etc/subgid
chown 4000:4000 "$base/home"
mkdir -p /run/user/4000
chmod 700 /run/user/4000
chown 4000:4000 /run/user/4000

# An image with the resolvers of two C libraries: busybox, which has one of its own, and getent.
mkdir "$base/image/bin" "$base/image/etc"
cp "$(command -v busybox)" "$base/image/bin/busybox"
for applet in sh sleep nslookup cat; do
    ln -s busybox "$base/image/bin/$applet"
done
getent=$(command -v getent)
cp "$getent" "$base/image/bin/getent"
ldd "$getent" | grep -o '/[^ ]*' | while read -r library; do
    cp -L --parents "$library" "$base/image"
done
echo 'hosts: files dns' >"$base/image/etc/nsswitch.conf"

echo ready
# The shell reaps whoever is left to it: a daemon that has ended must not stay as a zombie, which still takes signals.
mkfifo /run/never
exec 3<>/run/never
read -r _ <&3
