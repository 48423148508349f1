# Writes a text and random bytes to each disk, and reads them again.
text='a text that nobody but the guest may read, 7c1e4f' # as in main.rs
dd if=/dev/urandom of=/tmp/random bs=64k count=16 2> /dev/null
yes "$text" | head -n 20000 > /tmp/text
(cd /tmp && sha256sum random text > sums)
for disk in cached remote plain; do
    mkfs.ext4 -q -b 4096 /disk/$disk || exit 1
    mkdir -p /mnt
    mount /disk/$disk /mnt || exit 1
    cp /tmp/random /tmp/text /tmp/sums /mnt || exit 1
    umount /mnt
    echo 3 > /proc/sys/vm/drop_caches
    mount /disk/$disk /mnt || exit 1
    (cd /mnt && sha256sum -c sums) || exit 1
    umount /mnt
done
