# The book's environment for a processor alone. Build and run from a clean clone:
#   docker build -t one-shot . && docker run one-shot
FROM python:3.12-slim

RUN apt-get update && apt-get install -y --no-install-recommends git make \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /book
COPY . .
# Both from one index, first: the other index has builds for GPUs, ten times as large.
RUN python -m venv .venv && .venv/bin/python -m pip install --no-cache-dir -q \
  --index-url https://download.pytorch.org/whl/cpu torch torchvision \
  && .venv/bin/python -m pip install --no-cache-dir -q -e '.[book]' \
  && touch .venv/.ready

# Chapter 1, run and rendered, in the profile that is for tests.
CMD [".venv/bin/python", "-m", "mnemonic.publish", "--profile", "smoke", "--only", "01"]
