# The image of every node, and of the service on one machine. docs/operations.md says how it is run.
#
#   docker build -t faceswap-serve:gpu .
#   docker build -t faceswap-serve:cpu --build-arg BASE=ubuntu:24.04 --build-arg LOCK=runtime .
#
# CUDA 13, as onnxruntime-gpu of the lock file is built for. Only what checks the driver comes from this base: CUDA's and cuDNN's libraries are
# wheels of requirements/gpu.txt, with hashes.
ARG BASE=nvidia/cuda:13.0.2-base-ubuntu24.04
# hadolint ignore=DL3006
FROM ${BASE}
ARG LOCK=gpu

# wget asks for /ready, below, and for KubeRay; Ray's launcher copies files into a container with rsync, and its autoscaler, in the head's
# container, reaches the other machines by ssh.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3 python3-venv ca-certificates openssh-client rsync wget \
 && rm -rf /var/lib/apt/lists/*

# Only /data and /tmp are written to: run it with a read-only root. Ray's launcher uses login shells, which forget the PATH, and looks for HOME here.
RUN useradd --uid 10001 --create-home faceswap \
 && install --directory --owner faceswap --mode 0700 /data \
 && echo "PATH=/opt/faceswap/bin:\$PATH" > /etc/profile.d/faceswap.sh
ENV HOME=/home/faceswap PATH=/opt/faceswap/bin:$PATH PYTHONUNBUFFERED=1

WORKDIR /app
COPY requirements requirements
RUN python3 -m venv /opt/faceswap \
 && pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes -r "requirements/$LOCK.txt"

COPY pyproject.toml README.md LICENSE NOTICE ./
COPY config config
COPY serve_app serve_app
# The built-in models are in /models as long as nothing is mounted there; the InsightFace files are mounted.
RUN pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation --editable . \
 && python -m compileall -q serve_app \
 && faceswap models prepare --folder /models \
 && ln -s /models models && ln -s /data data

# What every node needs before Ray starts (serve_app/deployments/environment.py), and Ray's token, without which it would let everybody in.
ENV RAY_AUTH_MODE=token \
    RAY_USAGE_STATS_ENABLED=0 \
    RAY_worker_niceness=0 \
    MALLOC_TRIM_THRESHOLD_=134217728 \
    MALLOC_MMAP_THRESHOLD_=33554432 \
    MALLOC_ARENA_MAX=2 \
    RAY_SERVE_CONTROL_LOOP_INTERVAL_S=0.25 \
    RAY_SERVE_METRICS_EXPORT_INTERVAL_MS=1000 \
    RAY_event_stats=0 \
    RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S=1 \
    RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S=60 \
    RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=serve_app.deployments.proxy:middlewares \
    RAY_preload_python_modules=ray.serve._private.replica,ray.serve._private.proxy \
    FORWARDED_ALLOW_IPS=

USER 10001:10001
VOLUME /data
EXPOSE 8000
HEALTHCHECK --start-period=120s --interval=10s --timeout=6s CMD ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8000/ready"]
# No ENTRYPOINT: Ray's launcher and KubeRay start the image with commands of their own.
CMD ["faceswap", "serve", "--host", "0.0.0.0"]
