# What the OS disk of a guest starts. The first time it writes, syncs, and goes on until it is killed. The next time it checks.
/bin/busybox --install -s /bin
export PATH=/bin
disk=/tmp/disk
mount $disk/data /mnt || exit 1
if [ -e /synced ]; then
    cd /mnt && sha256sum -c sums || exit 1
    yes "$(cat /marker)" | head -n 20000 > $disk/control
    sync
    echo "guest: checked"
    exit 0
fi
dd if=/dev/urandom of=/mnt/random bs=64k count=32 2> /dev/null
yes "$(cat /marker)" | head -n 20000 > /mnt/text
yes "$(cat /marker)" | head -n 20000 > $disk/temp
(cd /mnt && sha256sum random text > sums)
sync
touch /synced
sync
echo "guest: synced"
while true; do
    dd if=/dev/urandom of=/mnt/more bs=64k count=8 2> /dev/null
    sync
done
