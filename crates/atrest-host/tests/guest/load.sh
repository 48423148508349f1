# Works on two disks while their server is killed, their data gets another DEK, one of them grows, and the key of their set is
# rotated, disabled and enabled again.
dmesg -n 1 # the kernel need not tell of errors that are wanted
for name in vhost nbd; do
    mkfs.ext4 -q -b 4096 -O ^has_journal /disk/$name || exit 1
    mkdir -p /mnt/$name
    mount /disk/$name /mnt/$name || exit 1
done
for round in 1 2 3 4 5 6; do
    for name in vhost nbd; do
        cd /mnt/$name
        dd if=/dev/urandom of=$round bs=16k count=32 conv=fsync 2> /dev/null || exit 1
        sha256sum $round >> sums
        sync
    done
    echo "guest: round $round"
done
cd /
echo 3 > /proc/sys/vm/drop_caches
for name in vhost nbd; do
    (cd /mnt/$name && sha256sum -c sums > /dev/null) || exit 1
    umount /mnt/$name
    e2fsck -fn /disk/$name > /dev/null || exit 1
done
echo "guest: all is there"
# In sectors of 512 bytes.
until [ "$(cat /sys/class/block/$(basename $(readlink -f /disk/vhost))/size)" = 65536 ]; do sleep 1; done
dd if=/dev/urandom of=/tmp/random bs=4k count=16 2> /dev/null
dd if=/tmp/random of=/disk/vhost bs=4k seek=8176 conv=notrunc,fsync 2> /dev/null || exit 1
echo 3 > /proc/sys/vm/drop_caches
dd if=/disk/vhost bs=4k skip=8176 2> /dev/null | cmp - /tmp/random || exit 1
echo "guest: vhost has grown"
for name in vhost nbd; do
    while dd if=/disk/$name of=/dev/null bs=4k count=1 iflag=direct 2> /dev/null; do sleep 1; done
    echo "guest: $name fails"
done
for name in vhost nbd; do
    until dd if=/disk/$name of=/dev/null bs=4k count=1 iflag=direct 2> /dev/null; do sleep 1; done
    echo "guest: $name goes on"
    e2fsck -fn /disk/$name > /dev/null || exit 1
done
