#!/bin/bash
# A module of dracut: /usr/lib/dracut/modules.d/90atrest/module-setup.sh. systemd-cryptsetup of the initramfs then asks the vaults
# for each device of crypttab without a key file.

check() {
    [[ -r "$dracutsysrootdir/etc/atrest/token.conf" ]] || return 255
}

depends() {
    echo crypt
}

install() {
    local path
    inst_libdir_file "cryptsetup/libcryptsetup-token-atrest.so"
    inst_simple /etc/atrest/token.conf
    # What the vaults need. Who can read the initramfs has these files.
    [[ -r "$dracutsysrootdir/etc/atrest/initramfs-files" ]] || return 0
    while read -r path; do
        [[ -z $path || $path == "#"* ]] || inst_simple "$path" || derror "atrest: $path isn't there"
    done < "$dracutsysrootdir/etc/atrest/initramfs-files"
}
