#!/bin/bash
# Postgres 17 with pgvector and Citus as a Docker image: Debian's packages, and Citus compiled from a source folder.
#
#   docker/citus-image.sh SOURCE_FOLDER       build it (a minute and a half), for docker/citus-cluster.sh
#
# SOURCE_FOLDER is an unpacked release of Citus (v14.0.1 is the one that was tried): no registry is asked. Root is needed.
set -euo pipefail
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source=local-postgres-image.sh
. "$here/local-postgres-image.sh"

CITUS_IMAGE=${CITUS_IMAGE:-local/postgres-citus:17}

[ $# = 1 ] && [ -x "$1/configure" ] || { echo "usage: $0 SOURCE_FOLDER (a release of Citus, with its ./configure)" >&2; exit 2; }
source=$(readlink -f "$1")
sona_daemon_answers || { sona_log "no Docker daemon answers: start it first"; exit 1; }
[ "$(id -u)" = 0 ] || { sona_log "only root can build the image"; exit 1; }
sona_build_image

recipe=$( { docker image inspect -f '{{.Id}}' "$SONA_IMAGE"; cat "${BASH_SOURCE[0]}" "$source/configure"; } | sha256sum | cut -c1-16)
if [ "$(docker image inspect -f '{{index .Config.Labels "recipe"}}' "$CITUS_IMAGE" 2>/dev/null)" = "$recipe" ]; then
    sona_log "$CITUS_IMAGE is there already"
    exit 0
fi
command -v mmdebstrap >/dev/null || sona_apt_install mmdebstrap

scratch=/var/tmp   # 1.5 GiB for a minute
[ "$(df --output=avail -m /dev/shm | tail -1)" -gt 4000 ] && scratch=/dev/shm
work=$(mktemp -d -p "$scratch" sona-pg-citus.XXXXXX)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"

# Compiled in a root of its own, of the same release as the image: the headers must be those of its server. Bitcode is for
# JIT compilation, which the image does not have; libcurl is for Citus's daily statistics, which it must not send.
cat > "$work/compile.sh" <<'COMPILE'
set -eu
cd /citus
touch aclocal.m4 && touch configure   # made from configure.ac; an archive gives both one time
./configure --quiet --without-libcurl --with-extra-version= PG_CONFIG=/usr/bin/pg_config >/dev/null
make --silent -j"$(nproc)" with_llvm=no COPT='-O2 -w' >/dev/null
make --silent install-all with_llvm=no DESTDIR=/built >/dev/null
rm -rf /built/usr/include
COMPILE
mkdir "$work/source"
cp -r "$source/." "$work/source"
chmod -R u+rwX "$work/source"
sona_log "compiling $(basename "$source") for Postgres 17"
# shellcheck disable=SC2016  # $1 is for the hooks' shell
TMPDIR=$work timeout 1500 nice mmdebstrap --variant=essential --mode=root --quiet --format=null \
    --include=postgresql-server-dev-17,gcc,libc6-dev,make,libicu-dev,libkrb5-dev,liblz4-dev,libzstd-dev,libssl-dev,libxml2-dev,libxslt1-dev,libpam0g-dev,libselinux1-dev,libreadline-dev,zlib1g-dev \
    --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook='mkdir "$1/citus"' \
    --customize-hook="copy-in $work/compile.sh /" \
    --customize-hook="sync-in $work/source /citus" \
    --customize-hook='chroot "$1" sh /compile.sh' \
    --customize-hook="sync-out /built $work/built" \
    trixie - "$(sona_apt_mirror)" || { sona_log "compiling failed"; exit 1; }

# Citus's own archive of certificates is not wanted: sslmode=prefer keeps the nodes of a test network without TLS.
cat > "$work/Dockerfile" <<DOCKERFILE
FROM $SONA_IMAGE
COPY built/ /
RUN printf '%s\n' "shared_preload_libraries = 'citus'" "citus.node_conninfo = 'sslmode=prefer'" \
    "citus.enable_statistics_collection = off" "wal_level = logical" "max_prepared_transactions = 200" \
    >> /usr/share/postgresql/17/postgresql.conf.sample
LABEL recipe=$recipe
DOCKERFILE
rm -rf "$work/source"
DOCKER_BUILDKIT=0 docker build --quiet --tag "$CITUS_IMAGE" "$work" >/dev/null 2>&1
echo "built $CITUS_IMAGE; docker/citus-cluster.sh start makes a coordinator and two workers of it"
