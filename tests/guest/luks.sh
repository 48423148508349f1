# Opens volumes of the host, makes some, and re-encrypts one in use. What is done with a disk is in its name's first word.
# Of each it says `sha256 DISK SUM`, the sum of the whole volume when it was closed.
set -eu
cheap="--pbkdf pbkdf2 --pbkdf-force-iterations 1000"
printf pw > /tmp/pw

# The volume is read through dm-crypt once more.
close() {
    umount /mnt
    e2fsck -fn "/dev/mapper/$1" > /tmp/fsck 2>&1 || { cat /tmp/fsck; exit 1; }
    echo 3 > /proc/sys/vm/drop_caches
    echo "sha256 $1 $(sha256sum < "/dev/mapper/$1" | cut -d ' ' -f 1)"
    cryptsetup close "$1"
}

# Opens a volume and makes a file system in it.
new() {
    cryptsetup open --key-file /tmp/pw "/disk/$1" "$1"
    mkfs.ext4 -q -b 4096 "/dev/mapper/$1"
    mount -t ext4 "/dev/mapper/$1" /mnt
    cp /bin/busybox /mnt
}

# Opens a volume that has a file system with files, and the file SUMS of their sums.
files() {
    cryptsetup open --key-file /tmp/pw "/disk/$1" "$1"
    mount -t ext4 "/dev/mapper/$1" /mnt
    (cd /mnt && sha256sum -c SUMS)
    cp /init /mnt
}

# As `files`, of a cipher that Debian's kernel has not: see `get`.
hctr2() {
    modprobe -a polyval-generic xctr hctr2
    files "$1"
}

guest() {
    case $1 in
        guest-luks1) format="--type luks1 $cheap" ;;
        guest-luks2) format="--type luks2 $cheap" ;;
        guest-luks2-4096) format="--type luks2 --sector-size 4096 --pbkdf argon2id --pbkdf-force-iterations 4 --pbkdf-memory 1024" ;;
    esac
    # shellcheck disable=SC2086 # several words
    cryptsetup luksFormat -q --key-file /tmp/pw $format "/disk/$1"
    new "$1"
}

# The key changes while files are written: some before, some meanwhile, some afterwards.
online() {
    files "$1"
    (
        written=0
        until [ -e /tmp/changed ]; do
            head -c 30000 /dev/urandom | dd of="/mnt/$((written % 8))" conv=fsync 2> /dev/null
            written=$((written + 1))
            sleep 0.2
        done
        echo "$written" > /tmp/written
    ) &
    # shellcheck disable=SC2086
    cryptsetup reencrypt -q --key-file /tmp/pw $cheap --cipher aes-xts-plain64 --key-size 512 --hotzone-size 1M \
        --active-name "$1"
    touch /tmp/changed
    wait
    echo "written meanwhile: $(cat /tmp/written)"
    test "$(cat /tmp/written)" -gt 2
    (cd /mnt && sha256sum -c SUMS)
}

for disk in /disk/*; do
    disk=${disk#/disk/}
    begun=$(cut -d . -f 1 /proc/uptime)
    "${disk%%-*}" "$disk"
    dmsetup table "$disk" | cut -d ' ' -f 3,4,6,9-
    close "$disk"
    echo "$disk took $(($(cut -d . -f 1 /proc/uptime) - begun)) s"
done
