# One instance of the hub with all backends: docker build -t hubplane .
# It listens on all addresses of the container, so it needs a key: mount one and name it in HUBPLANE_KEY_FILE.
FROM rust:1.95-bookworm AS build
# librdkafka is compiled from source and linked statically; OpenSSL comes from the system.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libssl-dev pkg-config g++ make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --features full && cp target/release/hubplane /hubplane

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends libssl3 ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin hubplane
COPY --from=build /hubplane /usr/local/bin/hubplane
USER 10001:10001
ENV HUBPLANE_LISTEN=0.0.0.0:8080
EXPOSE 8080
# Healthy is what /ready says: messages arrive from the broker. The image has no HTTP client; bash can do it.
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /ready HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && [ \"$status\" = 200 ]"]
ENTRYPOINT ["hubplane"]
CMD ["serve"]
