# syntax=docker/dockerfile:1
# Buckler as an image:
#   docker build -t buckler .
#   docker run --rm --network host -v ./conf/buckler.yaml:/etc/buckler/buckler.yaml:ro buckler
# Host networking, because Buckler stands beside the workers of its machine and wants to see callers' own addresses.
# TLS files are mounted likewise; the folder, not single files, so that renewed ones are seen. The user below must be able to read
# the keys:  chgrp 65532 tls/*.key && chmod 640 tls/*.key
# See it at work:  docker run --rm -it buckler demo
# Laid out by what requests do, which takes half an hour more (docs/performance.md):
#   docker build --build-arg BUILD=guided -t buckler .

ARG BUILD=release

FROM rust:1.95-slim-bookworm AS source
WORKDIR /src
COPY . .

FROM source AS release
# gcc, for the assembly of aws-lc, is in the image already. The caches make a second build short; they never enter a layer.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin buckler \
    && install -m 755 target/release/buckler /usr/local/bin/buckler

FROM source AS guided
# What deploy/guided loads the first of its two programs with.
RUN apt-get update \
    && apt-get install -y --no-install-recommends nginx-light wrk nghttp2-client openssl python3 \
    && rustup component add llvm-tools
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    deploy/guided \
    && install -m 755 target/guided/buckler /usr/local/bin/buckler

FROM ${BUILD} AS builder

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="buckler" \
      org.opencontainers.image.description="An edge load balancer and rate limiter" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=builder /usr/local/bin/buckler /usr/bin/buckler
# The build fails here if the binary asks for a library that this image lacks.
RUN ["/usr/bin/buckler", "--version"]
# The allocator gives freed memory back to the system at once, and asks for no huge pages.
ENV MIMALLOC_PURGE_DELAY=0 MIMALLOC_ALLOW_THP=0
# A number, so that Kubernetes can see that it is not root (runAsNonRoot).
USER 65532:65532
# The service's port in conf/buckler.yaml. The admin listener stays on loopback unless it has a token file.
EXPOSE 4070
# TERM drains: readiness off, last answers with Connection: close, exit 0 within shutdown.grace. Give it longer than that:
#   docker stop --time 45
STOPSIGNAL SIGTERM
# Whoever runs it asks /livez and /readyz on the admin port; there is no curl in here that could.
HEALTHCHECK NONE
ENTRYPOINT ["/usr/bin/buckler"]
CMD ["run", "-c", "/etc/buckler/buckler.yaml"]
