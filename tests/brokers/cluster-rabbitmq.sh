#!/usr/bin/env bash
# Three real RabbitMQ nodes on loopback that are one cluster: cluster-rabbitmq.sh VERB DIR [NODE]
#   start | stop | kill    the whole cluster, or only the node numbered 1 to 3
#   freeze | thaw          that node, by SIGSTOP and SIGCONT
#   rejoin                 after a thaw: waits for that node to be a member, at last restarts it; prints "restarted" then
#   switch                 RabbitMQ of that node stops and starts again inside its Erlang VM
#   leader DIR NAME        prints the number of the node that has the queue, or leads the stream, named NAME; with a dot at
#                          its end, of the first queue named NAME…
#   whole DIR              returns once all three nodes run as one cluster and each stream has all its members
# User guest/guest. Ports and data outlive a restart; start returns once the nodes answer. The cluster has an epmd of
# its own, so it meets no other Erlang on the machine. Log: DIR/NODE/out.log and DIR/NODE/log
. "$(dirname "${BASH_SOURCE[0]}")/_common.sh"
usage() { sed -n 2,11p "$0" >&2; exit 2; }
BIN=${RABBITMQ_BIN:-/usr/lib/rabbitmq/bin}
[ $# -ge 2 ] || usage
VERB=$1
mkdir -p "$2"
DIR=$(cd "$2" && pwd)
shift 2
# Three for clients, three for the nodes among themselves, one for epmd.
ports "$DIR" 30000 7
# The nodes share the cookie below HOME. A node that is silent for about 4 s is down; the default is a minute. Who waits
# for a connection to it gives up after 2 s, not 7: with 7, a stream has no new leader before a frozen node is thawed.
export HOME=$DIR LANG=C.UTF-8 LC_ALL=C.UTF-8 RABBITMQ_USE_LONGNAME=false RABBITMQ_CONF_ENV_FILE=$DIR/none \
  RABBITMQ_ENABLED_PLUGINS_FILE=$DIR/enabled_plugins ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT=${PORTS[6]} \
  RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1} -kernel net_ticktime 4 -kernel net_setuptime 2"

name() { echo "hubplane${PORTS[0]}n$1@localhost"; } # NODE

ctl() { # NODE ARGUMENTS…: an error if the node does not answer within 5 s
  local node=$1
  shift
  timeout 30 "$BIN/rabbitmqctl" -q -t 5 -n "$(name "$node")" "$@"
}

configure() { # NODE
  local i
  # A node that sees no majority stops serving, and comes back by itself when it sees one.
  cat >"$DIR/$1/rabbitmq.conf" <<CONF
listeners.tcp.1 = 127.0.0.1:${PORTS[$(($1 - 1))]}
loopback_users.guest = false
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 50MB
cluster_partition_handling = pause_minority
cluster_formation.peer_discovery_backend = classic_config
CONF
  for i in 1 2 3; do echo "cluster_formation.classic_config.nodes.$i = $(name "$i")" >>"$DIR/$1/rabbitmq.conf"; done
  [ -e "$DIR/enabled_plugins" ] || echo '[].' >"$DIR/enabled_plugins"
}

daemon() { # the names of the nodes and their ports
  local epmd
  ! ours "$DIR" epmd >/dev/null || return 0
  epmd=$(command -v epmd || ls /usr/lib/erlang/erts-*/bin/epmd | tail -n 1)
  setsid nohup "$epmd" -address 127.0.0.1 -port "${PORTS[6]}" >"$DIR/epmd.log" 2>&1 </dev/null 8>&- 9>&- &
  remember "$DIR" $! epmd
  # Nodes that start at the same time must find the same cookie.
  [ -s "$DIR/.erlang.cookie" ] || openssl rand -hex 16 | tr -d '\n' >"$DIR/.erlang.cookie"
  chmod 400 "$DIR/.erlang.cookie"
}

launch() { # NODE
  local node=$DIR/$1
  ! ours "$node" >/dev/null || return 0
  mkdir -p "$node/data" "$node/log"
  configure "$1"
  rm -f "$node/vm.pid"
  : >"$node/out.log"
  RABBITMQ_NODENAME=$(name "$1") RABBITMQ_MNESIA_BASE=$node/data RABBITMQ_LOG_BASE=$node/log \
    RABBITMQ_CONFIG_FILE=$node/rabbitmq.conf RABBITMQ_PID_FILE=$node/vm.pid RABBITMQ_DIST_PORT=${PORTS[$(($1 + 2))]} \
    setsid nohup "$BIN/rabbitmq-server" >>"$node/out.log" 2>&1 </dev/null 8>&- 9>&- &
  remember "$node" $! # the shell that starts the VM, until the VM has written its own
}

answers() { # NODE
  [ -s "$DIR/$1/vm.pid" ] && grep -q 'completed with' "$DIR/$1/out.log" && listens "${PORTS[$(($1 - 1))]}"
}

