#!/bin/bash
# A coordinator with two workers, and a plain Postgres beside them, from the image of docker/citus-image.sh: for tests and
# benchmarks, without passwords, on a network of their own that is reached from this machine alone.
#
#   docker/citus-cluster.sh start     prints SONA_PG_CITUS_URL=… and SONA_PG_PLAIN_URL=…, for `export $(…)`
#   docker/citus-cluster.sh stop      ends and removes them with their data
set -euo pipefail

CITUS_IMAGE=${CITUS_IMAGE:-local/postgres-citus:17}
SUBNET=${SONA_PG_CITUS_SUBNET:-172.29.117}   # its first three numbers; addresses stay when a container is restarted
NAME=sona-pg-citus
NODES=("coordinator 2" "worker-1 3" "worker-2 4" "plain 5")
SETTINGS=(-c "listen_addresses=*" -c max_connections=300 -c shared_buffers=128MB -c max_wal_size=2GB -c max_worker_processes=64)

url() { echo "postgresql://postgres@$SUBNET.$1:5432/postgres"; }
ask() { docker exec "$NAME-$1" psql -qAtX -U postgres -v ON_ERROR_STOP=1 -c "$2"; }

start() {
    docker network inspect $NAME >/dev/null 2>&1 || docker network create --subnet "$SUBNET.0/24" $NAME >/dev/null
    for node in "${NODES[@]}"; do
        read -r name address <<<"$node"
        local own=("${SETTINGS[@]}")
        [ "$name" = plain ] && own+=(-c "shared_preload_libraries=")
        docker run -d --name "$NAME-$name" --network $NAME --ip "$SUBNET.$address" --memory 2g --shm-size 512m \
            --stop-signal SIGINT -e POSTGRES_HOST_AUTH_METHOD=trust "$CITUS_IMAGE" postgres "${own[@]}" >/dev/null
    done
    for node in "${NODES[@]}"; do
        read -r name address <<<"$node"
        for _ in $(seq 240); do
            docker exec "$NAME-$name" pg_isready -q -h "$SUBNET.$address" && break
            sleep 0.25
        done
        [ "$name" = plain ] || ask "$name" "CREATE EXTENSION IF NOT EXISTS citus"
    done
    ask coordinator "SELECT citus_set_coordinator_host('$SUBNET.2', 5432)"
    for address in 3 4; do ask coordinator "SELECT citus_add_node('$SUBNET.$address', 5432)" >/dev/null; done
    echo "SONA_PG_CITUS_URL=$(url 2)"
    echo "SONA_PG_PLAIN_URL=$(url 5)"
}

stop() {
    for node in "${NODES[@]}"; do docker rm -fv "$NAME-${node% *}" >/dev/null 2>&1 || true; done
    docker network rm $NAME >/dev/null 2>&1 || true
}

case "${1:-}" in
    start) start ;;
    stop) stop ;;
    *) echo "usage: $0 start | stop" >&2; exit 2 ;;
esac
