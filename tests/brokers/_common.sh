# Shared by the broker scripts; sourced, never run. A broker's directory DIR holds its ports, data and log; the
# directory `tls` beside it holds the one CA and the certificates of all brokers.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE=${HUBPLANE_CACHE:-${HOME:-/root}/.cache/hubplane}

say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# When a process began, in ticks since boot: with the pid, a name that is never used twice. Empty when it is gone, with all
# its threads: as long as one is left, its ports are taken.
began() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '$1 != "Z" || $18 > 1 { print $20 }' || true; }

remember() { # DIR PID [NAME]: this process is ours
  printf '%s %s\n' "$2" "$(began "$2")" >"$1/${3:-pid}"
}

ours() { # DIR [NAME]: prints the pid that was remembered, if that very process still runs
  local pid ticks
  read -r pid ticks 2>/dev/null <"$1/${2:-pid}" || return 1
  [ -n "$ticks" ] && [ "$(began "$pid")" = "$ticks" ] && printf '%s\n' "$pid"
}

end() { # DIR SIGNAL [NAME]: ends the remembered process and returns when it is gone
  local pid i
  pid=$(ours "$1" "${3:-pid}") || return 0
  kill "-$2" "$pid" 2>/dev/null || true
  for i in $(seq 1 400); do
    ours "$1" "${3:-pid}" >/dev/null || return 0
    [ "$i" != 300 ] || { say "$1: $2 was not enough after 15 s, SIGKILL"; kill -KILL "$pid" 2>/dev/null || true; }
    sleep 0.05
  done
  die "$1: process $pid does not end"
}

# What happens to real brokers: a machine that stands still, and a disk that is as it was a while ago.
freeze() { kill -STOP "$(ours "$1")"; } # DIR
thaw() { kill -CONT "$(ours "$1")"; }   # DIR

save() { # DIR NAME…: keeps a copy of what is called so in the broker's directory, which must be stopped
  local dir=$1
  shift
  ! ours "$dir" >/dev/null || die "$dir: stop it first"
  rm -rf "$dir/saved"
  mkdir "$dir/saved"
  (cd "$dir" && cp -a "$@" saved/)
}

restore() { # DIR NAME…: as it was when it was saved; the copy stays
  local dir=$1
  shift
  ! ours "$dir" >/dev/null || die "$dir: kill it first"
  [ -d "$dir/saved" ] || die "$dir: nothing was saved"
  (cd "$dir" && rm -rf "$@" && cp -a saved/. .)
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Ports lie below 32768, where the kernel takes the near ends of outgoing connections from: a broker that is down
# for a moment must find its port free again. Each kind of broker has a thousand of its own, so that brokers that
# start at the same time don't pick the same one.
ports() { # DIR BASE COUNT: sets PORTS; chosen once, then kept in the directory
  local port
  if [ ! -s "$1/ports" ]; then
    PORTS=()
    while [ "${#PORTS[@]}" -lt "$3" ]; do
      port=$(($2 + RANDOM % 1000))
      case " ${PORTS[*]-} " in *" $port "*) continue ;; esac
      listens "$port" || PORTS+=("$port")
    done
    printf '%s\n' "${PORTS[*]}" >"$1/ports"
  fi
  read -ra PORTS <"$1/ports"
  # A directory from before more were needed.
  [ "${#PORTS[@]}" -ge "$3" ] || { rm "$1/ports"; ports "$@"; }
}

wait_for() { # DIR LOG CHECK…: until CHECK succeeds; at once an error when the process ends before
  local dir=$1 log=$2 i
  shift 2
  for i in $(seq 1 1800); do
    "$@" && return 0
    ours "$dir" >/dev/null || { tail -n 30 "$log" >&2; die "$dir: ended at its start (see $log)"; }
    sleep 0.05
  done
  tail -n 30 "$log" >&2
  die "$dir: not ready after 90 s (see $log)"
}

# One CA, a server certificate for the name localhost alone (127.0.0.1 is the wrong name on purpose), a client
# certificate, and a second CA that signed nothing here. Private keys are PKCS#8, which Java wants.
certificates() { # DIR: sets TLS
  mkdir -p "$1/../tls"
  TLS=$(cd "$1/../tls" && pwd)
  (
    flock 8
    [ ! -e "$TLS/complete" ] || exit 0
    cd "$TLS"
    new() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key"; }
    authority() { # NAME
      new "$1"
      openssl req -x509 -new -key "$1.key" -days 3650 -subj "/CN=hubplane tests $1" -out "$1.pem" \
        -addext 'basicConstraints=critical,CA:TRUE' -addext 'keyUsage=critical,keyCertSign,cRLSign'
    }
    issue() { # NAME USAGE EXTENSION
      new "$1"
      openssl req -new -key "$1.key" -subj "/CN=$1" -out "$1.csr"
      printf '%s\n' 'basicConstraints=CA:FALSE' 'keyUsage=digitalSignature' "extendedKeyUsage=$2" "$3" >"$1.ext"
      openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -extfile "$1.ext" -out "$1.pem"
    }
    authority ca
    authority other-ca
    issue localhost serverAuth 'subjectAltName=DNS:localhost'
    issue client clientAuth 'subjectAltName=DNS:client'
    cat localhost.key localhost.pem ca.pem >localhost-keystore.pem
    chmod 600 ./*.key localhost-keystore.pem
    touch complete
  ) 8>"$TLS/lock" 2>"$TLS/log" || { cat "$TLS/log" >&2; die "openssl failed"; }
}
