"""What the hub's client says, in our words: what was asked for, what is wrong with it, what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from inarch.backbones.hub import settings, why_offline
from inarch.errors import ConfigError, InarchError, StorageError

LOGIN = "log in (hf auth login) or set HF_TOKEN"


@contextmanager
def in_our_words(what: str) -> Iterator[None]:
    """``ConfigError`` for names and rights, ``StorageError`` for a connection or disk that fails; ``what``: the subject of the message."""
    from huggingface_hub import errors

    try:
        yield
    except InarchError:
        raise
    except errors.LocalTokenNotFoundError:
        raise ConfigError(f"{what}: there is no token to write with; {LOGIN}") from None
    except errors.LocalEntryNotFoundError as problem:
        raise _not_cached(what, problem) from problem
    except errors.HfHubHTTPError as problem:
        raise _answered(what, problem) from problem
    except errors.OfflineModeIsEnabled:
        raise StorageError(f"{what}: {why_offline()}; nothing was sent") from None
    except ValueError as problem:  # a name, or what the front of a card says
        raise ConfigError(f"{what}: the hub refuses this ({_plain(problem)})") from problem
    except (OSError, RuntimeError, errors.HTTPError) as problem:  # an upload's own reason is the cause of a RuntimeError
        if isinstance(problem.__cause__, errors.HfHubHTTPError):
            raise _answered(what, problem.__cause__) from problem
        raise StorageError(f"{what}: {_plain(problem.__cause__ or problem)}; check connection and disk space, run again") from problem


def _not_cached(what: str, problem: Exception) -> InarchError:
    """Nothing in the cache: because nobody answers, or because of what was answered."""
    from huggingface_hub import errors

    answer = problem.__cause__
    if isinstance(answer, errors.HfHubHTTPError):
        return _answered(what, answer)
    return StorageError(f"{what} is not wholly in the cache {settings().HF_HUB_CACHE} and {why_offline()}; fetch it once with a "
                        "connection, point HF_HOME at a filled cache, or give a local folder")


def _answered(what: str, problem: Any) -> InarchError:
    """By the status of the answer."""
    from huggingface_hub import errors

    status = problem.response.status_code
    if isinstance(problem, errors.RevisionNotFoundError):
        return ConfigError(f"{what}: the repository has no such revision; expected a branch, a tag or a commit of it")
    if isinstance(problem, errors.GatedRepoError):
        return ConfigError(f"{what} is gated: ask for access on its page, then {LOGIN}")
    if isinstance(problem, errors.RepositoryNotFoundError) or status == 404:
        return ConfigError(f"the hub has no {what} for you; check the name, and for a private one {LOGIN}")
    if status == 401:
        return ConfigError(f"{what}: the hub does not accept the token; {LOGIN}")
    if status == 403:
        return ConfigError(f"{what}: this token may not do that; take one with write access to the user or organisation")
    if status in (409, 412):
        return StorageError(f"{what}: it was changed by somebody else meanwhile; nothing was written, run again")
    return StorageError(f"{what}: the hub answers {status} ({_plain(problem)}); nothing was changed, try again later")


def _plain(problem: BaseException) -> str:
    """Its own words in one line, of bounded length."""
    return " ".join(str(problem).split())[:200] or type(problem).__name__


__all__ = ["in_our_words"]
