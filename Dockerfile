# dfs in a container: built with all tools, shipped without them.

FROM node:22-bookworm-slim AS build
WORKDIR /dfs
COPY package.json package-lock.json tsconfig.json ./
COPY src src
RUN npm ci --no-audit --no-fund

FROM node:22-bookworm-slim AS production
WORKDIR /dfs
COPY package.json package-lock.json ./
# The bundles come from the build stage; what is installed here is only what a bundle can't hold.
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund && npm cache clean --force

FROM node:22-bookworm-slim
ENV NODE_ENV=production
RUN groupadd --system --gid 7400 dfs \
  && useradd --system --uid 7400 --gid dfs --home-dir /dfs --shell /usr/sbin/nologin dfs \
  && mkdir -p /data && chown dfs:dfs /data
WORKDIR /dfs
COPY --from=production /dfs/node_modules node_modules
COPY --from=build /dfs/dist dist
COPY package.json README.md LICENSE* ./
RUN ln -s /dfs/dist/dfs.js /usr/local/bin/dfs && ln -s /dfs/dist/dfsd.js /usr/local/bin/dfsd
USER dfs
VOLUME /data
EXPOSE 7400 7401 7500 7501
STOPSIGNAL SIGTERM
# Either kind of daemon: whichever answers must be ready. (With --http at other ports, give a check of your own.)
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=3 \
  CMD ["node", "-e", "let left = 2; const fail = () => --left || process.exit(1); for (const port of [7401, 7501]) require('node:http').get({ host: '127.0.0.1', port, path: '/readyz' }, (reply) => (reply.statusCode === 200 ? process.exit(0) : fail())).on('error', fail)"]
ENTRYPOINT ["dfsd"]
CMD ["--help"]
