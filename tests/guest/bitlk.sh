# Opens BitLocker volumes by the kernel's dm-crypt, and writes to each. /keys/list has a line for each disk: its name, the bytes to read,
# the block of 4096 bytes that is written, and the first block and the number of those that are read again. Of each it says
# `sha256 DISK SUM`, the sum as it was, and `sha256 DISK-written SUM`. Files of a file system in it are checked.
set -eu

while read -r name size block first count; do
    cryptsetup open --type bitlk --volume-key-file "/keys/$name" "/disk/$name" "$name" > /dev/null
    echo "sha256 $name $(head -c "$size" "/dev/mapper/$name" | sha256sum | cut -d ' ' -f 1)"
    case $name in
        files*)
            mount -t ext4 "/dev/mapper/$name" /mnt
            (cd /mnt && sha256sum -c SUMS)
            head -c 300000 /bin/busybox > /mnt/guest
            (cd /mnt && sha256sum guest >> SUMS)
            umount /mnt
            e2fsck -fn "/dev/mapper/$name" > /tmp/fsck 2>&1 || { cat /tmp/fsck; exit 1; }
            ;;
        *)
            dd if=/bin/busybox of="/dev/mapper/$name" bs=4096 count=4 seek="$block" conv=notrunc,fsync 2> /dev/null
            ;;
    esac
    echo 3 > /proc/sys/vm/drop_caches
    echo "sha256 $name-written $(dd if="/dev/mapper/$name" bs=4096 skip="$first" count="$count" 2> /dev/null | sha256sum | cut -d ' ' -f 1)"
    cryptsetup close "$name"
done < /keys/list
