#!/usr/bin/env bash
# Three real Kafka nodes (KRaft, each a broker and a controller) on loopback: cluster-kafka.sh VERB DIR [NODE]
#   start | stop | kill    the whole cluster, or only the node numbered 1 to 3
#   freeze | thaw          that node, by SIGSTOP and SIGCONT
#   move DIR FILE          carries out the reassignment in FILE (JSON), then makes each first replica the leader
# New topics have three replicas, and a write needs two of them. Ports and data outlive a restart; start returns once the
# nodes answer. Log: DIR/NODE/kafka.log
. "$(dirname "${BASH_SOURCE[0]}")/_common.sh"
usage() { sed -n 2,7p "$0" >&2; exit 2; }
[ $# -ge 2 ] || usage
VERB=$1
mkdir -p "$2"
DIR=$(cd "$2" && pwd)
shift 2
# The first three are the clients' ports of the nodes, the last three their controllers'.
ports "$DIR" 28000 6
LIBS=$("$HERE/kafka.sh" libs)

configure() { # NODE
  local voters=1@127.0.0.1:${PORTS[3]},2@127.0.0.1:${PORTS[4]},3@127.0.0.1:${PORTS[5]}
  local client=127.0.0.1:${PORTS[$(($1 - 1))]} controller=127.0.0.1:${PORTS[$(($1 + 2))]}
  # Leaders stay where a fault has put them: a drill says itself when they go back.
  cat >"$DIR/$1/server.properties" <<CONF
process.roles=broker,controller
node.id=$1
controller.quorum.voters=$voters
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listeners=PLAINTEXT://$client,CONTROLLER://$controller
advertised.listeners=PLAINTEXT://$client
log.dirs=$DIR/$1/data
auto.create.topics.enable=false
auto.leader.rebalance.enable=false
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
offsets.topic.num.partitions=2
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
transaction.state.log.num.partitions=2
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.num.partitions=2
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500
replica.lag.time.max.ms=5000
num.network.threads=2
num.io.threads=2
num.recovery.threads.per.data.dir=1
log.cleaner.dedupe.buffer.size=16777216
CONF
}

# Every node is told the same cluster's id; Kafka refuses to meet a node of another cluster.
format() { # NODE
  configure "$1"
  [ ! -e "$DIR/$1/data/meta.properties" ] || return 0
  [ -s "$DIR/id" ] || printf 'A%sA\n' "$(openssl rand -base64 15 | tr '+/' '-_')" >"$DIR/id"
  "$HERE/kafka.sh" run kafka.tools.StorageTool format -t "$(cat "$DIR/id")" -c "$DIR/$1/server.properties" \
    >"$DIR/$1/format.log" 2>&1 || { cat "$DIR/$1/format.log" >&2; exit 1; }
}

launch() { # NODE
  local node=$DIR/$1
  mkdir -p "$node"
  ! ours "$node" >/dev/null || return 0
  format "$1"
  : >"$node/kafka.log"
  setsid nohup java -Xms192m -Xmx300m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.awt.headless=true \
    -Dorg.slf4j.simpleLogger.showDateTime=true -Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS \
    -cp "$LIBS/*" kafka.Kafka "$node/server.properties" >>"$node/kafka.log" 2>&1 </dev/null 8>&- 9>&- &
  remember "$node" $!
}

answers() { grep -q 'Kafka Server started' "$DIR/$1/kafka.log" && listens "${PORTS[$(($1 - 1))]}"; } # NODE

start() { # NODE…: a node alone is not ready, since two of three must vote
  local node
  for node; do launch "$node"; done
  for node; do wait_for "$DIR/$node" "$DIR/$node/kafka.log" answers "$node"; done
}

each() { # VERB ARGUMENT NODE…: the same for each node, at the same time
  local verb=$1 argument=$2 node
  shift 2
  for node; do "$verb" "$DIR/$node" "$argument" & done
  wait
}

move() { # FILE
  local server=127.0.0.1:${PORTS[0]},127.0.0.1:${PORTS[1]},127.0.0.1:${PORTS[2]}
  "$HERE/kafka.sh" run org.apache.kafka.tools.reassign.ReassignPartitionsCommand --bootstrap-server "$server" \
    --reassignment-json-file "$1" --execute
  "$HERE/kafka.sh" run org.apache.kafka.tools.LeaderElectionCommand --bootstrap-server "$server" \
    --election-type preferred --path-to-json-file "$1"
}

case $VERB in
move) [ $# = 1 ] || usage; move "$1"; exit ;;
freeze | thaw) [ $# = 1 ] || usage ;;
*) [ $# -gt 0 ] || set -- 1 2 3 ;;
esac
case $VERB in
start) start "$@" ;;
stop) each end TERM "$@" ;;
kill) each end KILL "$@" ;;
freeze | thaw) "$VERB" "$DIR/$1" ;;
*) usage ;;
esac
