#!/bin/sh
# The container's steps in a clean Debian root, where there is no container engine: as root,
#   sh scripts/clean-root.sh FOLDER    (a new folder; it takes 8 GB)
# It prints the seconds of each step and ends with a job of four rows and JupyterLab's answer.
# BIND: folders of this machine that the root needs, too (a folder of wheels, a proxy's certificates).
set -eu
root=$1
lab=$(cd "$(dirname "$0")/.." && pwd)
if [ -e "$root" ]; then echo "$root is there already: name a new folder" >&2; exit 2; fi
if [ "${IN_NAMESPACE:-}" != 1 ]; then # mounts and processes of its own: nothing stays behind
    IN_NAMESPACE=1 exec unshare --mount --pid --fork --kill-child sh "$0" "$@"
fi
step() {
    name=$1
    shift
    began=$(date +%s)
    "$@"
    echo "== $name: $(($(date +%s) - began)) s"
}
as_root() { chroot "$root" env -u PYTHONPATH HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
as_lab() {
    chroot --userspec=1000:1000 "$root" env -u PYTHONPATH -u VIRTUAL_ENV HOME=/home/lab USER=lab \
        PATH=/usr/bin:/bin "$@"
}
ask='
import json, time, urllib.request
for _ in range(120):
    try:
        print(json.load(urllib.request.urlopen("http://127.0.0.1:8977/api"))); break
    except OSError: time.sleep(1)
else: raise SystemExit("JupyterLab did not answer")
'
job='
import labkit
from labkit import tasks
done = labkit.run(tasks.faq(max_tokens=8), labkit.load_faq(4))
print(done.metrics.table().to_string())
assert len(done.answers) == 4
'
step "a clean root (Debian bookworm)" debootstrap --variant=minbase bookworm "$root"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
cp /etc/resolv.conf "$root/etc/resolv.conf"
mkdir "$root/lab"
(cd "$lab" && git ls-files -z | xargs -0 tar cf -) | tar xf - -C "$root/lab"
step "container.sh system" as_root sh /lab/scripts/container.sh system cpu
for folder in ${BIND:-}; do
    mkdir -p "$root$folder"
    mount --bind "$folder" "$root$folder"
    mount -o remount,bind,ro "$root$folder"
done
step "container.sh lab" as_lab sh /lab/scripts/container.sh lab cpu
step "labkit doctor" as_lab /home/lab/venv/bin/python -m labkit doctor
step "a job of four rows" as_lab sh -c "cd /home/lab && venv/bin/python -c '$job'"
as_lab env PORT=8977 sh /lab/scripts/container.sh start >"$root/tmp/jupyterlab.log" 2>&1 &
step "container.sh start" as_lab /home/lab/venv/bin/python -c "$ask"
as_lab id
du -sh "$root/home/lab"
