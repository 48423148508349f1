# The disks of a host: `plain` is the one that the machine sees; it is empty, and gets a file system with files.
set -e
mkfs.ext4 -q -b 4096 /disk/data
mount /disk/data /mnt
dd if=/dev/urandom of=/mnt/random bs=64k count=16 2> /dev/null
sha256sum /mnt/random
sync
umount /mnt
e2fsck -fn /disk/data
cat /sys/block/vda/queue/logical_block_size /sys/block/vda/size /sys/block/vda/queue/write_cache
