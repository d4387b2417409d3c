#!/usr/bin/env bash
# Six real Redis processes on loopback that fail over: cluster-redis.sh VERB DIR [NODE]
# The name of DIR says what they are: `sentinel` one master (node 1), two replicas (2 and 3) and three Sentinels (4 to 6)
# that watch them as `mymaster`; `cluster` a Redis Cluster of three masters and three replicas.
#   start | stop | kill    all, or only the node of that number
#   freeze | thaw          that node, by SIGSTOP and SIGCONT
# Ports and data outlive a restart, and so does the role that a failover gave to a node. Log: DIR/NODE/redis.log
. "$(dirname "${BASH_SOURCE[0]}")/_common.sh"
usage() { sed -n 2,7p "$0" >&2; exit 2; }
[ $# -ge 2 ] || usage
VERB=$1
mkdir -p "$2"
DIR=$(cd "$2" && pwd)
KIND=$(basename "$DIR")
shift 2
# The last six are the nodes' ports among themselves, which only a Redis Cluster has.
ports "$DIR" 29000 12

# Sentinels and servers rewrite their configuration when roles change, so it is written only once.
configure() { # NODE
  local node=$DIR/$1 port=${PORTS[$(($1 - 1))]}
  [ ! -e "$node/redis.conf" ] || return 0
  {
    printf '%s\n' "bind 127.0.0.1" "port $port" "dir $node" "logfile $node/redis.log" "daemonize no"
    if [ "$KIND" = cluster ]; then
      printf '%s\n' 'save ""' "appendonly yes" "appendfsync no" "cluster-enabled yes" \
        "cluster-port ${PORTS[$(($1 + 5))]}" "cluster-config-file $node/nodes.conf" "cluster-node-timeout 2000"
    elif [ "$1" -gt 3 ]; then
      printf '%s\n' "sentinel monitor mymaster 127.0.0.1 ${PORTS[0]} 2" \
        "sentinel down-after-milliseconds mymaster 2000" "sentinel failover-timeout mymaster 6000"
    else
      printf '%s\n' 'save ""' "appendonly yes" "appendfsync no" "repl-diskless-sync-delay 0"
      [ "$1" = 1 ] || echo "replicaof 127.0.0.1 ${PORTS[0]}"
    fi
  } >"$node/redis.conf"
}

answers() { [ "$(redis-cli -p "${PORTS[$(($1 - 1))]}" ping 2>/dev/null)" = PONG ]; } # NODE

launch() { # NODE
  local node=$DIR/$1
  mkdir -p "$node"
  ! ours "$node" >/dev/null || return 0
  configure "$1"
  local mode=()
  [ "$KIND" = cluster ] || [ "$1" -le 3 ] || mode=(--sentinel)
  setsid nohup redis-server "$node/redis.conf" "${mode[@]}" >>"$node/redis.log" 2>&1 </dev/null 8>&- 9>&- &
  remember "$node" $!
  wait_for "$node" "$node/redis.log" answers "$1"
}

whole() { # every slot is served, by a master that has a replica; or: every Sentinel knows of all the others
  local i info
  for i in 0 1 2; do
    if [ "$KIND" = cluster ]; then
      info=$(redis-cli -p "${PORTS[$i]}" cluster nodes 2>/dev/null)
      [ "$(grep -c '[ ,]slave .* connected' <<<"$info")" = 3 ] || return 1
      redis-cli -p "${PORTS[$i]}" cluster info | grep -q 'cluster_state:ok' || return 1
    else
      info=$(redis-cli -p "${PORTS[$((i + 3))]}" info sentinel 2>/dev/null)
      grep -q 'status=ok,.*slaves=2,sentinels=3' <<<"$info" || return 1
    fi
  done
}

start_all() {
  local i
  for i in 1 2 3 4 5 6; do launch "$i"; done
  if [ "$KIND" = cluster ] && [ ! -e "$DIR/created" ]; then
    redis-cli --cluster create $(printf '127.0.0.1:%s ' "${PORTS[@]:0:6}") --cluster-yes --cluster-replicas 1 >"$DIR/create.log" 2>&1 ||
      { cat "$DIR/create.log" >&2; exit 1; }
    touch "$DIR/created"
  fi
  wait_for "$DIR/1" "$DIR/1/redis.log" whole
}

finish() { # SIGNAL [NODE]
  local i
  for i in ${2:-1 2 3 4 5 6}; do end "$DIR/$i" "$1" & done
  wait
}

case "$VERB $KIND $#" in
"start "*" 0") start_all ;;
"start "*" 1") launch "$1" ;;
"stop "*) finish TERM "$@" ;;
"kill "*) finish KILL "$@" ;;
"freeze "*" 1" | "thaw "*" 1") "$VERB" "$DIR/$1" ;;
*) usage ;;
esac
