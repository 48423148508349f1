# Uses the volume on /disk/disk as a block device of the guest itself.
set -eu
modprobe ext4 2> /dev/null || true # where it isn't built in
modprobe ublk_drv
mkfifo /tmp/end

# serves the volume: as $device, by the process $served, until the descriptor 3 is closed.
serve() {
    rm -f /tmp/told
    ATREST_UBLK_DISK=/disk/disk /bin/tests ublk::server_process --exact --ignored --nocapture < /tmp/end > /tmp/told &
    served=$!
    exec 3> /tmp/end
    until grep -qs ^/dev/ /tmp/told; do
        kill -0 $served || { cat /tmp/told && exit 1; }
        sleep 0.1
    done
    device=$(grep ^/dev/ /tmp/told)
}

serve
[ "$(cat /sys/block/"${device##*/}"/queue/logical_block_size)" = 4096 ]
mount -t ext4 "$device" /mnt
(cd /mnt && sha256sum -c SUMS)
head -c 1048576 /mnt/large > /mnt/written
sync
fstrim /mnt
umount /mnt
# The last block of the disk is no file's: direct I/O with a request of its own, and zeros.
dd if=/dev/urandom of="$device" bs=4096 seek=2047 count=1 oflag=direct 2> /dev/null
echo 3 > /proc/sys/vm/drop_caches
echo "sha256 $(sha256sum < "$device" | cut -d ' ' -f 1)"
# Two at a time, from two processes.
dd if="$device" of=/dev/null bs=256k count=4 iflag=direct 2> /dev/null &
dd if="$device" of=/dev/null bs=4096 count=50 iflag=direct 2> /dev/null
wait $!
exec 3>&-
wait $served
tries=50
while [ -e "$device" ]; do
    [ $((tries -= 1)) -gt 0 ]
    sleep 0.1
done
# One that is killed ends its device, and the next one has another.
serve
kill -9 $served
wait $served || true
exec 3>&-
serve
[ "$device" = /dev/ublkb1 ]
mount -t ext4 -o ro,noload "$device" /mnt
cmp -n 1048576 /mnt/large /mnt/written
umount /mnt
exec 3>&-
wait $served
