"""A model of the Hugging Face hub, by its id: whether it is there, and whether we may have it."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from labkit.errors import ModelError
from labkit.weights.model import Model, shape_of, size_gib


def hub_token() -> str | None:
    """The token of this user, by the variable or the file that the hub's own library reads."""
    from huggingface_hub import get_token

    with contextlib.suppress(OSError):  # a home that may not be read
        return get_token()
    return None


def hub_reachable(timeout_s: float = 3) -> bool:
    """Whether the hub answers, whatever it says."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=timeout_s)
    except Exception:  # any failure to connect means the same here: no hub
        return False
    return True


def from_hub(hub_id: str, why: str, instead: str) -> Model:
    """Read config.json of a hub model: proves that it exists and that we may download it.

    instead: a model that needs no hub, for the error where it can't be reached. Raises ModelError.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
    )

    # Without a network the download alone would try again for 23 s: then only the cache counts.
    away = not hub_reachable()
    try:
        path = hf_hub_download(hub_id, "config.json", etag_timeout=5, local_files_only=away)
    except GatedRepoError as error:
        raise ModelError(
            f"{hub_id} is gated. Accept its licence on its Hugging Face page, then set HF_TOKEN "
            "(or run `hf auth login`). Ungated models: see labkit.models()."
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"Hugging Face has no model {hub_id!r}, or it is private and HF_TOKEN is not set."
        ) from error
    except (RemoteEntryNotFoundError, HFValidationError) as error:
        raise ModelError(f"{hub_id} is not a model for vLLM: it has no config.json.") from error
    except PermissionError as error:
        raise ModelError(
            f"{hub_id} can't be kept here: {error}. Set HF_HOME to a folder that you own."
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ModelError(
            f"{hub_id} can't be fetched: no connection to the Hugging Face hub "
            f"({type(error).__name__}). Check the network (HF_HUB_OFFLINE is "
            f"{os.environ.get('HF_HUB_OFFLINE', 'not set')}), or use {instead!r}, "
            "which comes from a Python package, or the path of a local folder."
        ) from error
    config = json.loads(Path(path).read_text())
    return Model(
        name=hub_id.split("/")[1],
        source=hub_id,
        why=why,
        weights_gib=size_gib(config),
        context=config.get("max_position_embeddings"),
        shape=shape_of(config),
    )
