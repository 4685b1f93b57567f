# The node without a Lightning node: settings say where LND is.
#
#   docker build -t mostro .
#   docker run -v mostro:/data -p 7000:7000 mostro
#
# The first run writes /data/settings.toml and ends; fill it in and run again.

FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# libsecp256k1 verifies signatures several times faster and needs cgo.
RUN CGO_ENABLED=1 go build -tags libsecp256k1 -ldflags "-s -w" -o /mostro ./cmd/mostro

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --no-create-home mostro \
    && install -d -m 0700 -o mostro -g mostro /data
COPY --from=build /mostro /usr/local/bin/mostro
USER mostro
VOLUME /data
EXPOSE 7000
HEALTHCHECK --interval=30s --timeout=6s --start-period=30s \
    CMD ["mostro", "health", "--url", "http://127.0.0.1:7000"]
ENTRYPOINT ["mostro"]
CMD ["serve", "--data-dir", "/data", "--settings", "relay.listen=0.0.0.0:7000"]
