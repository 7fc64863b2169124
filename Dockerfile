# docker build -t intermediate-distillation .
# docker run -p 7860:7860 -v rag:/data -e OPENAI_API_KEY intermediate-distillation
FROM python:3.11-slim-bookworm

# An index of torch's CPU builds makes the image several GB smaller: --build-arg TORCH_INDEX=URL
ARG TORCH_INDEX=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1 \
    DATA_DIR=/data \
    HF_HOME=/data/huggingface \
    APP_HOST=0.0.0.0 \
    APP_PORT=7860

# The embedded LLM needs libgomp; Debian's stable suite keeps its version.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 1000 app \
    && install -d -o app -g app /data

WORKDIR /srv
COPY requirements.lock ./
RUN grep '^torch==' requirements.lock > torch.lock \
    && sed '/^torch==/d; /^# Development/,$d' requirements.lock > runtime.lock

# Torch alone, then what the page needs, then the CUDA libraries if this build of torch does not import without them.
RUN pip install --no-deps ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -r torch.lock
RUN pip install --no-deps --require-hashes -r runtime.lock \
    && { python -c 'import torch' || pip install -r torch.lock; }

COPY indexes indexes
COPY distill distill
COPY app app

USER 1000
VOLUME /data
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=10s --start-period=5m --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:' + os.environ['APP_PORT'] + '/healthz', timeout=5)"]
CMD ["python", "-m", "app"]
