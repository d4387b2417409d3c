#!/usr/bin/env bash
# One real Apache Kafka (KRaft, broker and controller in one process) on loopback: kafka.sh start|stop|kill|freeze|thaw|save|restore DIR
#   save keeps a copy of the data of a stopped broker, restore brings it back
#   kafka.sh run CLASS ARGS…   one of Kafka's own tools, e.g. org.apache.kafka.tools.TopicCommand
#   kafka.sh fetch | libs      only fetches the jars, by mvn, into ${HUBPLANE_CACHE:-~/.cache/hubplane}; libs says where
# Three listeners for clients: plain; SASL SCRAM-SHA-256 (app/secret); TLS with SASL PLAIN (app/secret, and
# limited/secret, whom tests take rights from). Topics are not created by use. A restart keeps ports and data; start
# returns once the broker answers. Log: DIR/kafka.log
. "$(dirname "${BASH_SOURCE[0]}")/_common.sh"
VERSION=${HUBPLANE_KAFKA_VERSION:-4.3.1}
LIBS=$CACHE/kafka-$VERSION

fetch() (
  [ ! -e "$LIBS/complete" ] || exit 0
  mkdir -p "$LIBS"
  exec 8>"$LIBS/lock"
  flock 8
  [ ! -e "$LIBS/complete" ] || exit 0
  command -v mvn >/dev/null || die "Kafka's jars are fetched by mvn, which is not installed: run tests/run --install-only"
  say "fetching Kafka $VERSION into $LIBS"
  cat >"$LIBS/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>hubplane</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$VERSION</version></dependency>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$VERSION</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
POM
  cd "$LIBS"
  # Maven resets the colours of a terminal that isn't there, whatever it is told.
  mvn -q -B dependency:copy-dependencies -DoutputDirectory="$LIBS" -DincludeScope=runtime 2>&1 |
    sed 's/\x1b\[[0-9;]*m//g; /^$/d' >&2
  touch complete
)

tool() {
  java -Xmx256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$LIBS/*" "$@"
}

configure() {
  # Kafka tells its clients where to connect. Who puts a proxy in between listens at the last port, which the last but
  # one says is this broker's.
  local proxied=PROXIED://127.0.0.1:${PORTS[4]} advertised=PROXIED://127.0.0.1:${PORTS[5]}
  cat >"$DIR/server.properties" <<CONF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:${PORTS[3]}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listeners=PLAINTEXT://127.0.0.1:${PORTS[0]},SCRAM://127.0.0.1:${PORTS[1]},TLS://127.0.0.1:${PORTS[2]},$proxied,CONTROLLER://127.0.0.1:${PORTS[3]}
advertised.listeners=PLAINTEXT://127.0.0.1:${PORTS[0]},SCRAM://127.0.0.1:${PORTS[1]},TLS://localhost:${PORTS[2]},$advertised
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SCRAM:SASL_PLAINTEXT,TLS:SASL_SSL,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
listener.name.scram.sasl.enabled.mechanisms=SCRAM-SHA-256
listener.name.scram.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.tls.sasl.enabled.mechanisms=PLAIN
listener.name.tls.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_app="secret" user_limited="secret";
listener.name.tls.ssl.client.auth=requested
ssl.keystore.type=PEM
ssl.keystore.location=$TLS/localhost-keystore.pem
ssl.truststore.type=PEM
ssl.truststore.location=$TLS/ca.pem
log.dirs=$DIR/data
auto.create.topics.enable=false
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
super.users=User:ANONYMOUS
num.partitions=8
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
controlled.shutdown.max.retries=1
log.retention.check.interval.ms=1000
log.segment.delete.delay.ms=1000
num.network.threads=2
num.io.threads=4
num.recovery.threads.per.data.dir=1
log.cleaner.dedupe.buffer.size=16777216
CONF
}

format() {
  local id
  id=A$(openssl rand -base64 15 | tr '+/' '-_')A # 22 characters that don't begin like an option
  tool kafka.tools.StorageTool format -t "$id" -c "$DIR/server.properties" \
    --add-scram 'SCRAM-SHA-256=[name=app,password=secret]' >"$DIR/format.log" 2>&1 || { cat "$DIR/format.log" >&2; exit 1; }
}

answers() { grep -q 'Kafka Server started' "$DIR/kafka.log" && listens "${PORTS[0]}" && listens "${PORTS[2]}"; }

start() {
  ours "$DIR" >/dev/null && return
  fetch
  certificates "$DIR"
  ports "$DIR" 23000 6
  configure
  [ -e "$DIR/data/meta.properties" ] || format
  [ ! -e "$DIR/kafka.log" ] || mv "$DIR/kafka.log" "$DIR/kafka.log.1" # the line that says "started" must be this start's
  : >"$DIR/kafka.log"
  setsid nohup java -Xms512m -Xmx512m -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -Djava.awt.headless=true \
    -Dorg.slf4j.simpleLogger.showDateTime=true -Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS \
    -cp "$LIBS/*" kafka.Kafka "$DIR/server.properties" >>"$DIR/kafka.log" 2>&1 </dev/null 8>&- 9>&- &
  remember "$DIR" $!
  wait_for "$DIR" "$DIR/kafka.log" answers
}

case ${1:-} in
start | stop | kill | freeze | thaw | save | restore)
  [ $# = 2 ] || { sed -n 2,9p "$0" >&2; exit 2; }
  mkdir -p "$2"
  DIR=$(cd "$2" && pwd)
  case $1 in
  start) start ;;
  stop) end "$DIR" TERM ;;
  kill) end "$DIR" KILL ;;
  freeze | thaw) "$1" "$DIR" ;;
  save | restore) "$1" "$DIR" data ;;
  esac
  ;;
run)
  shift
  fetch
  tool "$@"
  ;;
fetch) fetch ;;
libs) fetch && printf '%s\n' "$LIBS" ;;
*) sed -n 2,9p "$0" >&2; exit 2 ;;
esac
