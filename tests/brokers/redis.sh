#!/usr/bin/env bash
# One real Redis on loopback: redis.sh start|stop|kill|freeze|thaw|save|restore DIR
# The name of DIR says what it is: `redis` a server with a plain and a TLS port and the ACL user app/secret,
# `redis-sentinel` a Sentinel that watches the `redis` beside it as `mymaster`, `redis-cluster` three masters.
# `save` keeps a copy of the data of a stopped `redis`, `restore` brings it back.
# A restart keeps ports and data; start returns once Redis answers. Log: DIR/redis.log
. "$(dirname "${BASH_SOURCE[0]}")/_common.sh"
[ $# = 2 ] || { sed -n 2,7p "$0" >&2; exit 2; }
mkdir -p "$2"
DIR=$(cd "$2" && pwd)
KIND=$(basename "$DIR")

configure() { # DIR PORT LINE…
  local dir=$1 port=$2
  shift 2
  printf '%s\n' "bind 127.0.0.1" "port $port" "dir $dir" "logfile $dir/redis.log" 'save ""' "daemonize no" "$@" >"$dir/redis.conf"
}

launch() { # DIR PORT [--sentinel]
  local dir=$1 port=$2
  shift 2
  setsid nohup redis-server "$dir/redis.conf" "$@" >>"$dir/redis.log" 2>&1 </dev/null 8>&- 9>&- &
  remember "$dir" $!
  wait_for "$dir" "$dir/redis.log" answers "$port"
}

answers() { [ "$(redis-cli -p "$1" ping 2>/dev/null)" = PONG ]; }

# `appendfsync no`: what a killed server has acknowledged is there again. Redis's default puts a write off for up to two
# seconds while the disk is busy.
start_server() {
  ours "$DIR" >/dev/null && return
  certificates "$DIR"
  ports "$DIR" 21000 2
  configure "$DIR" "${PORTS[0]}" "tls-port ${PORTS[1]}" "tls-cert-file $TLS/localhost.pem" \
    "tls-key-file $TLS/localhost.key" "tls-ca-cert-file $TLS/ca.pem" "tls-auth-clients optional" \
    "appendonly yes" "appendfsync no" 'user app on >secret resetchannels &hp* ~hp* +@all -@admin'
  launch "$DIR" "${PORTS[0]}"
}

start_sentinel() {
  ours "$DIR" >/dev/null && return
  ports "$DIR/../redis" 21000 2
  local master=${PORTS[0]}
  ports "$DIR" 26000 1
  configure "$DIR" "${PORTS[0]}" "sentinel monitor mymaster 127.0.0.1 $master 1" \
    "sentinel down-after-milliseconds mymaster 1000" "sentinel failover-timeout mymaster 5000"
  launch "$DIR" "${PORTS[0]}" --sentinel
}

knows_all() { # every node says that all slots are served
  local i
  for i in 0 1 2; do
    redis-cli -p "${PORTS[$i]}" cluster info 2>/dev/null | grep -q 'cluster_state:ok' || return 1
  done
}

start_cluster() {
  local i node
  ports "$DIR" 22000 6
  for i in 0 1 2; do
    node=$DIR/$i
    mkdir -p "$node"
    ours "$node" >/dev/null && continue
    configure "$node" "${PORTS[$i]}" "cluster-enabled yes" "cluster-port ${PORTS[$((i + 3))]}" \
      "cluster-config-file $node/nodes.conf" "cluster-node-timeout 2000" "appendonly yes" "appendfsync no"
    launch "$node" "${PORTS[$i]}"
  done
  if [ ! -e "$DIR/created" ]; then
    redis-cli --cluster create "127.0.0.1:${PORTS[0]}" "127.0.0.1:${PORTS[1]}" "127.0.0.1:${PORTS[2]}" \
      --cluster-yes >"$DIR/create.log" 2>&1 || { cat "$DIR/create.log" >&2; exit 1; }
    touch "$DIR/created"
  fi
  wait_for "$DIR/0" "$DIR/0/redis.log" knows_all
}

case "$1 $KIND" in
"start redis") start_server ;;
"start redis-sentinel") start_sentinel ;;
"start redis-cluster") start_cluster ;;
"stop redis" | "stop redis-sentinel") end "$DIR" TERM ;;
"kill redis" | "kill redis-sentinel") end "$DIR" KILL ;;
"stop redis-cluster") for i in 0 1 2; do end "$DIR/$i" TERM; done ;;
"freeze redis") freeze "$DIR" ;;
"thaw redis") thaw "$DIR" ;;
"save redis") save "$DIR" appendonlydir ;;
"restore redis") restore "$DIR" appendonlydir ;;
"kill redis-cluster") for i in 0 1 2; do end "$DIR/$i" KILL; done ;;
*) sed -n 2,7p "$0" >&2; exit 2 ;;
esac
