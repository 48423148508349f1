# Opens volumes by the vault of /etc/atrest/token.conf, with nothing typed: by cryptsetup, and by systemd's own program.
set -eu

# used NAME: it is open as NAME; a file is written into it, and its sum told.
used() {
    mount -t ext4 "/dev/mapper/$1" /mnt
    (cd /mnt && sha256sum -c SUMS)
    echo "of the guest" > /mnt/guest
    umount /mnt
    echo 3 > /proc/sys/vm/drop_caches
    echo "sha256 $1 $(sha256sum < "/dev/mapper/$1" | cut -d ' ' -f 1)"
}

cryptsetup open --token-only /disk/bound bound < /dev/null
used bound
cryptsetup close bound

# Without being told so: tokens are tried before a passphrase is asked for.
cryptsetup open /disk/bound bound < /dev/null
cryptsetup close bound

if cryptsetup open --token-only /disk/disabled disabled < /dev/null 2> /tmp/told; then
    echo "it opened by a key that is disabled"
    exit 1
fi
grep "disabled" /tmp/told

if [ -x /lib/systemd/systemd-cryptsetup ]; then
    /lib/systemd/systemd-cryptsetup attach systemd /disk/systemd none luks,headless=true < /dev/null
    used systemd
    /lib/systemd/systemd-cryptsetup detach systemd
else
    echo "SKIPPED: this machine has no systemd-cryptsetup"
fi
