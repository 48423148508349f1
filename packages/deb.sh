# Shared code of the scripts that make Debian's packages, by dpkg-deb of a staged folder: all that a package has is in them, and
# no tool has to be built first. Bash sources it.

source "$(dirname "${BASH_SOURCE[0]}")/stage.sh"
debian_arch=$(dpkg --print-architecture)
source "$root/packages/publisher.sh"

# documentation PACKAGE: what Debian has in each.
documentation() {
    local folder=$work/$1/usr/share/doc/$1
    mkdir -p "$folder"
    cat > "$folder/copyright" << 'TEXT'
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: atrest
Comment: The file THIRD-PARTY.gz has the licences of all that this package contains.

Files: *
Copyright: the atrest contributors
License: MIT or Apache-2.0

License: MIT
TEXT
    sed -n '/^Permission/,$p' "$root/LICENSE-MIT" | sed 's/^$/./; s/^/ /' >> "$folder/copyright"
    cat >> "$folder/copyright" << 'TEXT'

License: Apache-2.0
 On Debian systems, the text of the licence is in /usr/share/common-licenses/Apache-2.0.
TEXT
    gzip --no-name -9 < "$work/notices/THIRD-PARTY" > "$folder/THIRD-PARTY.gz"
    gzip --no-name -9 < "$root/CHANGELOG.md" > "$folder/changelog.gz"
    gzip --no-name -9 > "$folder/changelog.Debian.gz" << TEXT
atrest ($version-1) unstable; urgency=medium

  * See changelog.gz.

 -- $maintainer  $(LC_ALL=C date --utc --date "@$SOURCE_DATE_EPOCH" -R)
TEXT
}

# package NAME SECTION MULTI-ARCH DEPENDS DESCRIPTION: makes a package of the folder of its name.
package() {
    local folder=$work/$1 size
    documentation "$1"
    mkdir -p "$folder/DEBIAN"
    size=$(du -sk --apparent-size --exclude DEBIAN "$folder" | cut -f1)
    (cd "$folder" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum) > "$folder/DEBIAN/md5sums"
    cat > "$folder/DEBIAN/control" << TEXT
Package: $1
Source: atrest
Version: $version-1
Architecture: $debian_arch
Multi-Arch: $3
Maintainer: $maintainer
Installed-Size: $size
Section: $2
Priority: optional
Depends: $4
Description: $5
TEXT
    same_times "$folder"
    dpkg-deb --root-owner-group -Zxz --build "$folder" "$out/$1_$version-1_$debian_arch.deb" >&2
    echo "$out/$1_$version-1_$debian_arch.deb"
}