start() { # NODE…
  local node
  daemon
  for node; do launch "$node"; done
  for node; do
    answers "$node" || wait_for "$DIR/$node" "$DIR/$node/out.log" answers "$node"
    remember "$DIR/$node" "$(tr -dc 0-9 <"$DIR/$node/vm.pid")"
  done
  [ $# != 3 ] || { whole && first_stream; }
}

# See rabbitmq.sh: the nodes agree on who looks after streams at the first one of their life, and write it down late.
first_stream() {
  [ ! -e "$DIR/streams" ] || return 0
  ctl 1 eval 'Name = rabbit_misc:r(<<"/">>, queue, <<"tests.first">>),
    Stream = [{<<"x-queue-type">>, longstr, <<"stream">>}],
    {new, Queue} = rabbit_amqqueue:declare(Name, true, false, Stream, none, <<"tests">>),
    rabbit_amqqueue:delete(Queue, false, false, <<"tests">>),
    [rpc:call(Node, erlang, apply, [fun() -> [dets:sync(Table) || Table <- dets:all()] end, []])
      || Node <- rabbit_nodes:all_running()].' >"$DIR/streams.new"
  mv "$DIR/streams.new" "$DIR/streams"
}

# A node may name all three as running, and still have data of its own since the others had given it up.
together() { # NODE: it answers, and each node sees all three and no partition
  ctl "$1" eval 'All = rabbit_nodes:all(),
    [3, 3, 3] = [length(rpc:call(Node, rabbit_nodes, all_running, [], 3000)) || Node <- All],
    [[], [], []] = [rpc:call(Node, rabbit_node_monitor, partitions, [], 3000) || Node <- All], together.' \
    2>"$DIR/together.log" | grep -q '^together'
}

# A node that was given up and then runs on has missed that it was away: RabbitMQ writes of a partitioned network and
# leaves it to the operator, pause_minority or not, to restart the nodes that he trusts less.
rejoin() { # NODE
  local limit=$((SECONDS + 15))
  while [ $SECONDS -lt $limit ]; do
    ! together "$1" || return 0
    sleep 0.5
  done
  finish TERM "$1"
  start "$1"
  echo restarted
}

has_members() { # NODE
  ctl "$1" eval 'Streams = [Q || Q <- rabbit_amqqueue:list(), amqqueue:get_type(Q) =:= rabbit_stream_queue],
    [begin
      #{name := Id} = amqqueue:get_type_state(Q),
      {ok, Members} = rabbit_stream_coordinator:members(Id),
      3 = length([Pid || {Pid, _} <- maps:values(Members), is_pid(Pid)])
    end || Q <- Streams], whole.' 2>"$DIR/whole.log" | grep -q '^whole'
}

whole() {
  local i=0 limit=$((SECONDS + 60))
  while [ $SECONDS -lt $limit ]; do
    i=$((i % 3 + 1))
    together $i && has_members $i && return 0
    sleep 0.5
  done
  cat "$DIR/together.log" "$DIR/whole.log" >&2
  die "$DIR: the cluster is not whole"
}

# A stream NAME that nobody leads must not be taken for one of the short-lived queues whose names begin so.
leader() { # NAME: the first node that answers says it
  local i said many=false
  [ "${1%.}" = "$1" ] || many=true
  for i in 1 2 3; do
    { [ "$(sed 's/.*) //' "/proc/$(ours "$DIR/$i")/stat" | cut -c 1)" != T ]; } 2>/dev/null || continue
    said=$(ctl "$i" eval "Names = lists:sort([{N, node(amqqueue:get_pid(Q))} || Q <- rabbit_amqqueue:list(),
      {resource, _, queue, N} <- [amqqueue:get_name(Q)],
      N =:= <<\"$1\">> orelse $many andalso string:prefix(N, <<\"$1\">>) =/= nomatch,
      lists:member(node(amqqueue:get_pid(Q)), rabbit_nodes:all_running())]),
      {_, Node} = hd(Names), io_lib:format(\"~s\", [Node])." 2>"$DIR/leader.log" | grep -o 'n[123]@' | tr -dc 123) || continue
    [ -z "$said" ] || { echo "$said"; return 0; }
  done
  cat "$DIR/leader.log" >&2
  die "no node says where $1 is"
}

finish() { # SIGNAL NODE…
  local signal=$1 node
  shift
  for node; do end "$DIR/$node" "$signal" & done
  wait
  [ $# != 3 ] || end "$DIR" TERM epmd
}

case "$VERB $#" in
"start 0" | "stop 0" | "kill 0") set -- 1 2 3 ;;
"whole 0" | "start 1" | "stop 1" | "kill 1" | "freeze 1" | "thaw 1" | "rejoin 1" | "switch 1" | "leader 1") ;;
*) usage ;;
esac
case $VERB in
start) start "$@" ;;
stop) finish TERM "$@" ;;
kill) finish KILL "$@" ;;
freeze | thaw) "$VERB" "$DIR/$1" ;;
switch) ctl "$1" stop_app && ctl "$1" start_app ;;
*) "$VERB" "$@" ;;
esac
