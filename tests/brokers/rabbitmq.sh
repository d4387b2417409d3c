#!/usr/bin/env bash
# One real RabbitMQ on loopback: rabbitmq.sh start|stop|kill|freeze|thaw|save|restore DIR
#   save keeps a copy of the data of a stopped broker, restore brings it back
#   rabbitmq.sh ctl DIR ARGS…   rabbitmqctl of that broker
# User guest/guest, a plain and a TLS port. The node has an epmd of its own, so it meets no other Erlang on the machine.
# A restart keeps ports and data; start returns once the broker answers. Log: DIR/out.log and DIR/log
. "$(dirname "${BASH_SOURCE[0]}")/_common.sh"
BIN=${RABBITMQ_BIN:-/usr/lib/rabbitmq/bin}
[ $# -ge 2 ] || { sed -n 2,6p "$0" >&2; exit 2; }
VERB=$1
mkdir -p "$2"
DIR=$(cd "$2" && pwd)
shift 2
ports "$DIR" 24000 4

export HOME=$DIR LANG=C.UTF-8 LC_ALL=C.UTF-8 RABBITMQ_NODENAME=hubplane${PORTS[0]}@localhost RABBITMQ_USE_LONGNAME=false \
  RABBITMQ_MNESIA_BASE=$DIR/data RABBITMQ_LOG_BASE=$DIR/log RABBITMQ_CONFIG_FILE=$DIR/rabbitmq.conf \
  RABBITMQ_CONF_ENV_FILE=$DIR/none RABBITMQ_ENABLED_PLUGINS_FILE=$DIR/enabled_plugins RABBITMQ_PID_FILE=$DIR/vm.pid \
  RABBITMQ_DIST_PORT=${PORTS[2]} ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT=${PORTS[3]} \
  RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"

configure() {
  cat >"$DIR/rabbitmq.conf" <<CONF
listeners.tcp.1 = 127.0.0.1:${PORTS[0]}
listeners.ssl.1 = 127.0.0.1:${PORTS[1]}
ssl_options.cacertfile = $TLS/ca.pem
ssl_options.certfile = $TLS/localhost.pem
ssl_options.keyfile = $TLS/localhost.key
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = false
loopback_users.guest = false
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 50MB
CONF
  echo '[].' >"$DIR/enabled_plugins"
}

answers() {
  [ -s "$DIR/vm.pid" ] && grep -q 'completed with' "$DIR/out.log" && listens "${PORTS[0]}" && listens "${PORTS[1]}"
}

start() {
  local epmd
  ours "$DIR" >/dev/null && return
  certificates "$DIR"
  mkdir -p "$DIR/data" "$DIR/log"
  configure
  if ! ours "$DIR" epmd >/dev/null; then
    epmd=$(command -v epmd || ls /usr/lib/erlang/erts-*/bin/epmd | tail -n 1)
    setsid nohup "$epmd" -address 127.0.0.1 -port "${PORTS[3]}" >"$DIR/epmd.log" 2>&1 </dev/null 8>&- 9>&- &
    remember "$DIR" $! epmd
  fi
  rm -f "$DIR/vm.pid"
  : >"$DIR/out.log"
  setsid nohup "$BIN/rabbitmq-server" >>"$DIR/out.log" 2>&1 </dev/null 8>&- 9>&- &
  remember "$DIR" $! # the shell that starts the VM, until the VM has written its own
  wait_for "$DIR" "$DIR/out.log" answers
  remember "$DIR" "$(tr -dc 0-9 <"$DIR/vm.pid")"
  [ -e "$DIR/streams" ] || first_stream
}

# RabbitMQ 3.10 writes down who looks after its streams some seconds after the first stream of its life; a kill before
# that leaves it without streams for good. Here this is done and written down before any test kills it.
first_stream() {
  "$BIN/rabbitmqctl" -q eval 'Name = rabbit_misc:r(<<"/">>, queue, <<"tests.first">>),
    Stream = [{<<"x-queue-type">>, longstr, <<"stream">>}],
    {new, Queue} = rabbit_amqqueue:declare(Name, true, false, Stream, none, <<"tests">>),
    rabbit_amqqueue:delete(Queue, false, false, <<"tests">>),
    [dets:sync(Table) || Table <- dets:all()].' >"$DIR/streams"
}

finish() { # SIGNAL
  end "$DIR" "$1"
  end "$DIR" TERM epmd
}

case $VERB in
start) start ;;
stop) finish TERM ;;
kill) finish KILL ;;
freeze | thaw) "$VERB" "$DIR" ;;
save | restore) "$VERB" "$DIR" data ;;
ctl) exec "$BIN/rabbitmqctl" "$@" ;;
*) sed -n 2,6p "$0" >&2; exit 2 ;;
esac
