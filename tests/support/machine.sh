# A machine for Podman, behind machine_base.sh: `bash -c SCRIPT machine BASE PROGRAM NETAVARK`.
program=$2 netavark=$3

# The programs before the rest is hidden: they may be anywhere, also where an unprivileged user may not go.
make_base
mkdir "$base/bin" "$base/storage" "$base/home"
touch "$base/bin/callsign" "$base/bin/netavark"
mount --bind "$program" "$base/bin/callsign"
mount --bind "$netavark" "$base/bin/netavark"
ln -s callsign "$base/bin/aardvark-dns"

make_system

# Its own /dev.
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
rm -rf /etc/containers
mkdir -p /etc/containers /etc/containers/networks

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

make_image

be_init
