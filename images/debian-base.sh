#!/usr/bin/env bash
# A base image from Debian packages, for places that reach a Debian mirror and no image registry.
#
#   sudo images/debian-base.sh [--mirror URL] [--ca FILE]… [--pip-conf FILE] [--tag NAME]
#
# Debian 12 with its Python 3.11; the id of the image is the last line that is printed. Then:
#   rpac images build --build-arg BASE=<id or tag>
# FILE of --ca is a certificate (PEM, name ending in .crt) that the image trusts from then on, and
# FILE of --pip-conf becomes its /etc/pip.conf: what an institute's own package index needs.
set -euo pipefail

usage() { sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit "${1:-0}"; }

mirror=${RPAC_DEBIAN_MIRROR:-http://deb.debian.org/debian} tag=rpac/debian:bookworm pip_conf='' cas=()
while (($#)); do
    case $1 in
        --mirror) mirror=$2; shift 2 ;;
        --ca) cas+=("$2"); shift 2 ;;
        --pip-conf) pip_conf=$2; shift 2 ;;
        --tag) tag=$2; shift 2 ;;
        -h | --help) usage ;;
        *) echo "unknown: $1" >&2; usage 64 >&2 ;;
    esac
done
for program in debootstrap docker; do
    command -v "$program" >/dev/null || { echo "$program is missing: apt install debootstrap docker.io" >&2; exit 69; }
done

root=$(mktemp -d)
trap 'rm -rf --one-file-system "$root"' EXIT
debootstrap --variant=minbase --include=ca-certificates bookworm "$root" "$mirror" >&2

# no services start in a container, and nobody reads manuals there
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
cat >"$root/etc/dpkg/dpkg.cfg.d/slim" <<'SLIM'
path-exclude /usr/share/doc/*
path-exclude /usr/share/man/*
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
path-include /usr/share/doc/*/copyright
SLIM
chroot "$root" apt-get --quiet update >&2
DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get --quiet --yes --no-install-recommends \
    install python3.11 python3.11-venv >&2
chroot "$root" apt-get clean
find "$root/usr/share/doc" -type f ! -name copyright -delete
rm -rf "$root"/usr/share/{man,info,locale}/* "$root"/var/cache/apt/archives/*.deb \
    "$root"/var/lib/apt/lists/* "$root"/var/log/*.log "$root"/var/log/apt

for ca in "${cas[@]}"; do
    install -m 644 "$ca" "$root/usr/local/share/ca-certificates/"
done
chroot "$root" update-ca-certificates >&2
if [[ $pip_conf ]]; then
    install -m 644 "$pip_conf" "$root/etc/pip.conf"
fi

tar --directory "$root" --numeric-owner --create . | docker import \
    --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    --change 'CMD ["/bin/bash"]' - "$tag"
