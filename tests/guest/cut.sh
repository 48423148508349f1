# Re-encrypts the volume in use on the disk `cut`, and takes the power away half-way. Says before, as luks.sh does, the sum of
# the whole volume, which doesn't change any more.
set -eu
printf pw > /tmp/pw
cryptsetup open --key-file /tmp/pw /disk/cut cut
echo "sha256 cut $(sha256sum < /dev/mapper/cut | cut -d ' ' -f 1)"
cryptsetup reencrypt --debug -q --key-file /tmp/pw --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --cipher aes-xts-plain64 \
    --key-size 512 --hotzone-size 512K --active-name cut 2>&1 | while read -r line; do
    case $line in
        "# Reencrypting chunk starting at offset: 4194304,"*)
            echo "cut at: $line"
            echo "guest: status 0"
            echo b > /proc/sysrq-trigger
            ;;
    esac
done
echo "it came to an end"
exit 1
