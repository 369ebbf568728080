"""The MLLM's deployment as its callers see it: a scorer behind a handle, with the deadline that handles lack."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from gem_ray.config import ScoringConfig
from gem_ray.errors import ScorerBusyError, ScorerError
from gem_ray.messages.questions import Request, ScoreAnswer, StripAnswer, StripRequest
from gem_ray.scoring.serving.deployment import REPLICA_MARGIN_S, replica_state

CALLER_MARGIN_S = 5.0  # both ways through Serve, with a batch of images
DEADLINE_LOOK_S = 5.0


class ServeScorer:
    """The ``Scorer`` behind a Serve application, which may come, go and come back under the same name.

    Args:
        app: name of the application
        deadline_s: of the engine, see ``ScoringConfig``; a call waits a margin longer, for a replica included. After a
            call without an answer it is asked for anew, since ``change_mllm`` may have put another in its place
    """

    def __init__(self, app: str, deadline_s: float) -> None:
        self.app, self.deadline_s = app, deadline_s
        self._handle: DeploymentHandle[Any] | None = None

    async def score(self, requests: Sequence[Request]) -> list[ScoreAnswer]:
        """See ``scorer.Scorer``.

        Raises:
            ScorerBusyError: the application refuses further requests at present
            ScorerError: it is not there, has no replica yet, or does not answer
        """
        answers: list[ScoreAnswer] = await self._call("score", list(requests))
        return answers

    async def describe(self, strips: Sequence[StripRequest]) -> list[StripAnswer]:
        """See ``vllm_scorer.VLLMScorer.describe``; raises as ``score`` does."""
        answers: list[StripAnswer] = await self._call("describe", list(strips))
        return answers

    async def configuration(self) -> ScoringConfig:
        """The options that some replica was made from; raises as ``score`` does."""
        return ScoringConfig(**await self._call("configuration"))

    async def role(self) -> str:
        """Role of the nodes that its replicas lie on, empty for any; raises as ``score`` does."""
        role: str = await self._call("role")
        return role

    async def _call(self, method: str, *arguments: Any) -> Any:
        handle: DeploymentHandle[Any] | None = None
        deadline_s, margin_s = self.deadline_s, REPLICA_MARGIN_S + CALLER_MARGIN_S
        response = None
        # Looked up once, since that is a call of Serve's controller (3 ms), and again after whatever went wrong: the
        # handle of an application that is deleted fails at once, and works again where it is back under its name.
        done = False
        try:
            handle = self._handle or await asyncio.to_thread(serve.get_app_handle, self.app)
            self._handle = handle
            async with asyncio.timeout(deadline_s + margin_s):
                response = getattr(handle, method).remote(*arguments)
                answer = await response
            done = True
            return answer
        except TimeoutError as error:
            if handle is not None and response is not None:
                response.cancel()
                await self._follow_deadline(handle)
            raise ScorerError(
                f"no answer from the Serve application {self.app!r} within scoring.deadline_s={deadline_s:g} s "
                f"and {margin_s:g} s more ({await asyncio.to_thread(_state_or_fault, self.app)}); see `serve status`"
            ) from error
        except BackPressureError as error:
            raise ScorerBusyError(
                f"the Serve application {self.app!r} has no room for another request; raise scoring.max_replicas or "
                "scoring.max_queued_requests"
            ) from error
        except (RayServeException, RayError) as error:
            cause = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
            raise ScorerError(f"the Serve application {self.app!r} cannot answer: {cause}") from error
        finally:
            if not done:
                self._handle = None

    async def _follow_deadline(self, handle: DeploymentHandle[Any]) -> None:
        with contextlib.suppress(RayServeException, RayError, TimeoutError):
            async with asyncio.timeout(DEADLINE_LOOK_S):
                settings = await handle.configuration.remote()
            self.deadline_s = settings["deadline_s"]


def _state_or_fault(app: str) -> str:
    try:
        return replica_state(app)
    except (RayServeException, RayError, TimeoutError) as error:
        return f"Serve does not say why: {type(error).__name__}"
