# The lab in a container: a user of its own, the environment of the locks, model and posts inside.
#   docker build --target cpu --tag batch-lab .
#   docker run --rm -p 8888:8888 --shm-size 2g batch-lab
# With a GPU: --target gpu, and `docker run --gpus all …`. docs/publish.md says what was tried.
FROM debian:bookworm-slim AS base
ENV VENV=/home/lab/venv PYTHONUNBUFFERED=1 RAY_USAGE_STATS_ENABLED=0 VLLM_NO_USAGE_STATS=1
COPY . /lab
WORKDIR /lab
EXPOSE 8888

FROM base AS gpu
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN sh scripts/container.sh system gpu
USER lab
ENV HOME=/home/lab
RUN sh scripts/container.sh lab gpu
CMD ["sh", "scripts/container.sh", "start"]

# The last target is what a build takes that names none.
FROM base AS cpu
RUN sh scripts/container.sh system cpu
USER lab
ENV HOME=/home/lab
RUN sh scripts/container.sh lab cpu
CMD ["sh", "scripts/container.sh", "start"]
