#!/usr/bin/env bash
# A Ceph cluster of one monitor and one OSD, for tests: ceph.sh FOLDER PORT STORE, where STORE is bluestore or memstore.
#
# It prints `ready` when a pool `rbd` is there, and lives until its standard input ends: then all that it has started is killed.
# So it ends with the test program, however that ends. The folder is removed. Lines on standard input are orders; each is answered by `done`:
# `kill` (kill -9 of the OSD), `start` (the OSD again), `stop` (SIGSTOP), `continue` (SIGCONT), `manager` (starts a manager,
# which full pools need).
set -euo pipefail
folder=$1 port=$2 store=$3
mkdir -p "$folder"/{mon,mgr,osd,run,log}
cd "$folder"
fsid=$(cat /proc/sys/kernel/random/uuid)

# Time-outs of peers are long, and those of watches short: on a busy machine nobody is to be taken for dead, and a test that
# kills a client waits for its watch.
cat > ceph.conf <<CONF
[global]
fsid = $fsid
mon host = v2:127.0.0.1:$port/0
public network = 127.0.0.0/8
cluster network = 127.0.0.0/8
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
osd pool default size = 1
osd pool default min size = 1
osd crush chooseleaf type = 0
mon allow pool size one = true
mon data avail warn = 1
mon data avail crit = 1
osd pool default pg autoscale mode = off
osd heartbeat grace = 120
mon osd adjust heartbeat grace = false
mon osd report timeout = 900
mon osd down out interval = 3600
osd client watch timeout = 15
run dir = $folder/run
log to stderr = false
err to stderr = false
keyring = $folder/\$name.keyring
ms crc data = true
ms bind ipv4 = true
ms client mode = crc
ms cluster mode = crc
ms service mode = crc
# The first process to take ports finds free ones.
ms bind port min = $((port + 10))
ms bind port max = $((port + 60))
[mon]
admin socket = $folder/run/mon.asok
log file = $folder/log/mon.log
keyring = $folder/mon.keyring
mon cluster log file = $folder/log/cluster.log
[osd]
admin socket = $folder/run/osd.asok
log file = $folder/log/osd.log
osd objectstore = $store
osd data = $folder/osd
keyring = $folder/osd/keyring
memstore device bytes = 2147483648
osd memory target = 939524096
bluestore block size = 2147483648
bluestore block db create = false
bluestore block wal create = false
osd class load list = *
osd class default list = *
osd max object name len = 256
osd op num shards = 2
osd deep scrub interval = 999999999
[mgr]
log file = $folder/log/mgr.log
mgr data = $folder/mgr
CONF
export CEPH_CONF=$folder/ceph.conf

children=()
end() {
    exec 2> /dev/null # the shell tells of each that is killed
    kill -CONT "${osd:-}" || true
    kill -9 "${children[@]}" || true
    wait 2> /dev/null || true
    cd /
    rm -rf "$folder"
}
trap end EXIT

# Daemons stay in the foreground, as children, and must not hold this script's input.
run() {
    "$@" < /dev/null > "log/$1.out" 2>&1 &
    children+=($!)
    last=$!
}

ceph-authtool -C mon.keyring --gen-key -n mon. --cap mon 'allow *' > /dev/null
ceph-authtool -C client.admin.keyring --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *' > /dev/null
ceph-authtool mon.keyring --import-keyring client.admin.keyring > /dev/null
monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$port]" monmap > /dev/null
ceph-mon --mkfs -i a --monmap monmap --mon-data mon --keyring mon.keyring
run ceph-mon -f -i a --mon-data mon

start_osd() {
    run ceph-osd -f -i 0
    osd=$last
    echo "$osd" > osd.pid
}

uuid=$(cat /proc/sys/kernel/random/uuid)
ceph-osd -i 0 --mkfs --mkkey --no-mon-config --osd-uuid "$uuid" > /dev/null 2>&1
ceph osd new "$uuid" 0 > /dev/null 2>&1
ceph auth add osd.0 osd 'allow *' mon 'allow profile osd' mgr 'allow profile osd' -i osd/keyring > /dev/null 2>&1
start_osd
ceph auth get-or-create client.disks mon 'profile rbd' osd 'profile rbd pool=rbd' mgr 'profile rbd pool=rbd' > client.disks.keyring 2> /dev/null
ceph osd pool create rbd 8 8 > /dev/null 2>&1
ceph osd pool application enable rbd rbd > /dev/null 2>&1
for _ in $(seq 300); do
    if [[ $(ceph osd stat) == *" 1 up"* ]]; then break; fi
    sleep 0.1
done
rbd pool init rbd
echo ready

while read -r order; do
    case $order in
        kill)
            kill -9 "$osd"
            wait "$osd" 2> /dev/null || true
            ;;
        start) start_osd ;;
        stop) kill -STOP "$osd" ;;
        continue) kill -CONT "$osd" ;;
        manager)
            ceph auth get-or-create mgr.x mon 'allow profile mgr' osd 'allow *' mds 'allow *' > mgr.x.keyring 2> /dev/null
            run ceph-mgr -f -i x
            ;;
        *) echo "no such order: $order" >&2 ;;
    esac
    echo "done"
done
