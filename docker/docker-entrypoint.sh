#!/bin/bash
# Small stand-in for the entrypoint of the official postgres image. It knows POSTGRES_USER, POSTGRES_PASSWORD,
# POSTGRES_DB, POSTGRES_INITDB_ARGS, POSTGRES_HOST_AUTH_METHOD and /docker-entrypoint-initdb.d/*.{sql,sh}.
set -Eeuo pipefail
export PGDATA="${PGDATA:-/var/lib/postgresql/data}"

if [ "${1:0:1}" = - ]; then set -- postgres "$@"; fi
if [ "$1" != postgres ]; then exec "$@"; fi

if [ "$(id -u)" = 0 ]; then   # Postgres does not run as root
    mkdir -p "$PGDATA" /var/run/postgresql
    chmod 700 "$PGDATA"
    chmod 2775 /var/run/postgresql
    chown postgres:postgres /var/run/postgresql
    find "$PGDATA" \! -user postgres -exec chown postgres:postgres {} +
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi

initialise() {
    local user="${POSTGRES_USER:-postgres}" method="${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}"
    local database="${POSTGRES_DB:-$user}" psql file
    if [ -z "${POSTGRES_PASSWORD:-}" ] && [ "$method" != trust ]; then
        echo 'POSTGRES_PASSWORD must be set (or POSTGRES_HOST_AUTH_METHOD=trust)' >&2
        exit 1
    fi
    # shellcheck disable=SC2086  # several arguments in one variable
    initdb --username="$user" --pwfile=<(printf '%s\n' "${POSTGRES_PASSWORD:-}") \
        --auth-local=trust --auth-host="$method" --encoding=UTF8 ${POSTGRES_INITDB_ARGS:-}
    printf '\nhost all all all %s\nhost replication all all %s\n' "$method" "$method" >> "$PGDATA/pg_hba.conf"

    # No TCP until all is done: whoever can connect finds a database that is ready.
    pg_ctl -D "$PGDATA" -o "-c listen_addresses=''" -w start
    psql=(psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$user")
    if [ "$database" != postgres ]; then
        "${psql[@]}" --dbname postgres --set database="$database" <<< 'CREATE DATABASE :"database";'
    fi
    for file in /docker-entrypoint-initdb.d/*; do
        case "$file" in
            *.sh) if [ -x "$file" ]; then "$file"; else . "$file"; fi ;;
            *.sql) "${psql[@]}" --dbname "$database" -f "$file" ;;
        esac
    done
    pg_ctl -D "$PGDATA" -m fast -w stop
    echo 'initialised: ready for start up'
}

if [ ! -s "$PGDATA/PG_VERSION" ]; then initialise; fi
exec "$@"
