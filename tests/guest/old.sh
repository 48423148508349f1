# Opens plain mappings that the host wrote, and makes volumes, of ciphers that are old or rare. Of each it says `sha256 DISK SUM`,
# the sum of the whole of it when it was closed.
set -eu
printf pw > /tmp/pw

# Name, cipher, bits of the key, hash, sector size, first byte in sectors, first number, and options of cryptsetup. The host reads
# this table too.
disks() {
    cat << 'END'
plain-cbc-plain aes-cbc-plain 256 sha256 512 0 0
plain-cbc-skip aes-cbc-plain64 128 sha1 512 2048 4294967290
plain-xts-be aes-xts-plain64be 512 sha256 512 8 16
plain-xts-benbi aes-xts-benbi 256 sha512 512 0 8
plain-xts-essiv aes-xts-essiv:sha256 512 sha256 512 0 0
plain-xts-large aes-xts-plain64 512 sha256 4096 0 8 --iv-large-sectors
plain-cbc-large aes-cbc-plain 256 sha384 4096 8 16 --iv-large-sectors
plain-ecb aes-ecb 256 sha256 512 0 0
plain-capi capi:xts(aes)-plain64 512 sha512 512 0 0
legacy-serpent-xts serpent-xts-plain64 512 sha256 512 0 0
legacy-serpent-cbc serpent-cbc-essiv:sha256 192 sha256 4096 0 0
legacy-twofish-xts twofish-xts-plain64 256 sha256 512 0 0
legacy-twofish-cbc twofish-cbc-plain 192 sha256 512 0 0
legacy-camellia-xts camellia-xts-plain64 512 sha256 4096 0 0
legacy-camellia-cbc camellia-cbc-benbi 256 sha256 512 0 0
legacy-adiantum xchacha12,aes-adiantum-plain64 256 sha256 4096 0 0
legacy-aes-192-xts aes-xts-plain64 384 sha256 512 0 0
legacy-adiantum-512 xchacha12,aes-adiantum-plain 256 sha512 512 0 4294967290
luks-cbc-plain aes-cbc-plain 256 sha224 512 0 0 luks1
luks-ecb aes-ecb 256 sha1 512 0 0 luks1
luks-benbi aes-xts-benbi 512 sha384 4096 0 0 luks2
luksleg-serpent serpent-xts-plain64 512 sha256 512 0 0 luks2
luksleg-twofish twofish-cbc-essiv:sha256 256 sha1 512 0 0 luks1
luksleg-aes-192 aes-xts-plain64 384 sha256 512 0 0 luks1
luksleg-aes-192-4k aes-xts-plain64 384 sha256 4096 0 0 luks2
luksleg-camellia camellia-xts-plain64 256 sha512 4096 0 0 luks2
END
}

close() {
    umount /mnt
    e2fsck -fn "/dev/mapper/$1" > /tmp/fsck 2>&1 || { cat /tmp/fsck; exit 1; }
    echo 3 > /proc/sys/vm/drop_caches
    echo "sha256 $1 $(sha256sum < "/dev/mapper/$1" | cut -d ' ' -f 1)"
    cryptsetup close "$1"
}

disks | while read -r name cipher bits hash size offset skip more; do
    [ -e "/disk/$name" ] || continue
    case $name in
        luks*)
            options="--type $more --pbkdf pbkdf2 --pbkdf-force-iterations 1000"
            [ "$more" = luks1 ] || options="$options --sector-size $size"
            # shellcheck disable=SC2086 # several words
            cryptsetup luksFormat -q --key-file /tmp/pw $options --cipher "$cipher" --key-size "$bits" --hash "$hash" "/disk/$name"
            cryptsetup open --key-file /tmp/pw "/disk/$name" "$name"
            mkfs.ext4 -q -b 4096 "/dev/mapper/$name"
            mount -t ext4 "/dev/mapper/$name" /mnt
            ;;
        *)
            # shellcheck disable=SC2086
            cryptsetup open -q --type plain --cipher "$cipher" --key-size "$bits" --hash "$hash" --sector-size "$size" \
                --offset "$offset" --skip "$skip" $more "/disk/$name" "$name" < /tmp/pw
            # The host opens volumes of ECB for reading only.
            [ "$name" != plain-ecb ] || mkfs.ext4 -q -b 4096 "/dev/mapper/$name"
            mount -t ext4 "/dev/mapper/$name" /mnt
            [ "$name" = plain-ecb ] || (cd /mnt && sha256sum -c SUMS)
            ;;
    esac
    cp /init /mnt
    dmsetup table "$name" | cut -d ' ' -f 3,4,6,9-
    close "$name"
done
