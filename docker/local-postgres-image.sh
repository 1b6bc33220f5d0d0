#!/bin/bash
# Postgres 17 with pgvector as a Docker image, built from Debian's packages where no image can be pulled.
#
#   docker/local-postgres-image.sh            build it (about 25 s) and say how tests use it
#   . docker/local-postgres-image.sh          for a CI script, which then calls:
#       sona_docker_start    find a daemon, or install and start one; build and try the image; set up the tests
#       sona_docker_stop     end what sona_docker_start has started, and nothing else
#
# Each function returns 0, or says why not and returns 1. Root is needed to start a daemon and to build.

SONA_IMAGE=${SONA_IMAGE:-local/postgres-pgvector:17}
SONA_DOCKER_DIR=${SONA_DOCKER_DIR:-/var/tmp/sona-pg-docker}
sona_here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")

sona_log() { echo "[docker $(date +%T)] $*" >&2; }
sona_daemon_answers() { command -v docker >/dev/null && timeout 10 docker info >/dev/null 2>&1; }

sona_apt_install() {
    export DEBIAN_FRONTEND=noninteractive
    timeout 300 apt-get update -qq && timeout 600 apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

sona_find_daemon() {
    sona_daemon_answers && { sona_log "using the running daemon"; return 0; }
    [ "$(id -u)" = 0 ] || { sona_log "no daemon answers, and only root can start one"; return 1; }
    if ! command -v dockerd >/dev/null || ! command -v docker >/dev/null; then
        sona_apt_install docker.io iptables || { sona_log "docker.io cannot be installed"; return 1; }
    fi
    mountpoint -q /sys/fs/cgroup || cgroupfs-mount || true
    mkdir -p "$SONA_DOCKER_DIR"
    # shellcheck disable=SC2086  # several arguments in one variable
    setsid dockerd --data-root "$SONA_DOCKER_DIR/data" --exec-root "$SONA_DOCKER_DIR/exec" \
        --pidfile "$SONA_DOCKER_DIR/dockerd.pid" -H "${DOCKER_HOST:-unix:///var/run/docker.sock}" \
        ${DOCKERD_EXTRA:-} >"$SONA_DOCKER_DIR/dockerd.log" 2>&1 </dev/null &
    SONA_DOCKERD=$!
    for _ in $(seq 60); do
        sona_daemon_answers && { sona_log "started dockerd (pid $SONA_DOCKERD)"; return 0; }
        kill -0 "$SONA_DOCKERD" 2>/dev/null || break
        sleep 0.5
    done
    sona_log "dockerd does not come up:"
    tail -5 "$SONA_DOCKER_DIR/dockerd.log" >&2
    return 1
}

sona_apt_mirror() {   # the one that apt on this machine uses
    awk '/^URIs:/ {print $2; exit} /^deb / {for (i = 2; i <= NF; i++) if ($i ~ /:\/\//) {print $i; exit}}' \
        /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null
}

sona_build_image() {
    # The label holds the checksum of the recipe, so that a changed recipe builds a new image.
    local recipe scratch archive
    recipe=$(cat "$sona_here"/docker-entrypoint.sh "$sona_here"/local-postgres-image.sh | sha256sum | cut -c1-16)
    if [ "$(docker image inspect -f '{{index .Config.Labels "recipe"}}' "$SONA_IMAGE" 2>/dev/null)" = "$recipe" ]; then
        sona_log "$SONA_IMAGE is there already"
        return 0
    fi
    [ "$(id -u)" = 0 ] || { sona_log "only root can build the image"; return 1; }
    command -v mmdebstrap >/dev/null || sona_apt_install mmdebstrap || return 1

    scratch=/var/tmp   # 0.7 GiB for half a minute; in memory it is three times as fast
    [ "$(df --output=avail -m /dev/shm | tail -1)" -gt 2000 ] && scratch=/dev/shm
    archive=$(mktemp -p /var/tmp sona-pg-image.XXXXXX.tar)
    sona_log "building $SONA_IMAGE"
    # shellcheck disable=SC2016  # $1 is for the hooks' shell
    TMPDIR=$scratch timeout 900 nice mmdebstrap --variant=essential --mode=root --quiet \
        --include=postgresql-17,postgresql-17-pgvector \
        --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/i18n/*' \
        --dpkgopt='path-exclude=/usr/lib/*/libLLVM*' --dpkgopt='path-exclude=/usr/lib/*/libz3*' \
        --dpkgopt='path-exclude=/usr/lib/postgresql/*/lib/bitcode/*' \
        --essential-hook='mkdir -p "$1/etc/postgresql-common"' \
        --essential-hook='echo "create_main_cluster = false" > "$1/etc/postgresql-common/createcluster.conf"' \
        --customize-hook='echo "jit = off" >> "$1/usr/share/postgresql/17/postgresql.conf.sample"' \
        --customize-hook='mkdir -p "$1/docker-entrypoint-initdb.d"' \
        --customize-hook='rm -rf "$1/var/lib/apt/lists"/* "$1/var/cache"/*' \
        --customize-hook="copy-in $sona_here/docker-entrypoint.sh /usr/local/bin" \
        trixie "$archive" "$(sona_apt_mirror)" || { rm -f "$archive"; sona_log "the build failed"; return 1; }
    docker import \
        -c 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/17/bin' \
        -c 'ENV PGDATA=/var/lib/postgresql/data' -c 'ENV LANG=C.UTF-8' \
        -c 'VOLUME /var/lib/postgresql/data' -c 'EXPOSE 5432' \
        -c 'ENTRYPOINT ["/usr/local/bin/docker-entrypoint.sh"]' -c 'CMD ["postgres","-c","listen_addresses=*"]' \
        -c "LABEL recipe=$recipe" "$archive" "$SONA_IMAGE" >/dev/null
    local result=$?
    rm -f "$archive"
    return $result
}

sona_try_image() {   # not only that a container starts: that its mapped port answers
    local id port result=1
    id=$(docker run -d -p 127.0.0.1::5432 -e POSTGRES_PASSWORD=x "$SONA_IMAGE") || return 1
    for _ in $(seq 120); do
        if docker exec -e PGPASSWORD=x "$id" psql -qAt -h 127.0.0.1 -U postgres -c 'CREATE EXTENSION vector' >/dev/null 2>&1
        then
            port=$(docker port "$id" 5432 | head -1 | sed 's/.*://')
            timeout 5 bash -c "exec 3<>/dev/tcp/127.0.0.1/$port" && result=0
            break
        fi
        sleep 0.25
    done
    docker rm -fv "$id" >/dev/null
    [ $result = 0 ] || sona_log "a container of $SONA_IMAGE does not answer"
    return $result
}

sona_docker_start() {
    sona_find_daemon && sona_build_image && sona_try_image || return 1
    export SONA_PG_TEST_IMAGE=$SONA_IMAGE
    # No reaper (a second image), and the address at which sona_try_image has just reached a container.
    export TESTCONTAINERS_RYUK_DISABLED=true TESTCONTAINERS_CONNECTION_MODE=docker_host \
        TESTCONTAINERS_HOST_OVERRIDE=127.0.0.1 TC_POOLING_INTERVAL=0.2 TC_MAX_TRIES=600
}

sona_docker_stop() {
    [ -n "${SONA_DOCKERD:-}" ] || return 0   # another's daemon, with perhaps another's containers
    docker ps -aq --filter label=org.testcontainers=true | xargs -r docker rm -fv >/dev/null 2>&1
    kill "$SONA_DOCKERD" 2>/dev/null && wait "$SONA_DOCKERD" 2>/dev/null
    unset SONA_DOCKERD
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    sona_daemon_answers || { sona_log "no Docker daemon answers: start it first"; exit 1; }
    sona_build_image && sona_try_image || exit 1
    echo "built $SONA_IMAGE; tests use it with: SONA_PG_TEST_IMAGE=$SONA_IMAGE make test"
fi
