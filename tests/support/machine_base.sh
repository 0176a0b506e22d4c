# What the scripts of tests/support/machine.rs share. Each is the first process of a machine, `bash -c SCRIPT machine BASE
# ARGUMENTS…`, in mount, process, UTS and IPC namespaces of its own, and in the network namespace of a lab's host. All
# that it mounts is gone when it ends.
set -euo pipefail
base=$1

# Nothing comes back to the machine that the tests run on, and mounts in here reach the containers, as on any host.
mount --make-rprivate /
mount --make-rshared /

# A place that no system hides; `shared` in it is the same for those outside.
make_base() {
    mkdir "$base/shared"
    exec 8<"$base/shared"
    mount -t tmpfs -o mode=755 tmpfs "$base"
    mkdir "$base/shared"
    mount --no-canonicalize --bind /proc/self/fd/8 "$base/shared"
    exec 8<&-
}

# Its own /run (no systemd, no resolver of the real machine), /etc and groups of processes.
make_system() {
    mount -t tmpfs -o mode=755 tmpfs /run
    cp -a /etc /run/etc
    mount --bind /run/etc /etc
    # Where the kernel still has the old groups beside the new ones, the runtimes want the new ones alone.
    umount -R /sys/fs/cgroup 2>/dev/null || true
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
}

# An image with the resolvers of two C libraries: busybox, which has one of its own, and getent.
make_image() {
    local applet getent library
    mkdir -p "$base/image/bin" "$base/image/etc"
    cp "$(command -v busybox)" "$base/image/bin/busybox"
    for applet in sh sleep nslookup cat ip; do
        ln -s busybox "$base/image/bin/$applet"
    done
    getent=$(command -v getent)
    cp "$getent" "$base/image/bin/getent"
    ldd "$getent" | grep -o '/[^ ]*' | while read -r library; do
        cp -L --parents "$library" "$base/image"
    done
    echo 'hosts: files dns' >"$base/image/etc/nsswitch.conf"
}

# Says that the machine is there, and reaps what is left to it: a daemon that has ended must not stay as a zombie, which
# still takes signals.
be_init() {
    echo ready
    mkfifo /run/never
    exec 3<>/run/never
    read -r _ <&3
}

