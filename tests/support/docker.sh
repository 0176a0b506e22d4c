# A machine for Docker, behind machine_base.sh: `bash -c SCRIPT machine BASE`.
make_base
make_system
rm -rf /etc/docker
mkdir /etc/docker "$base/data"
make_image

be_init
