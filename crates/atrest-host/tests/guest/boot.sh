# Starts the system on the disk `os`, whose file /start goes on.
mount /disk/os /mnt || exit 1
if [ ! -e /mnt/synced ]; then
    mkfs.ext4 -q -b 4096 /disk/data || exit 1
fi
for folder in dev proc sys; do
    mount --bind /$folder /mnt/$folder
done
rm -rf /mnt/tmp/disk
cp -a /disk /mnt/tmp
exec chroot /mnt /bin/busybox sh /start
